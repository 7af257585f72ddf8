package bridge

import (
	"errors"
	"slices"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// commandSendMessage is Send Message.
const commandSendMessage ipmi.Command = 0x34

// command is one row of the table of commands.
type command struct {
	netFn    ipmi.NetFn
	command  ipmi.Command
	min, max int // bytes of data
	serve    func(*Interface, *ipmi.Request, ipmi.Reply)
}

// locked serves a command under the bridge's mutex.
func locked(
	serve func(*Interface, *ipmi.Request) ipmi.Response,
) func(*Interface, *ipmi.Request, ipmi.Reply) {
	respond := func(i *Interface, req *ipmi.Request) ipmi.Response {
		i.bridge.mu.Lock()
		defer i.bridge.mu.Unlock()
		i.dropExpired()
		return serve(i, req)
	}
	return func(i *Interface, req *ipmi.Request, reply ipmi.Reply) { reply.Answer(respond(i, req), nil) }
}

// noMax: the command checks the length itself.
const noMax = 1 << 16

// commands are the commands that the bridge serves on a bridged interface, on LUN 0 (IPMI v2.0,
// sections 22 and 29; numbers of appendix G).
var commands = [...]command{
	{ipmi.NetFnSensor, 0x00, 2, 2, setEventReceiver},
	{ipmi.NetFnSensor, 0x01, 0, 0, locked(getEventReceiver)},
	{ipmi.NetFnSensor, ipmi.CommandPlatformEvent, 0, noMax, platformEvent},

	{ipmi.NetFnApp, 0x2E, 1, 1, locked(setEnables)},
	{ipmi.NetFnApp, 0x2F, 0, 0, locked(getEnables)},
	{ipmi.NetFnApp, 0x30, 1, 1, clearFlags},
	{ipmi.NetFnApp, 0x31, 0, 0, locked(getFlags)},
	{ipmi.NetFnApp, 0x32, 2, 2, locked(enableReceive)},
	{ipmi.NetFnApp, 0x33, 0, 0, locked(getMessage)},
	{ipmi.NetFnApp, commandSendMessage, 1, noMax, sendMessage},
	{ipmi.NetFnApp, 0x35, 0, 0, locked(readEventBuffer)},
	{ipmi.NetFnApp, 0x42, 1, 1, locked(getChannelInfo)},
}

// Patterns returns the commands that the bridge serves on bridged interfaces with these channel
// numbers.
func Patterns(channels ipmi.ChannelMask) []ipmi.Pattern {
	var patterns []ipmi.Pattern
	for _, c := range commands {
		p := ipmi.Pattern{Channels: channels, NetFn: c.netFn, Command: c.command, Group: ipmi.AnyGroup}
		patterns = append(patterns, p)
	}
	return patterns
}

// serveCommand serves a request whose data have the right length, and refuses others. It returns
// false if the command is in no row.
func (i *Interface) serveCommand(req *ipmi.Request, reply ipmi.Reply) bool {
	isRow := func(c command) bool { return c.netFn == req.NetFn && c.command == req.Command }
	row := slices.IndexFunc(commands[:], isRow)
	switch {
	case row < 0:
		return false
	case len(req.Data) < commands[row].min || len(req.Data) > commands[row].max:
		reply.Answer(refuse(ipmi.CodeLengthInvalid), nil)
	default:
		commands[row].serve(i, req, reply)
	}
	return true
}

// refuse makes a response of a completion code and no data.
func refuse(c ipmi.CompletionCode) ipmi.Response { return ipmi.Response{Code: c} }

// answer makes a response of data.
func answer(data ...byte) ipmi.Response { return ipmi.Response{Data: data} }

const (
	// codeEmpty: there is no message, or no event (IPMI v2.0, sections 22.6 and 22.8).
	codeEmpty ipmi.CompletionCode = 0x80

	// Completion codes of Send Message (IPMI v2.0, section 22.7).
	codeArbitrationLost ipmi.CompletionCode = 0x81
	codeBusError        ipmi.CompletionCode = 0x82
	codeNotAcknowledged ipmi.CompletionCode = 0x83
)

// codes is the table from the errors of a bus to the completion code of a Send Message.
var codes = []struct {
	err  error
	code ipmi.CompletionCode
}{
	{ipmb.ErrTimeout, ipmi.CodeTimeout},
	{ipmb.ErrNotAcknowledged, codeNotAcknowledged},
	{ipmb.ErrArbitrationLost, codeArbitrationLost},
	{ipmb.ErrStuck, codeBusError},
	{ipmb.ErrTooLong, ipmi.CodeLengthExceeded},
	{ipmb.ErrClosed, ipmi.CodeDestinationGone},
	{ipmb.ErrBusy, ipmi.CodeNodeBusy},
	{ipmb.ErrInvalid, ipmi.CodeInvalidField},
	{ipmb.ErrAnswered, ipmi.CodeDuplicateRequest},
	{ipmb.ErrUnsupported, ipmi.CodeNotInState},
}

// codeOf returns the completion code of a Send Message that ended with err: CodeOK for nil, and
// ipmi.CodeOf for an error that is in no row.
func codeOf(err error) ipmi.CompletionCode {
	for _, row := range codes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return ipmi.CodeOf(err)
}
