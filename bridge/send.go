package bridge

import (
	"errors"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The first byte of Send Message (IPMI v2.0, section 22.7).
const (
	channelBits      = 0x0F
	sessionBits      = 0x30 // authenticate and encrypt: of channels with sessions
	trackingBits     = 0xC0
	trackingNone     = 0x00
	trackingResponse = 0x40
)

// maxDepth is how many Send Messages may be one in the other: ipmitool's double
// bridging makes two. A message that goes round in circles gets smaller with
// each turn and ends here at the latest.
const maxDepth = 3

// generalCallAddress begins a message to all nodes, before the frame of the one
// that is to answer (IPMI v2.0, section 20.9).
const generalCallAddress = 0x00

func channelOf(b byte) ipmi.Channel { return ipmi.Channel(b & channelBits) }

// sendMessage serves Send Message.
func sendMessage(i *Interface, req *ipmi.Request, reply ipmi.Reply) {
	to, m, code := i.parseSendMessage(req)
	switch {
	case code != ipmi.CodeOK:
		reply.Answer(refuse(code))
	case m.NetFn.IsResponse():
		to.respond(req.Data[1:], reply)
	default:
		i.send(to, m, req, reply)
	}
}

// parseSendMessage reads the message in a Send Message, and where it goes to. The code is
// CodeOK, or why the message is not sent on.
func (i *Interface) parseSendMessage(req *ipmi.Request) (to *Interface, m outgoing, code ipmi.CompletionCode) {
	head, tracking := req.Data[0], req.Data[0]&trackingBits
	to = i.bridge.target(i, channelOf(head))
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
		code = codeNotAcknowledged // as the bus would
	}
	m.tracked = tracking == trackingResponse
	return to, m, code
}

// respond writes a response that host software has made to the bus, and answers when the
// bus has taken it.
func (i *Interface) respond(frame []byte, reply ipmi.Reply) {
	done := func(err error) { reply.Answer(refuse(codeOf(err))) }
	if err := i.bus.StartRespond(frame, done); err != nil {
		done(err)
	}
}

// outgoing is a message to be sent on.
type outgoing struct {
	ipmb.Frame
	generalCall bool
	tracked     bool // answered with the response
}

// parseMessage reads the message in a Send Message. The code is CodeOK, or what
// is wrong with it.
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

// depth is how many Send Messages a message is inside of, with the one that it
// came in, if it is sent on and on.
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

// request is what the engine of the bus is to send.
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

// response is the response as its requester knows it: to the address that it came
// to on the bus, under the requester's number and LUN.
func (m outgoing) response(own ipmi.Address, r ipmi.Response) ipmb.Frame {
	m.Source = own
	return m.Frame.Response(r.Code, r.Data)
}

// failed answers a request that the bus did not carry or answer. What it had no
// room for may come again: that is no answer to be kept.
func failed(err error) (ipmi.Response, error) {
	if errors.Is(err, ipmb.ErrBusy) {
		return ipmi.Response{}, ipmi.ErrBusy
	}
	return refuse(codeOf(err))
}

func (i *Interface) giveBack() {
	i.bridge.mu.Lock()
	defer i.bridge.mu.Unlock()
	i.queue.reserved--
}

// fillPlace puts a response in the place that was kept for it. A response that host
// software cannot fetch, as it is too long for the interface, becomes one that says so.
func (i *Interface) fillPlace(f ipmb.Frame, from *Interface) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	i.queue.reserved--
	if !i.carries(f.Len()) {
		f.Code, f.Data = ipmi.CodeOf(ipmi.ErrResponseTooLong), nil
	}
	i.enqueue(newMessage(from, f))
}
