package ipmb

import (
	"context"
	"fmt"
	"time"

	"ipmbd/ipmi"
)

// Respond writes a response that was made elsewhere, as it is, and returns when
// the bus has taken it or not. If it answers a request whose handler has left
// the answer to it (ipmi.ErrDeferred), a repeat of the request gets it again; a
// second one is ErrAnswered. A response to no request that is known is written
// too. The other errors are ErrInvalid for what is no response and those of a
// write.
func (e *Engine) Respond(ctx context.Context, frame []byte) error {
	return await(ctx, func(done func(error)) error { return e.StartRespond(frame, done) })
}

// StartRespond is Respond that returns at once. When it returns nil, done is told whether
// the bus has taken the response, without a lock held; it must not block.
func (e *Engine) StartRespond(frame []byte, done func(error)) error {
	f, err := Decode(frame)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case !f.NetFn.IsResponse() || !f.Destination.IsSlave():
		return invalid("no response to an address")
	}
	return e.startRespond(f, &delivery{frame: append([]byte(nil), frame...), done: done})
}

// await starts what tells done of its end, and waits for that, at most until ctx ends.
func await(ctx context.Context, start func(done func(error)) error) error {
	ended := make(chan error, 1)
	if err := start(func(err error) { ended <- err }); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) startRespond(f Frame, d *delivery) error {
	e.mu.Lock()
	defer e.unlock()
	if err := e.undeliverable(len(d.frame)); err != nil {
		return err
	}
	if n := e.requests.answeredBy(f, e.now()); n != nil {
		if n.answered {
			return ErrAnswered
		}
		e.settleWith(n, d)
	}
	e.deliver(d)
	return nil
}

// undeliverable is why a frame to which no answer is awaited cannot be sent now.
func (e *Engine) undeliverable(length int) error {
	switch {
	case !e.running:
		return ErrClosed
	case e.isStuck():
		return ErrStuck
	case length > e.limits.MaxFrame:
		return fmt.Errorf("%w: %d bytes, %d are possible", ErrTooLong, length, e.limits.MaxFrame)
	case e.outbox.pending >= e.config.MaxResponses:
		return ErrBusy
	}
	return nil
}

// answeredBy is the request that a response answers, nil for none that is known.
// One from an address that was not asked is no answer to its requester.
func (t *requestTable) answeredBy(f Frame, now time.Duration) *entry {
	n := t.find(requestKey{f.Destination, f.DestinationLUN, f.NetFn.Request(), f.Command, f.Sequence})
	if n == nil || ipmi.Address(n.frame[0]) != f.Source || n.request.LUN != f.SourceLUN {
		return nil
	}
	if n.answered && now-n.answeredAt >= sequenceExpiration {
		return nil
	}
	return n
}

// settleWith makes a response of Respond the answer to a request, whether the handler has
// deferred the request already or is about to.
func (e *Engine) settleWith(n *entry, d *delivery) {
	e.unset(&n.deadline)
	if n.deferred {
		e.deferrals--
	} else {
		e.leaves(n)
	}
	n.deferred = true
	n.answer, n.delivering = d.frame, true
	d.entry = n
	e.requests.keep(n, e.now())
}

// deferred leaves a request to Respond, until its deadline.
func (e *Engine) deferred(n *entry) {
	e.leaves(n)
	if e.deferrals >= e.config.MaxResponses {
		e.unset(&n.deadline)
		e.requests.remove(n)
		e.counts.add(handlersBusy)
		e.answer(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrBusy)})
		return
	}
	n.deferred = true
	e.deferrals++
	e.counts.add(requestsDeferred)
	if e.drained != nil {
		e.giveUp(n)
	}
	e.checkDrained()
}

// abandon answers the deferred requests, which nobody else will answer any more.
func (e *Engine) abandon() {
	for _, n := range e.requests.unanswered() {
		e.giveUp(n)
	}
}

func (e *Engine) giveUp(n *entry) {
	e.unset(&n.deadline)
	e.deferrals--
	if n.isStale(e.now()) {
		e.forget(n)
		return
	}
	e.settle(n, ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrAbandoned)})
}

// staleTime is how long after its deadline an answer may still be given.
const staleTime = time.Second

// isStale reports whether the deadline has passed long ago, while the engine did
// not run: the requester may have used its number again since.
func (n *entry) isStale(now time.Duration) bool { return now-n.at >= staleTime }

// forget drops a request that will not be answered any more.
func (e *Engine) forget(n *entry) {
	n.answered = true
	e.counts.add(answersLost)
	e.requests.remove(n)
}
