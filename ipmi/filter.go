package ipmi

import "slices"

// Filter lets requests pass to a handler by their commands. Without Allow and Deny all pass.
type Filter struct {
	Allow []Commands // the commands that pass; empty: all
	Deny  []Commands // commands that do not pass, although Allow lets them
	Next  Handler
}

// Commands is one command, or with AnyCommand all of a network function.
type Commands struct {
	NetFn   NetFn
	Command Command // or AnyCommand
}

// ServeIPMI implements Handler. A request that does not pass is answered ErrDenied.
func (f *Filter) ServeIPMI(req *Request, reply Reply) {
	if !f.passes(req) {
		reply.Answer(Response{}, ErrDenied)
		return
	}
	f.Next.ServeIPMI(req, reply)
}

func (f *Filter) passes(req *Request) bool {
	matches := func(c Commands) bool {
		return c.NetFn == req.NetFn && (c.Command == AnyCommand || c.Command == req.Command)
	}
	return (len(f.Allow) == 0 || slices.ContainsFunc(f.Allow, matches)) && !slices.ContainsFunc(f.Deny, matches)
}

// String is the commands in words: "app get-device-id", "chassis".
func (c Commands) String() string {
	if c.Command == AnyCommand {
		return c.NetFn.String()
	}
	return c.NetFn.String() + " " + CommandName(c.NetFn, c.Command)
}

// ParseCommands reads a network function ("chassis", "0x30"), or one and a command ("app
// cold-reset", "0x30 1"). Its errors are for users.
func ParseCommands(words []string) (Commands, error) {
	n, err := ParseNetFn(words[0])
	if err != nil || len(words) == 1 {
		return Commands{n, AnyCommand}, err
	}
	cmd, err := ParseCommand(n, words[1])
	return Commands{n, cmd}, err
}
