package bridge

import "ipmbd/ipmi"

// Commands that are named beside the table.
const (
	commandSendMessage ipmi.Command = 0x34

	// codeEmpty: there is no message, or no event.
	codeEmpty ipmi.CompletionCode = 0x80
)

// command is one row of the table of commands.
type command struct {
	netFn    ipmi.NetFn
	command  ipmi.Command
	min, max int // bytes of data; a max of 0 is none
	serve    func(*Interface, *ipmi.Request, ipmi.Reply)
}

// atOnce is the serve of a command that is answered before it returns.
func atOnce(serve func(*Interface, *ipmi.Request) (ipmi.Response, error)) func(*Interface, *ipmi.Request, ipmi.Reply) {
	return func(i *Interface, req *ipmi.Request, reply ipmi.Reply) { reply.Answer(serve(i, req)) }
}

// noMax: the command looks at the length itself.
const noMax = 1 << 16

// commands are those that the bridge serves on a bridged interface, on LUN 0
// (IPMI v2.0, sections 22 and 29; numbers of appendix G).
var commands = [...]command{
	{ipmi.NetFnSensor, 0x00, 2, 2, atOnce(setEventReceiver)},
	{ipmi.NetFnSensor, 0x01, 0, 0, atOnce(getEventReceiver)},
	{ipmi.NetFnSensor, ipmi.CommandPlatformEvent, 0, noMax, platformEvent},

	{ipmi.NetFnApp, 0x2E, 1, 1, atOnce(setEnables)},
	{ipmi.NetFnApp, 0x2F, 0, 0, atOnce(getEnables)},
	{ipmi.NetFnApp, 0x30, 1, 1, atOnce(clearFlags)},
	{ipmi.NetFnApp, 0x31, 0, 0, atOnce(getFlags)},
	{ipmi.NetFnApp, 0x32, 2, 2, atOnce(enableReceive)},
	{ipmi.NetFnApp, 0x33, 0, 0, atOnce(getMessage)},
	{ipmi.NetFnApp, commandSendMessage, 1, noMax, sendMessage},
	{ipmi.NetFnApp, 0x35, 0, 0, atOnce(readEventBuffer)},
	{ipmi.NetFnApp, 0x42, 1, 1, atOnce(getChannelInfo)},
}

// Patterns are the commands that the bridge serves on bridged interfaces with
// these channel numbers.
func Patterns(channels ipmi.ChannelMask) []ipmi.Pattern {
	var patterns []ipmi.Pattern
	for _, c := range commands {
		patterns = append(patterns, ipmi.Pattern{Channels: channels, NetFn: c.netFn, Command: c.command, Group: ipmi.AnyGroup})
	}
	return patterns
}

func lookUp(n ipmi.NetFn, cmd ipmi.Command) (command, bool) {
	if n != ipmi.NetFnApp && n != ipmi.NetFnSensor {
		return command{}, false
	}
	for _, c := range commands {
		if c.netFn == n && c.command == cmd {
			return c, true
		}
	}
	return command{}, false
}

// run serves a request whose data have the right length, and refuses others.
func (c command) run(i *Interface, req *ipmi.Request, reply ipmi.Reply) {
	if len(req.Data) < c.min || len(req.Data) > c.max {
		reply.Answer(refuse(ipmi.CodeLengthInvalid))
		return
	}
	c.serve(i, req, reply)
}

// refuse answers with a completion code and no data.
func refuse(c ipmi.CompletionCode) (ipmi.Response, error) { return ipmi.Response{Code: c}, nil }

// answer answers with data.
func answer(data ...byte) (ipmi.Response, error) { return ipmi.Response{Data: data}, nil }
