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

// busCall is a method call that sends to a bus, from when it is read until its reply is
// written. Its memory is used again for another call. The goroutine that reads the connection
// sends the request, in order of arrival; the goroutine that ends the request sends the reply.
type busCall struct {
	server  *Server
	call    *bus.Call
	request ipmb.Request
	object  *BusObject
	method  *method
	to      dbuswire.ReplyTo
	memory  []byte // of the reply

	state atomic.Int32 // callWaits and so on
	users atomic.Int32 // 2: the goroutine that sends, and the reply

	// clients.mu is held for the rest.
	client         *client
	bytes          int      // that the call takes
	earlier, later *busCall // of the client
	over           bool     // the request has ended
	cancelling     bool     // another goroutine cancels it: its memory is not used again
}

// States of a busCall. The goroutine that sends goes from one of the first three to the next;
// cancel goes to the last state from any other.
const (
	callWaits int32 = iota
	callStarts
	callRuns
	callCancelled
)

// startCall serves a call of a method that sends. It does not block.
func (s *Server) startCall(from *dbuswire.Conn, m *dbuswire.Message, method boundMethod) {
	x := s.newCall()
	x.object, x.method, x.to = method.object.bus, method.method, from.ReplyTo(m)
	invalid := method.parse(x, m)
	if err := s.clients.beginCall(m.Sender, x); err != nil {
		if invalid != nil {
			err = invalid
		}
		x.to.Destination = string(m.Sender)
		x.to.Send(x.method.reply(x, ipmi.Response{}, err), nil)
		return
	}
	x.to.Destination = x.client.name
	s.clients.identify(x.client)
	x.call.SetClient(&x.client.Client)
	err := invalid
	if err == nil {
		err = x.startSending()
	}
	if err != nil {
		x.endRequest(ipmi.Response{}, err)
		x.releaseMemory()
	}
}

// newCall is a call with memory that is not in use.
func (s *Server) newCall() *busCall {
	x, _ := s.unused.Get().(*busCall)
	if x == nil {
		x = &busCall{server: s}
		x.call = bus.NewCall(nil, x.endRequest)
	}
	x.over = false
	x.request = ipmb.Request{}
	x.call.ForgetTrace()
	x.users.Store(2)
	x.state.Store(callWaits)
	return x
}

// startSending sends the request or broadcast. An error means that it was not sent.
func (x *busCall) startSending() error {
	if !x.state.CompareAndSwap(callWaits, callStarts) {
		return context.Canceled
	}
	if err := x.method.send(x); err != nil {
		return err
	}
	if !x.state.CompareAndSwap(callStarts, callRuns) { // cancel has left that to us.
		x.call.Cancel()
		x.endRequest(ipmi.Response{}, context.Canceled)
	}
	x.releaseMemory()
	return nil
}

// sendRequest sends a request.
func (x *busCall) sendRequest() error {
	x.request.Responder = x.object.bus.Responder(x.request.Responder)
	return x.object.bus.Send(x.call, &x.request)
}

// sendBroadcast sends a broadcast.
func (x *busCall) sendBroadcast() error {
	req := &x.request
	ended := func(err error) { x.endRequest(ipmi.Response{}, err) }
	return x.object.bus.StartBroadcast(&x.client.Client, ended, req.NetFn, req.RequesterLUN, req.Command, req.Data)
}

// cancel ends a call because its client has left or the server closes. The bus ends a request that
// was sent. A broadcast cannot be taken back.
func (x *busCall) cancel() {
	switch x.state.Swap(callCancelled) {
	case callStarts:
		return // start finds out.
	case callRuns:
		x.call.Cancel()
	}
	x.endRequest(ipmi.Response{}, context.Canceled)
}

// endRequest sends the reply, unless that is done. The bus calls it when the request has ended.
func (x *busCall) endRequest(r ipmi.Response, err error) {
	if !x.server.clients.endCall(x) {
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
	x.memory = x.method.reply(x, r, err)
	x.to.Send(x.memory, x)
}

// Leaving: from now on the client may have the reply and make another call.
func (x *busCall) Leaving() { x.server.clients.release(x) }

func (x *busCall) Left() { x.releaseMemory() }

// releaseMemory lets another call have the memory when both users have ended.
func (x *busCall) releaseMemory() {
	if x.users.Add(-1) == 0 && !x.cancelling {
		x.server.unused.Put(x)
	}
}
