package dbusapi

import (
	"context"
	"errors"
	"sync/atomic"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// busCall is a method call that sends to a bus, from when it is read until its reply
// is written. It is used again for another call. The reading goroutine sends the
// request, in order of arrival; the goroutine that ends the request sends the reply.
type busCall struct {
	server  *Server
	call    *bus.Call
	request ipmb.Request
	object  *BusObject
	method  *method
	to      dbuswire.ReplyTo
	reply   []byte

	state atomic.Int32 // callWaits and so on
	users atomic.Int32 // how many still use it: the goroutine that sends, and the reply

	// Of callers.
	caller         *caller
	placed         bool     // it has a place
	earlier, later *busCall // of the caller's
	over           bool     // the request has ended
	kept           bool     // another goroutine cancels it: it is not used again
}

// States of a busCall. The goroutine that sends goes from one of the first three to
// the next; cancel goes to the last from any.
const (
	callWaits int32 = iota
	callStarts
	callRuns
	callCancelled
)

// startCall serves a call of a method that sends. It does not block.
func (s *Server) startCall(from *dbuswire.Conn, m *dbuswire.Message, method *boundMethod) {
	x := s.newCall()
	x.object, x.method, x.to = method.object.bus, &method.method, from.ReplyTo(m)
	invalid := method.parse(x, m)
	one, held, err := s.callers.enterCall(m.Sender, x, invalid == nil)
	if err != nil {
		if invalid != nil {
			err = invalid
		}
		x.to.Destination = string(m.Sender)
		x.to.Send(x.method.reply(x, ipmi.Response{}, err), nil)
		return
	}
	s.lookups.identify(one)
	switch {
	case held: // x is sendHeld's.
	case invalid != nil:
		x.fail(invalid)
	default:
		x.send()
	}
}

// sendHeld sends the calls of a caller that had no place until it was identified.
func (s *Server) sendHeld(one *caller) {
	for {
		switch x, err := s.callers.nextHeld(one); {
		case x == nil:
			return
		case err != nil:
			x.fail(err)
		default:
			x.send()
		}
	}
}

// send sends a call that has its place.
func (x *busCall) send() {
	x.call.SetClient(&x.caller.client)
	if err := x.object.start(x); err != nil {
		x.fail(err)
	}
}

// newCall is a call of nobody yet.
func (s *Server) newCall() *busCall {
	x, _ := s.calls.Get().(*busCall)
	if x == nil {
		x = &busCall{server: s}
		x.call = bus.NewCall(nil, x.done)
	}
	x.over = false
	x.request = ipmb.Request{}
	x.users.Store(2)
	x.state.Store(callWaits)
	return x
}

// fail ends a call that is not sent.
func (x *busCall) fail(err error) {
	x.ended(ipmi.Response{}, err)
	x.unuse()
}

// begin begins to send a call. The error says that it was cancelled before.
func (x *busCall) begin() error {
	if !x.state.CompareAndSwap(callWaits, callStarts) {
		return context.Canceled
	}
	return nil
}

// begun ends what begin has begun, when the call is sent.
func (x *busCall) begun() {
	if !x.state.CompareAndSwap(callStarts, callRuns) {
		x.call.Cancel()
		x.ended(ipmi.Response{}, context.Canceled)
	}
	x.unuse()
}

// cancel ends a call whose caller has left, or the server. A request that was
// sent ends with the bus. A broadcast cannot be taken back.
func (x *busCall) cancel() {
	switch x.state.Swap(callCancelled) {
	case callStarts:
		return // begun finds out.
	case callRuns:
		x.call.Cancel()
	}
	x.ended(ipmi.Response{}, context.Canceled)
}

// done is told by the bus how the request has ended.
func (x *busCall) done(r ipmi.Response, err error) { x.ended(r, err) }

// broadcastDone is told by the bus how a broadcast has ended.
func (x *busCall) broadcastDone(err error) { x.done(ipmi.Response{}, err) }

// ended sends the reply, unless that is done.
func (x *busCall) ended(r ipmi.Response, err error) {
	if !x.server.callers.ended(x) {
		return
	}
	if errors.Is(err, bus.ErrLimit) {
		x.object.refused.Add(1)
	}
	if x.to.Unwanted {
		x.Leaving()
		x.Left()
		return
	}
	x.reply = x.method.reply(x, r, err)
	x.to.Send(x.reply, x)
}

// Leaving implements dbuswire.Receipt: the caller may have the reply, and make another call.
func (x *busCall) Leaving() { x.server.callers.release(x) }

// Left implements dbuswire.Receipt.
func (x *busCall) Left() { x.unuse() }

// unuse lets another call have the memory when nobody uses it any more.
func (x *busCall) unuse() {
	if x.users.Add(-1) == 0 && !x.kept {
		x.server.calls.Put(x)
	}
}
