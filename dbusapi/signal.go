package dbusapi

import (
	"context"
	"errors"
	"sync"
	"time"

	"ipmbd/ipmi"
)

// receivedMessage is the signal of a bus's object.
const receivedMessage = busObjectInterface + ".ReceivedMessage"

// waiting is the requests that wait for a sendResponse, by id.
type waiting struct {
	mu       sync.Mutex
	requests map[uint64]signalled
}

// signalled is one of them.
type signalled struct {
	until  time.Time          // as of takenUntil
	answer chan ipmi.Response // has room
}

// add returns where the answer to a request will be, which is waited for until ctx
// ends.
func (w *waiting) add(ctx context.Context, id uint64) <-chan ipmi.Response {
	r := signalled{takenUntil(ctx), make(chan ipmi.Response, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.requests == nil {
		w.requests = make(map[uint64]signalled)
	}
	w.requests[id] = r
	return r.answer
}

// answer answers a request, once and in time, and reports whether it has.
func (w *waiting) answer(id uint64, res ipmi.Response) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.requests[id]
	if !ok || isPast(r.until) {
		return false
	}
	delete(w.requests, id)
	r.answer <- res
	return true
}

// giveUp ends the wait of a request, and reports whether it was without an answer.
func (w *waiting) giveUp(id uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.requests[id]
	delete(w.requests, id)
	return ok
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
	answer := o.waiting.add(ctx, id)
	defer o.waiting.giveUp(id)
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
		if o.waiting.giveUp(id) {
			return ipmi.Response{}, ipmi.ErrNoHandler
		}
		return <-answer, nil
	}
	select {
	case res := <-answer:
		return res, nil
	case <-ctx.Done():
	}
	if !o.waiting.giveUp(id) {
		return <-answer, nil
	}
	return ipmi.Response{}, endOf(ctx)
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
	res := ipmi.Response{Code: ipmi.CompletionCode(c.args[1].(byte)), Data: c.args[2].([]byte)}
	if !o.waiting.answer(c.args[0].(uint64), res) {
		return nil, errUnknownID
	}
	return nil, nil
}
