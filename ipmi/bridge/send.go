package bridge

import (
	"context"
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
func sendMessage(ctx context.Context, i *Interface, req *ipmi.Request) (ipmi.Response, error) {
	head, frame := req.Data[0], req.Data[1:]
	tracking := head & trackingBits
	to := i.bridge.target(i, channelOf(head))
	if to == nil || head&sessionBits != 0 || tracking != trackingNone && tracking != trackingResponse {
		return refuse(ipmi.CodeInvalidField)
	}
	m, c := parseMessage(frame)
	switch {
	case c != ipmi.CodeOK:
		return refuse(c)
	case m.NetFn.IsResponse() && to.holdsRequestOf(m.Frame):
		return refuse(ipmi.CodeDuplicateRequest)
	case m.NetFn.IsResponse():
		return refuse(codeOf(to.bus.Respond(ctx, frame)))
	case m.Destination == to.bus.Address():
		return refuse(codeNotAcknowledged) // as the bus would
	case tracking == trackingResponse:
		return i.sendTracked(ctx, to, m)
	}
	return i.sendUntracked(ctx, to, m)
}

// outgoing is a message to be sent on.
type outgoing struct {
	ipmb.Frame
	generalCall bool
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
	}
}

// response is the response as its requester knows it: to the address that it came
// to on the bus, under the requester's number and LUN.
func (m outgoing) response(own ipmi.Address, r ipmi.Response) ipmb.Frame {
	return ipmb.Frame{
		Destination: own, NetFn: m.NetFn.Response(), DestinationLUN: m.SourceLUN,
		Source: m.Destination, Sequence: m.Sequence, SourceLUN: m.DestinationLUN,
		Command: m.Command, Code: r.Code, Data: r.Data,
	}
}

// sendTracked answers with the response, as a whole message.
func (i *Interface) sendTracked(ctx context.Context, to *Interface, m outgoing) (ipmi.Response, error) {
	i.bridge.count(i, bridgedTracked)
	call, err := to.bus.Start(ctx, m.request())
	if err != nil {
		return failed(err)
	}
	r, err := call.Answer()
	if err != nil {
		return failed(err)
	}
	return answer(m.response(call.Address(), r).Append(nil)...)
}

// failed answers a request that the bus did not carry or answer. What it had no
// room for may come again: that is no answer to be kept.
func failed(err error) (ipmi.Response, error) {
	if errors.Is(err, ipmb.ErrBusy) {
		return ipmi.Response{}, ipmi.ErrBusy
	}
	return refuse(codeOf(err))
}

// sendUntracked answers when the bus has taken the request or refused it, and
// leaves the response to the queue, in which it has a place from now on.
func (i *Interface) sendUntracked(ctx context.Context, to *Interface, m outgoing) (ipmi.Response, error) {
	running, ok := i.keepPlace()
	if !ok {
		return failed(ipmb.ErrBusy)
	}
	if running == nil {
		i.giveBack()
		return failed(ipmb.ErrClosed)
	}
	defer i.bridge.waiters.Done()
	// Until the bus has taken it the request ends with its requester's patience,
	// and then with the bridge.
	sending, cancel := context.WithCancel(running)
	abandon := context.AfterFunc(ctx, cancel)
	request := m.request()
	request.FailFast = true
	call, err := to.bus.Start(sending, request)
	if err == nil {
		err = call.Accepted()
	}
	abandon()
	if err != nil {
		cancel()
		i.giveBack()
		return failed(err)
	}
	i.bridge.waiters.Go(func() {
		defer cancel()
		r, err := call.Answer()
		i.answered(m.response(call.Address(), r), to, err)
	})
	return answer()
}

// keepPlace keeps a place in the queue; false: it is full. The context is that
// of the bridge, which waits for its waiters; nil while it does not run.
func (i *Interface) keepPlace() (context.Context, bool) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(i)
	if !i.queue.reserve() {
		i.counters.add(messagesRefused)
		return nil, false
	}
	i.counters.add(bridgedUntracked)
	if b.running != nil {
		b.waiters.Add(1)
	}
	return b.running, true
}

func (i *Interface) giveBack() {
	i.bridge.mu.Lock()
	defer i.bridge.mu.Unlock()
	i.queue.reserved--
}

// answered puts a response in the place that was kept for it. One that host
// software cannot fetch, as it is too long for the interface, becomes a response
// that says so.
func (i *Interface) answered(f ipmb.Frame, from *Interface, err error) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	i.queue.reserved--
	if err != nil {
		i.counters.add(bridgedUnanswered)
		return
	}
	if !i.carries(f.Len()) {
		f.Code, f.Data = ipmi.CodeOf(ipmi.ErrAnswerTooLong), nil
	}
	i.enqueue(newMessage(from, f))
}
