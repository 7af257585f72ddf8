package ipmi

import "slices"

// Filter keeps requests from a handler by their commands. The zero value but
// for Next keeps none.
type Filter struct {
	// Allow are the commands that pass; empty: all.
	Allow []Commands
	// Deny are commands that do not pass, of those that Allow lets through.
	Deny []Commands
	Next Handler
}

// Commands is one command, or with AnyCommand all of a network function.
type Commands struct {
	NetFn   NetFn
	Command Command // or AnyCommand
}

// ServeIPMI implements Handler. What does not pass is ErrDenied.
func (f *Filter) ServeIPMI(req *Request, reply Reply) {
	if !f.passes(req) {
		reply.Answer(Response{}, ErrDenied)
		return
	}
	f.Next.ServeIPMI(req, reply)
}

func (f *Filter) passes(req *Request) bool {
	holds := func(c Commands) bool { return c.has(req) }
	if len(f.Allow) > 0 && !slices.ContainsFunc(f.Allow, holds) {
		return false
	}
	return !slices.ContainsFunc(f.Deny, holds)
}

func (c Commands) has(req *Request) bool {
	return c.NetFn == req.NetFn && (c.Command == AnyCommand || c.Command == req.Command)
}

// String is the commands in words: "app get-device-id", "chassis".
func (c Commands) String() string {
	if c.Command == AnyCommand {
		return c.NetFn.String()
	}
	return c.NetFn.String() + " " + CommandName(c.NetFn, c.Command)
}

// ParseCommands reads a network function ("chassis", "0x30"), or one and a
// command ("app cold-reset", "0x30 1"). Its errors are for people.
func ParseCommands(words []string) (Commands, error) {
	n, err := ParseNetFn(words[0])
	if err != nil || len(words) == 1 {
		return Commands{n, AnyCommand}, err
	}
	cmd, err := ParseCommand(n, words[1])
	return Commands{n, cmd}, err
}
