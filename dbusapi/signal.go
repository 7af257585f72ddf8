package dbusapi

import (
	"context"
	"errors"
	"sync"

	"ipmbd/ipmi"
)

// receivedMessage is the signal of a bus's object.
const receivedMessage = busObjectInterface + ".ReceivedMessage"

// waiting is the requests that wait for a sendResponse, by id.
type waiting struct {
	mu      sync.Mutex
	answers map[uint64]chan ipmi.Response
}

// add returns where the answer to a request will be.
func (w *waiting) add(id uint64) <-chan ipmi.Response {
	answer := make(chan ipmi.Response, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answers == nil {
		w.answers = make(map[uint64]chan ipmi.Response)
	}
	w.answers[id] = answer
	return answer
}

// take ends the wait of a request: only one caller gets its channel.
func (w *waiting) take(id uint64) (chan<- ipmi.Response, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer, ok := w.answers[id]
	delete(w.answers, id)
	return answer, ok
}

// SignalHandler is the handler of a bus whose requests are answered by clients
// on D-Bus: it emits ReceivedMessage and waits for sendResponse. Without an
// answer the request is ipmi.ErrTooSlow at its deadline; it is
// ipmi.ErrNoHandler, a little earlier, while no client that has ever answered is
// on the message bus. A command that carries a secret is in no signal, and so
// served by nobody.
func (o *BusObject) SignalHandler() ipmi.Handler {
	o.answered.Store(true)
	return ipmi.HandlerFunc(o.serveBySignal)
}

func (o *BusObject) serveBySignal(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	if ipmi.CarriesSecret(req.NetFn, req.Command, req.Data) {
		return ipmi.Response{}, ipmi.ErrNoHandler
	}
	id := o.server.nextID()
	answer := o.waiting.add(id)
	defer o.waiting.take(id)
	if !o.announce(id, req) {
		return ipmi.Response{}, ipmi.ErrBusy
	}
	select {
	case res := <-answer:
		return res, nil
	case <-ctx.Done():
	case <-shortly(ctx):
	}
	if !errors.Is(ctx.Err(), context.Canceled) && !o.server.answerers.any() {
		// Who took the request from those that wait is about to answer it.
		if _, unanswered := o.waiting.take(id); unanswered {
			return ipmi.Response{}, ipmi.ErrNoHandler
		}
	}
	select {
	case res := <-answer:
		return res, nil
	case <-ctx.Done():
		return ipmi.Response{}, endOf(ctx)
	}
}

// Announce is a handler that emits ReceivedMessage for each request and lets
// next answer it.
func (o *BusObject) Announce(next ipmi.Handler) ipmi.Handler {
	return ipmi.HandlerFunc(func(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
		if !ipmi.CarriesSecret(req.NetFn, req.Command, req.Data) {
			o.announce(o.server.nextID(), req)
		}
		return next.ServeIPMI(ctx, req)
	})
}

// announce emits ReceivedMessage and reports whether it will be sent.
func (o *BusObject) announce(id uint64, req *ipmi.Request) bool {
	b := o.server.signal(o.path, receivedMessage, "tyyyyay", 16+len(req.Data))
	b = appendUint64(b, id)
	b = append(b, byte(req.Requester), byte(req.NetFn), byte(req.LUN), byte(req.Command))
	return o.emit(appendBytes(b, req.Data))
}

// sendResponse serves xyz.openbmc_project.Ipmi.Channel.Ipmb.sendResponse.
func sendResponse(ctx context.Context, c *call) ([]any, error) {
	o := c.object.bus
	if !o.answered.Load() {
		return nil, errNotAnswered
	}
	c.server.answerers.add(ctx, c.sender)
	answer, ok := o.waiting.take(c.args[0].(uint64))
	if !ok {
		return nil, errUnknownID
	}
	answer <- ipmi.Response{Code: ipmi.CompletionCode(c.args[1].(byte)), Data: c.args[2].([]byte)}
	return nil, nil
}
