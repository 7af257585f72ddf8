package bridge

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// call is the request of a Send Message on a bus. The bus reports the acceptance and the end to
// it, maybe from two goroutines at the same time.
type call struct {
	bus *bus.Call

	// Set before the request is sent.
	from, to *Interface
	machine  uint // behind from at that time
	message  outgoing
	request  ipmb.Request
	reply    ipmi.Reply // to the Send Message
	deadline time.Time  // of the Send Message; zero for none

	response []byte // memory for a tracked response

	answered atomic.Bool // the Send Message is answered, or is about to be

	// Guarded by the bridge's mutex.
	sent  bool
	ended bool
	cause error // why the bridge has cancelled the call, nil if it has not
}

func newCall() *call {
	c := new(call)
	c.bus = bus.NewCall(nil, c.hasEnded)
	return c
}

// callFor returns a call for a message. A call that is not tracked is used once, because its bus
// may report the acceptance after the end.
func (b *Bridge) callFor(m outgoing) *call {
	if m.tracked {
		return b.tracked.Get().(*call)
	}
	c := newCall()
	c.bus.OnAccepted(c.hasBeenAccepted)
	return c
}

// sendRequest sends a request to a bus. The reply to a tracked Send Message is the response. The
// reply to one that is not tracked comes when the bus has taken or refused the request; the
// response goes into the queue, in which it has a place from now on.
func (i *Interface) sendRequest(to *Interface, m outgoing, req *ipmi.Request, reply ipmi.Reply) {
	machine, err := i.startCall(m.tracked)
	if err != nil {
		replyError(reply, err)
		return
	}
	c := i.bridge.callFor(m)
	c.from, c.to, c.machine, c.message, c.reply, c.deadline = i, to, machine, m, reply, req.Deadline
	c.request = m.request()
	if err := to.bus.Send(c.bus, &c.request); err != nil {
		c.hasEnded(ipmi.Response{}, err)
	}
	i.bridge.hasSent(c)
}

// startCall counts a call, and reserves a place in the queue for the response to one that is not
// tracked. After an error nothing can be sent.
func (i *Interface) startCall(tracked bool) (machine uint, err error) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	i.dropExpired()
	switch {
	case !b.running:
		return 0, ipmb.ErrClosed
	case tracked:
		i.counts.Count(bridgedTracked)
	case i.queue.full():
		i.counts.Count(messagesRefused)
		return 0, ipmb.ErrBusy
	default:
		i.queue.reserved++
		i.counts.Count(bridgedUntracked)
	}
	b.ending.Add(1)
	return i.machine, nil
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
		b.reuse(c)
	case cancel:
		c.bus.Cancel()
	}
}

// hasBeenAccepted replies to the Send Message: the bus has taken the request. If the owner of the
// Send Message has answered it at its deadline, nothing waits for the response either.
func (c *call) hasBeenAccepted() {
	if !c.answered.Swap(true) && !c.reply.Answer(answer(), nil) {
		c.bus.Cancel()
	}
}

// hasEnded handles the end of the request: its response, or an error.
func (c *call) hasEnded(r ipmi.Response, err error) {
	b := c.from.bridge
	b.mu.Lock()
	if errors.Is(err, context.Canceled) && c.cause != nil {
		err = c.cause
	}
	b.mu.Unlock()
	if c.message.tracked {
		c.endTracked(r, err)
	} else {
		c.endUntracked(r, err)
	}
	if b.remove(c) {
		b.reuse(c)
	}
	b.ending.Done()
}

// endTracked replies to the Send Message with the response, as a whole message.
func (c *call) endTracked(r ipmi.Response, err error) {
	c.answered.Store(true)
	if err != nil {
		replyError(c.reply, err)
		return
	}
	c.response = c.message.responseFrame(c.bus.Address(), r).Append(c.response[:0])
	c.reply.Answer(answer(c.response...), nil)
}

// endUntracked puts the response into its place in the queue, and replies to the Send Message if
// the bus has not reported the acceptance before.
func (c *call) endUntracked(r ipmi.Response, err error) {
	first := !c.answered.Swap(true)
	if err == nil && (!first || c.reply.Answer(answer(), nil)) {
		c.queueResponse(c.message.responseFrame(c.bus.Address(), r))
		return
	}
	c.from.bridge.mu.Lock()
	c.from.queue.reserved--
	c.from.bridge.mu.Unlock()
	switch {
	case err == nil: // The owner of the Send Message has answered it.
	case first:
		replyError(c.reply, err)
	default:
		c.from.counts.Count(bridgedUnanswered)
	}
}

// queueResponse puts a response into the place that was reserved for it, unless the machine that
// sent the request is gone. A response that is too long for the interface, so that host software
// cannot fetch it, becomes one that says so.
func (c *call) queueResponse(f ipmb.Frame) {
	i := c.from
	i.bridge.mu.Lock()
	defer i.bridge.mu.Unlock()
	i.queue.reserved--
	if c.machine != i.machine {
		i.counts.Count(bridgedUnanswered)
		return
	}
	if !i.fits(f.Len()) {
		f.Code, f.Data = ipmi.CodeOf(ipmi.ErrResponseTooLong), nil
	}
	i.enqueue(newMessage(c.to, f))
}

// remove removes a call that has ended, and reports whether sendRequest has finished with it.
func (b *Bridge) remove(c *call) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.ended = true
	if i := slices.Index(b.calls, c); i >= 0 {
		b.calls = slices.Delete(b.calls, i, i+1)
	}
	return c.sent
}

// reuse keeps a tracked call for the next message, but not one that was cancelled: the
// cancellation may still be under way.
func (b *Bridge) reuse(c *call) {
	if !c.message.tracked || c.cause != nil {
		return
	}
	*c = call{bus: c.bus, response: c.response}
	b.tracked.Put(c)
}

// overdueCalls marks and returns the calls whose Send Message was answered by its owner, at its
// deadline, and returns when the next deadline comes, or idleTime. The caller cancels the calls
// when it has unlocked the mutex.
func (b *Bridge) overdueCalls(now time.Time) (calls []*call, next time.Duration) {
	next = idleTime
	for _, c := range b.calls {
		switch {
		case c.answered.Load() || c.cause != nil || c.deadline.IsZero():
		case now.Before(c.deadline):
			next = min(next, c.deadline.Sub(now))
		default:
			c.cause = ipmi.ErrTooSlow
			calls = append(calls, c)
		}
	}
	return calls, next
}

func cancelCalls(calls []*call) {
	for _, c := range calls {
		c.bus.Cancel()
	}
}
