package ipmb

import (
	"context"
	"errors"
	"sync"
	"time"

	"ipmbd/ipmi"
)

// workers run handlers. A worker is started when all others are busy, up to
// the limit, and stays until Run ends.
type workers struct {
	limit   int
	started int
	busy    int
	work    chan *entry
	group   sync.WaitGroup
}

func (w *workers) open(limit int) {
	w.limit = limit
	w.started, w.busy = 0, 0
	w.work = make(chan *entry, limit)
}

// wait waits for the handlers. No request is taken any more.
func (w *workers) wait() {
	close(w.work)
	w.group.Wait()
}

// admitRequest takes a request, drops it, or answers it as an earlier one.
// patience is Config.Patience for it.
func (e *Engine) admitRequest(ctx context.Context, f Frame, raw []byte, effect ipmi.Effect, patience time.Duration) {
	if !e.running {
		e.counts.add(droppedStopping)
		return
	}
	now := e.now()
	if n := e.requests.repeated(f, raw, effect, e.beingWritten(), now); n != nil {
		e.repeat(n)
		return
	}
	if e.drained != nil {
		e.counts.add(droppedStopping)
		return
	}
	if e.outbox.pending >= e.config.MaxAnswers {
		e.counts.add(droppedAnswersFull)
		return
	}
	e.counts.add(requestsReceived)
	n := e.newEntry(f, raw, effect)
	n.workers, n.timeout = &e.handlers, e.config.HandlerTimeout
	if patience > 0 {
		n.workers, n.timeout = &e.patient, patience
	}
	if n.workers.busy >= n.workers.limit {
		e.counts.add(handlersBusy)
		e.answer(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrBusy)})
		return
	}
	e.requests.add(n)
	e.set(&n.deadline, now+n.timeout)
	e.dispatch(ctx, n)
}

func (e *Engine) newEntry(f Frame, raw []byte, effect ipmi.Effect) *entry {
	n := &entry{key: requestKeyOf(f), effect: effect}
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
		Data:         n.frame[MinRequest-1 : len(n.frame)-1],
	}
	return n
}

// dispatch hands a request to a worker. There is always one free, or room for
// one more: busy never exceeds the limit.
func (e *Engine) dispatch(ctx context.Context, n *entry) {
	w := n.workers
	w.busy++
	e.unanswered++
	if w.busy > w.started {
		w.started++
		w.group.Go(func() {
			for n := range w.work {
				e.serve(ctx, n)
			}
		})
	}
	w.work <- n
}

// serve runs the handler for a request, and answers it unless its deadline
// has done so.
func (e *Engine) serve(ctx context.Context, n *entry) {
	response, err := e.handle(ctx, n)

	e.mu.Lock()
	defer e.mu.Unlock()
	n.workers.busy--
	switch {
	case errors.Is(err, ipmi.ErrDeferred):
		e.deferred(n)
		return
	case n.answered:
		e.counts.add(handlerAnswersLate)
		return
	}
	e.unset(&n.deadline)
	e.unanswered--
	defer e.checkDrained()
	if err != nil {
		e.countFailure(err)
		response = ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	if ipmi.NotServed(err) {
		e.requests.remove(n)
		e.answer(n, response)
		return
	}
	e.settle(n, response)
}

// handle calls the handler and makes a panic an error.
func (e *Engine) handle(ctx context.Context, n *entry) (response ipmi.Response, err error) {
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	defer func() {
		if recover() != nil {
			err = ipmi.ErrPanic
		}
	}()
	return e.config.Handler.ServeIPMI(ctx, &n.request)
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

// expire answers for a handler that has missed its deadline. What it returns
// later reaches nobody.
func (n *entry) expire(e *Engine, now time.Duration) {
	e.counts.add(handlersTooSlow)
	if n.deferred {
		e.deferrals--
		if n.isStale(now) {
			e.forget(n)
			return
		}
	} else {
		e.unanswered--
	}
	e.settle(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrTooSlow)})
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
		response = ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrAnswerTooLong)}
	}
	n.setAnswer(Frame{
		Destination:    n.key.requester,
		NetFn:          n.key.netFn.Response(),
		DestinationLUN: n.key.requesterLUN,
		Source:         ipmi.Address(n.frame[0]),
		Sequence:       n.key.sequence,
		SourceLUN:      n.request.LUN,
		Command:        n.key.command,
		Code:           response.Code,
		Data:           response.Data,
	})
	if !e.running {
		n.lost = true
		e.requests.drop(n)
		return
	}
	e.deliverAnswer(n)
}
