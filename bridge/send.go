package bridge

import (
	"errors"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The first byte of Send Message (IPMI v2.0, section 22.7).
const (
	channelBits      = 0x0F
	sessionBits      = 0x30 // authenticate and encrypt, for channels with sessions
	trackingBits     = 0xC0
	trackingNone     = 0x00
	trackingResponse = 0x40
)

// maxDepth is how many Send Messages may be nested: ipmitool's double bridging nests two. A
// message that goes round in a loop gets smaller with each turn, and ends here at the latest.
const maxDepth = 3

// generalCallAddress begins a message to all nodes, before the frame to the node that responds
// (IPMI v2.0, section 20.9).
const generalCallAddress = 0x00

func channelOf(b byte) ipmi.Channel { return ipmi.Channel(b & channelBits) }

// sendMessage serves Send Message.
func sendMessage(i *Interface, req *ipmi.Request, reply ipmi.Reply) {
	to, m, code := i.parseSendMessage(req)
	switch {
	case code != ipmi.CodeOK:
		reply.Answer(refuse(code), nil)
	case m.NetFn.IsResponse():
		to.sendResponse(req.Data[1:], reply)
	default:
		i.sendRequest(to, m, req, reply)
	}
}

// parseSendMessage parses a Send Message: the bus it is for and the message in it. The code is
// CodeOK, or why the message is not sent on.
func (i *Interface) parseSendMessage(req *ipmi.Request) (to *Interface, m outgoing, code ipmi.CompletionCode) {
	head, tracking := req.Data[0], req.Data[0]&trackingBits
	to = i.bridge.busOf(i, channelOf(head))
	if to == nil || head&sessionBits != 0 || tracking != trackingNone && tracking != trackingResponse {
		return nil, m, ipmi.CodeInvalidField
	}
	m, code = parseMessage(req.Data[1:])
	switch {
	case code != ipmi.CodeOK:
	case m.NetFn.IsResponse():
		if to.holdsRequestOf(m.Frame) {
			code = ipmi.CodeDuplicateRequest
		}
	case m.Destination == to.bus.Address():
		code = codeNotAcknowledged // as on the bus
	}
	m.tracked = tracking == trackingResponse
	return to, m, code
}

// sendResponse writes a response of host software to the bus, and replies when the bus has taken
// it.
func (i *Interface) sendResponse(frame []byte, reply ipmi.Reply) {
	done := func(err error) { reply.Answer(refuse(codeOf(err)), nil) }
	if err := i.bus.StartRespond(frame, done); err != nil {
		done(err)
	}
}

// outgoing is a message to be sent on.
type outgoing struct {
	ipmb.Frame
	generalCall bool
	tracked     bool // the response answers the Send Message
}

// parseMessage parses the message in a Send Message. The code is CodeOK, or says
// what is wrong with it.
func parseMessage(b []byte) (outgoing, ipmi.CompletionCode) {
	var m outgoing
	if len(b) > ipmb.MinRequest && b[0] == generalCallAddress {
		m.generalCall = true
		b = b[1:]
	}
	if len(b) < ipmb.MinRequest {
		return m, ipmi.CodeLengthInvalid
	}
	var err error
	if m.Frame, err = ipmb.Decode(b); err != nil || !m.Destination.IsSlave() {
		return m, ipmi.CodeInvalidField
	}
	isGetDeviceID := m.NetFn == ipmi.NetFnApp && m.Command == ipmi.CommandGetDeviceID
	if m.generalCall && !isGetDeviceID || depth(m.Frame) > maxDepth {
		return m, ipmi.CodeInvalidField
	}
	return m, ipmi.CodeOK
}

// depth returns how many Send Messages are nested around the innermost message, including the one
// that f came in.
func depth(f ipmb.Frame) int {
	n := 1
	for f.NetFn == ipmi.NetFnApp && f.Command == commandSendMessage && len(f.Data) > 0 {
		inner, err := ipmb.Decode(f.Data[1:])
		if err != nil {
			break
		}
		n++
		f = inner
	}
	return n
}

// request returns the request that the bus is to send.
func (m outgoing) request() ipmb.Request {
	return ipmb.Request{
		Responder:    m.Destination,
		NetFn:        m.NetFn,
		LUN:          m.DestinationLUN,
		RequesterLUN: m.SourceLUN,
		Command:      m.Command,
		Data:         m.Data,
		GeneralCall:  m.generalCall,
		FailFast:     !m.tracked,
	}
}

// responseFrame returns the response as its requester knows it: to the address that it came to on
// the bus, with the requester's sequence number and LUN.
func (m outgoing) responseFrame(own ipmi.Address, r ipmi.Response) ipmb.Frame {
	f := m.Response(r.Code, r.Data)
	f.Destination = own
	return f
}

// replyError replies to a Send Message whose request failed. If a queue was full, host software
// may try again, so the engine must not remember the response: it gets an error.
func replyError(reply ipmi.Reply, err error) {
	if errors.Is(err, ipmb.ErrBusy) {
		reply.Answer(ipmi.Response{}, ipmi.ErrBusy)
		return
	}
	reply.Answer(refuse(codeOf(err)), nil)
}
