package bridge

import (
	"context"
	"errors"
	"slices"
	"time"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// call is a request of a Send Message on its way over a bus. The bus tells it of the
// acceptance and of the end, maybe from two goroutines at the same time.
type call struct {
	bus *bus.Call

	// Set before the request is sent.
	from, to *Interface
	message  outgoing
	request  ipmb.Request
	reply    ipmi.Reply // to the Send Message
	deadline time.Time  // of the Send Message; zero for none

	response []byte // memory for a tracked response

	// Guarded by the bridge's mutex.
	sent     bool
	answered bool // the Send Message is answered, or is about to be
	ended    bool
	cause    error // why it was cancelled; nil if it was not
}

func newCall() *call {
	c := new(call)
	c.bus = bus.NewCall(nil, c.end)
	return c
}

// callOf returns a call for a message. A call that is not tracked is used once, since its
// bus may tell of the acceptance after the end.
func (b *Bridge) callOf(m outgoing) *call {
	if m.tracked {
		return b.tracked.Get().(*call)
	}
	c := newCall()
	c.bus.OnAccepted(c.accept)
	return c
}

// send sends a request on. A tracked Send Message is answered with the response. One that
// is not tracked is answered when the bus has taken or refused the request; the response
// goes into the queue, in which it has a place from now on.
func (i *Interface) send(to *Interface, m outgoing, req *ipmi.Request, reply ipmi.Reply) {
	if err := i.beginCall(m.tracked); err != nil {
		reply.Answer(failed(err))
		return
	}
	c := i.bridge.callOf(m)
	c.from, c.to, c.message, c.reply, c.deadline = i, to, m, reply, req.Deadline
	c.request = m.request()
	if err := to.bus.Send(c.bus, &c.request); err != nil {
		c.end(ipmi.Response{}, err)
	}
	i.bridge.hasSent(c)
}

// beginCall counts a call, and keeps a place in the queue for the response to one that is
// not tracked. An error means that nothing can be sent.
func (i *Interface) beginCall(tracked bool) error {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.running {
		return ipmb.ErrClosed
	}
	if tracked {
		i.counters.add(bridgedTracked)
	} else {
		b.expire(i)
		if !i.queue.reserve() {
			i.counters.add(messagesRefused)
			return ipmb.ErrBusy
		}
		i.counters.add(bridgedUntracked)
	}
	b.ending.Add(1)
	return nil
}

// hasSent makes a call one that can be cancelled, unless it has ended.
func (b *Bridge) hasSent(c *call) {
	b.mu.Lock()
	c.sent = true
	ended := c.ended
	if !ended {
		b.calls = append(b.calls, c)
		if !b.running {
			c.cause = ipmb.ErrClosed
		} else if !c.deadline.IsZero() && c.deadline.Before(b.sleepsUntil) {
			b.wake()
		}
	}
	cancel := c.cause != nil
	b.mu.Unlock()
	switch {
	case ended:
		b.release(c)
	case cancel:
		c.bus.Cancel()
	}
}

// accept answers the Send Message: the bus has taken the request. If the owner of the
// Send Message has answered it at its deadline, nobody waits for the response either.
func (c *call) accept() {
	if c.settle() && !c.reply.Answer(answer()) {
		c.bus.Cancel()
	}
}

// settle reports whether the Send Message is to be answered by the caller.
func (c *call) settle() bool {
	b := c.from.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	first := !c.answered
	c.answered = true
	return first
}

// end is told how the request has ended: with its response, or with an error.
func (c *call) end(r ipmi.Response, err error) {
	b := c.from.bridge
	b.mu.Lock()
	if errors.Is(err, context.Canceled) && c.cause != nil {
		err = c.cause
	}
	b.mu.Unlock()
	if c.message.tracked {
		c.answerTracked(r, err)
	} else {
		c.answerUntracked(r, err)
	}
	if b.remove(c) {
		b.release(c)
	}
	b.ending.Done()
}

// answerTracked answers the Send Message with the response, as a whole message.
func (c *call) answerTracked(r ipmi.Response, err error) {
	c.settle()
	if err != nil {
		c.reply.Answer(failed(err))
		return
	}
	c.response = c.message.response(c.bus.Address(), r).Append(c.response[:0])
	c.reply.Answer(answer(c.response...))
}

// answerUntracked puts the response into its place, and answers the Send Message if the
// bus did not tell of the acceptance before.
func (c *call) answerUntracked(r ipmi.Response, err error) {
	switch first := c.settle(); {
	case first && err != nil:
		c.from.giveBack()
		c.reply.Answer(failed(err))
	case first && !c.reply.Answer(answer()):
		c.from.giveBack()
	case err != nil:
		c.from.giveBack()
		c.from.bridge.count(c.from, bridgedUnanswered)
	default:
		c.from.fillPlace(c.message.response(c.bus.Address(), r), c.to)
	}
}

// remove takes a call that has ended out of the calls, and reports whether its sender has
// finished with it.
func (b *Bridge) remove(c *call) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.ended = true
	if i := slices.Index(b.calls, c); i >= 0 {
		b.calls = slices.Delete(b.calls, i, i+1)
	}
	return c.sent
}

// release gives a call back for the next message. One that was cancelled is left alone:
// the cancellation may be under way.
func (b *Bridge) release(c *call) {
	if !c.message.tracked || c.cause != nil {
		return
	}
	*c = call{bus: c.bus, response: c.response}
	b.tracked.Put(c)
}

// overdue are the calls whose Send Message was answered by its owner, at its deadline.
func (b *Bridge) overdue(now time.Time) []*call {
	var calls []*call
	for _, c := range b.calls {
		if c.waits() && !now.Before(c.deadline) {
			calls = append(calls, c)
		}
	}
	return calls
}

// nextDeadline is when the next of them comes, or idleTime.
func (b *Bridge) nextDeadline(now time.Time) time.Duration {
	next := idleTime
	for _, c := range b.calls {
		if c.waits() {
			next = min(next, c.deadline.Sub(now))
		}
	}
	return next
}

// waits reports whether the call is to be cancelled at its deadline.
func (c *call) waits() bool { return !c.answered && c.cause == nil && !c.deadline.IsZero() }

// cancel marks calls as cancelled because of an error, with which they end. The caller holds
// the mutex; when it has unlocked it, it calls the function returned, which cancels them.
func (b *Bridge) cancel(calls []*call, cause error) func() {
	for _, c := range calls {
		c.cause = cause
	}
	return func() {
		for _, c := range calls {
			c.bus.Cancel()
		}
	}
}
