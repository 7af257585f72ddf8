package ipmi

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// AnyCommand in a Pattern stands for every command of the netFn.
const AnyCommand Command = 0xFF

// Pattern is a set of requests that a handler can be registered for.
type Pattern struct {
	Channels ChannelMask
	NetFn    NetFn   // even, at most 3Eh
	Command  Command // or AnyCommand
	// Group is a body code (netFn 2Ch, up to FFh), an IANA enterprise number (netFn 2Eh, 24 bits),
	// or AnyGroup, which it must be for other netFns.
	Group uint32
}

// PatternError names the field of a pattern that is invalid, and the problem.
type PatternError struct {
	Pattern Pattern
	Field   string // "netFn", "channels" or "group"
	Problem string
}

// Error names pattern, field and problem.
func (e *PatternError) Error() string {
	return fmt.Sprintf("invalid pattern %v: %s %s", e.Pattern, e.Field, e.Problem)
}

// String is the pattern in words: "app get-device-id on all channels".
func (p Pattern) String() string {
	words := []string{p.NetFn.String()}
	switch {
	case p.Group == AnyGroup:
	case p.NetFn == NetFnGroup:
		words = append(words, fmt.Sprintf("%02Xh", p.Group))
	default:
		words = append(words, "IANA "+strconv.FormatUint(uint64(p.Group), 10))
	}
	if p.Command == AnyCommand {
		words = append(words, "all commands")
	} else {
		words = append(words, CommandName(p.NetFn, p.Command))
	}
	return strings.Join(append(words, "on", p.Channels.String()), " ")
}

// numbered is the set of possible channels, which are numbered in four bits. The bits above are in
// no request.
const numbered ChannelMask = 0xFFFF

// String is the set in words: "all channels", "channel 0", "channels 0, 7".
func (m ChannelMask) String() string {
	switch m & numbered {
	case numbered:
		return "all channels"
	case 0:
		return "no channel"
	}
	var list []string
	for rest := m & numbered; rest != 0; rest &= rest - 1 {
		list = append(list, strconv.Itoa(bits.TrailingZeros32(uint32(rest))))
	}
	if len(list) == 1 {
		return "channel " + list[0]
	}
	return "channels " + strings.Join(list, ", ")
}

func (p Pattern) validate() error {
	grouped := p.NetFn == NetFnGroup || p.NetFn == NetFnOEM
	switch {
	case p.NetFn >= MaxNetFn:
		return p.invalid("netFn", "%02Xh is larger than 3Eh", uint8(p.NetFn))
	case p.NetFn.IsResponse():
		return p.invalid("netFn", "%02Xh is odd, that of a response", uint8(p.NetFn))
	case p.Channels&numbered == 0:
		return p.invalid("channels", "mask is empty")
	case p.Group == AnyGroup:
		return nil
	case !grouped:
		return p.invalid("group", "%Xh is not any group, and the netFn has no groups", p.Group)
	case p.NetFn == NetFnGroup && p.Group > maxBodyCode:
		return p.invalid("group", "%Xh is larger than a body code, FFh", p.Group)
	case p.Group > maxIANA:
		return p.invalid("group", "%Xh is larger than an IANA number, FFFFFFh", p.Group)
	}
	return nil
}

func (p Pattern) invalid(field, problem string, args ...any) error {
	return &PatternError{Pattern: p, Field: field, Problem: fmt.Sprintf(problem, args...)}
}

// overlaps reports whether a request can match both patterns.
func (p Pattern) overlaps(q Pattern) bool {
	return p.Channels&q.Channels&numbered != 0 &&
		p.NetFn == q.NetFn &&
		(p.Command == q.Command || p.Command == AnyCommand || q.Command == AnyCommand) &&
		(p.Group == q.Group || p.Group == AnyGroup || q.Group == AnyGroup)
}

// AnyGroup in a Pattern stands for every group. A request without a group matches no other
// pattern.
const AnyGroup uint32 = 0xFFFF_FFFF

// Largest groups: a defining body's code is one byte, an IANA enterprise number on the wire three
// (IPMI v2.0, table 5-1).
const (
	maxBodyCode uint32 = 0xFF
	maxIANA     uint32 = 0xFF_FFFF
)

// Group is the group of a request's command: the body code of netFn 2Ch (DCh for DCMI), the IANA
// enterprise number of netFn 2Eh. It is AnyGroup for other netFns and for a request without enough
// data.
func (r *Request) Group() uint32 {
	switch d := r.Data; {
	case r.NetFn == NetFnGroup && len(d) >= 1:
		return uint32(d[0])
	case r.NetFn == NetFnOEM && len(d) >= 3:
		return uint32(d[0]) | uint32(d[1])<<8 | uint32(d[2])<<16
	}
	return AnyGroup
}

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
