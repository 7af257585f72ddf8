package ipmb

import (
	"context"
	"errors"
	"slices"
	"time"

	"ipmbd/ipmi"
)

// slots limits how many requests may be in handlers.
type slots struct{ limit, used int }

// admitRequest takes a request, drops it, or answers it as an earlier one. It returns the
// entry that a handler is to serve, or nil. patience is Config.BridgeTimeout for it, and respond is
// nil for a request in a frame.
func (e *Engine) admitRequest(f Frame, raw []byte, effect ipmi.Effect, patience time.Duration, respond func([]byte) error) *entry {
	if !e.running {
		e.counts.add(droppedStopping)
		return nil
	}
	now := e.now()
	if n := e.requests.repeated(f, raw, effect, e.beingWritten(), now); n != nil {
		e.repeat(n)
		return nil
	}
	if e.drained != nil {
		e.counts.add(droppedStopping)
		return nil
	}
	if e.outbox.pending >= e.config.MaxResponses {
		e.counts.add(droppedAnswersFull)
		return nil
	}
	e.counts.add(requestsReceived)
	n := e.newEntry(f, raw, effect)
	n.respond = respond
	timeout := e.config.HandlerTimeout
	n.slots = &e.handlers
	if patience > 0 {
		n.slots, timeout = &e.patient, patience
	}
	if n.slots.used >= n.slots.limit {
		e.counts.add(handlersBusy)
		e.answer(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrBusy)})
		return nil
	}
	e.requests.add(n)
	e.set(&n.deadline, now+timeout)
	n.request.Deadline = e.epoch.Add(now + timeout)
	n.slots.used++
	e.unanswered++
	return n
}

func (e *Engine) newEntry(f Frame, raw []byte, effect ipmi.Effect) *entry {
	n := &entry{engine: e, key: requestKeyOf(f), effect: effect}
	n.owner = n
	n.setFrame(raw)
	n.request = ipmi.Request{
		Interface:    e.config.Interface,
		Channel:      e.config.Channel,
		Host:         e.config.Host,
		Requester:    f.Source,
		RequesterLUN: f.SourceLUN,
		Sequence:     f.Sequence,
		NetFn:        f.NetFn,
		LUN:          f.DestinationLUN,
		Command:      f.Command,
		Data:         slices.Clip(n.frame[MinRequest-1 : len(n.frame)-1]),
	}
	return n
}

// serve has the handler serve a request.
func (e *Engine) serve(n *entry) { ipmi.Serve(e.config.Handler, &n.request, n) }

// Answer implements ipmi.Reply: it answers the request, unless its deadline has done so.
func (n *entry) Answer(response ipmi.Response, err error) bool {
	e := n.engine
	e.mu.Lock()
	taken, tell := e.served(n, response, err), e.config.Served
	e.unlock()
	switch {
	case !taken, errors.Is(err, ipmi.ErrDeferred):
	case err != nil:
		tell(&n.request, ipmi.CodeOf(err), err)
	default:
		tell(&n.request, response.Code, nil)
	}
	return taken
}

// served takes the answer of a handler, and reports whether it counts.
func (e *Engine) served(n *entry, response ipmi.Response, err error) bool {
	switch deferred := errors.Is(err, ipmi.ErrDeferred); {
	case deferred && (n.answered || n.deferred): // by Respond already
		return false
	case n.answered || n.deferred:
		e.counts.add(handlerAnswersLate)
		return false
	case deferred:
		e.deferred(n)
		return true
	}
	e.unset(&n.deadline)
	e.leaves(n)
	if err != nil {
		e.countFailure(err)
		response = ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	if ipmi.NotServed(err) {
		e.requests.remove(n)
		e.answer(n, response)
	} else {
		e.settle(n, response)
	}
	e.checkDrained()
	return true
}

// leaves gives back the handler's slot of a request.
func (e *Engine) leaves(n *entry) {
	n.slots.used--
	e.unanswered--
}

func (e *Engine) countFailure(err error) {
	switch {
	case errors.Is(err, ipmi.ErrDenied):
		e.counts.add(requestsDenied)
	case ipmi.NotServed(err):
	case errors.Is(err, ipmi.ErrTooSlow), errors.Is(err, context.DeadlineExceeded):
		e.counts.add(handlersTooSlow)
	default:
		e.counts.add(handlersFailed)
	}
}

// expire answers for a handler that has missed its deadline. Its own answer
// reaches nobody.
func (n *entry) expire(e *Engine, now time.Duration) {
	e.counts.add(handlersTooSlow)
	if n.deferred {
		e.deferrals--
	} else {
		e.leaves(n)
	}
	if n.isStale(now) {
		e.forget(n)
	} else {
		e.settle(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrTooSlow)})
	}
	tell := e.config.Served
	e.later(func() { tell(&n.request, ipmi.CodeOf(ipmi.ErrTooSlow), ipmi.ErrTooSlow) })
	e.checkDrained()
}

// settle answers a request that was served and keeps the answer for repeats.
func (e *Engine) settle(n *entry, response ipmi.Response) {
	if !n.superseded {
		e.requests.keep(n, e.now())
	}
	e.answer(n, response)
}

// answer sends the response to a request, unless its requester has used the
// number for another request meanwhile.
func (e *Engine) answer(n *entry, response ipmi.Response) {
	n.answered = true
	if n.superseded {
		e.counts.add(requestsSuperseded)
		return
	}
	if e.limits.MaxFrame < MinResponse+len(response.Data) {
		response = ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrResponseTooLong)}
	}
	e.setAnswer(n, response)
	if !e.running {
		n.lost = true
		e.requests.drop(n)
		return
	}
	e.deliverAnswer(n)
}

// setAnswer keeps what is written as the answer: a frame, or what respond is given.
func (e *Engine) setAnswer(n *entry, response ipmi.Response) {
	if n.respond != nil {
		n.answer = append(append(n.answerRoom[:0], byte(response.Code)), response.Data...)
		return
	}
	request, _ := Decode(n.frame) // It was decoded before.
	n.setAnswer(request.Response(response.Code, response.Data))
}
