package ipmb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ipmbd/ipmi"
)

// callState is the event for which a call waits.
type callState uint8

const (
	stateEnded     callState = iota // for nothing: it is not in progress
	stateWaiting                    // for a sequence number
	stateQueued                     // for the bus
	stateWriting                    // for the kernel, which has its frame
	statePausing                    // for the second write of a slot
	stateListening                  // for the response, or for the slot's end
)

// Call is a request in progress. It may be sent again when it has ended, also by another engine.
type Call struct {
	done     func(ipmi.Response, error)
	accepted func() // may be nil

	// Of the request.
	engine       *Engine // nil before the first Send
	responder    *responder
	key          commandKey
	policy       RetryPolicy
	failFast     bool
	lun          ipmi.LUN
	requesterLUN ipmi.LUN
	source       ipmi.Address // our address in the frame
	frame        []byte       // the request frame, once the call has its sequence number
	header       int          // offset of the frame: 1 in a general call, else 0

	// Of its progress.
	state      callState
	ticket     uint64 // its place among requests and broadcasts; 0 before it is queued
	sequence   uint8
	slot       int           // the present slot, from 0
	slotEnd    time.Duration // 0 before the first transmission
	second     bool          // the slot's second write is due or done
	writes     int           // of its frame
	isAccepted bool          // the bus took the request
	failure    error         // of the last write that failed
	doubt      *doubt        // made at the first response that may be a copy
	deadline
}

// NewCall makes a call for Engine.Send. The engine calls done at the end of each request, with
// the response, whose data is valid until done returns, or with an error; see errors.go. It calls
// done without a lock held, for responses in the order in which the bus delivered them. done must
// not block. The call may be sent again as soon as done has begun.
func NewCall(done func(ipmi.Response, error)) *Call {
	c := &Call{done: done}
	c.deadline.owner = c
	return c
}

// OnAccepted has f called when the bus has taken a request. The engine does not call f for a
// request that the bus never takes. If the response comes at the same moment, done may be called
// first. Call OnAccepted before Send. A call with f is for one request only.
func (c *Call) OnAccepted(f func()) { c.accepted = f }

// Address is our own address in the request, to which the response comes.
func (c *Call) Address() ipmi.Address { return c.source }

// Trace returns the frame of the last request, with the sequence number it had, and how often the
// engine has written it: 0 if the request has not been written. It is for done; the frame is valid
// until the call is sent again.
func (c *Call) Trace() (frame []byte, writes int) {
	if c.writes == 0 {
		return nil, 0
	}
	return c.frame, c.writes
}

// ForgetTrace makes Trace return nothing until the call is sent again.
func (c *Call) ForgetTrace() { c.writes = 0 }

// Send sends a request by a call that is not in progress, and returns at once. An error means
// that the request was not sent, and that the call's done is not called. Send allocates nothing
// when the engine has the responder and room. It does not keep req or its data.
func (e *Engine) Send(c *Call, req *Request) error {
	err := req.Check()
	e.mu.Lock()
	defer e.unlock()
	if err == nil {
		err = e.refusal(req)
	}
	if err != nil {
		e.counts.Count(callsRefused)
		return err
	}
	c.setRequest(e, req)
	r := c.responder
	r.noteSMS(c, e.now())
	e.counts.Count(callsStarted)
	if s := r.commands[c.key]; s == nil || s.waiting == 0 {
		if sequence, ok := e.reserveNumber(r, c.key, e.now()); ok {
			e.assignNumber(c, sequence)
			return nil
		}
	}
	if err := e.waitForNumber(c, req.NoWait); err != nil {
		e.counts.Count(callsBusy)
		return err
	}
	return nil
}

// Cancel ends a request with context.Canceled if it has not ended. Only the goroutine that sends
// may call it. The engine may call done after Cancel has returned.
func (c *Call) Cancel() {
	e := c.engine
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.unlock()
	if c.state != stateEnded {
		e.endCall(c, context.Canceled, e.now())
	}
}

// Do sends a request and waits for the response, whose data belong to the caller. When ctx ends,
// Do cancels the request and returns the error of ctx. See errors.go for other errors.
func (e *Engine) Do(ctx context.Context, req Request) (ipmi.Response, error) {
	return Await(ctx, func(done func(ipmi.Response, error)) (cancel func(), err error) {
		c := NewCall(done)
		return c.Cancel, e.Send(c, &req)
	})
}

// Await starts a request and waits for the response, whose data belong to the caller. If start
// returns no error, it must have done called once. When ctx ends, Await cancels the request and
// returns the error of ctx.
func Await(ctx context.Context, start func(done func(ipmi.Response, error)) (cancel func(), err error)) (
	response ipmi.Response, err error) {
	if ctx.Err() != nil {
		return ipmi.Response{}, ctx.Err()
	}
	ended := make(chan struct{})
	cancel, refusal := start(func(r ipmi.Response, failure error) {
		r.Data = append([]byte(nil), r.Data...)
		response, err = r, failure
		close(ended)
	})
	if refusal != nil {
		return ipmi.Response{}, refusal
	}
	select {
	case <-ended:
	case <-ctx.Done():
		cancel()
		<-ended
		if errors.Is(err, context.Canceled) {
			err = ctx.Err()
		}
	}
	return response, err
}

// refusal is the reason why a request cannot be sent now, or nil.
func (e *Engine) refusal(req *Request) error {
	length := MinRequest + len(req.Data)
	if req.GeneralCall {
		length++
	}
	switch {
	case !e.running:
		return ErrClosed
	case req.Responder == e.address:
		return e.ownAddressError()
	case length > e.limits.MaxFrame:
		return fmt.Errorf("%w: %d bytes, %d are possible", ErrTooLong, length, e.limits.MaxFrame)
	case req.GeneralCall && !e.limits.GeneralCall:
		return fmt.Errorf("%w: general call", ErrUnsupported)
	case e.isStuck():
		return ErrStuck
	}
	return nil
}

// ownAddressError refuses a frame to ourselves. On the wire it would fail as on a broken bus:
// drivers return EPROTO for it.
func (e *Engine) ownAddressError() error { return invalid("%v is our own address", e.address) }

// setRequest makes c the call of req. Its frame lacks only the sequence number.
func (c *Call) setRequest(e *Engine, req *Request) {
	c.engine, c.responder = e, e.responderAt(req.Responder)
	c.key = keyOf(req.NetFn, req.Command)
	c.policy = req.RetryPolicy.Or(e.retryPolicy)
	c.failFast = req.FailFast
	c.lun, c.requesterLUN = req.LUN, req.RequesterLUN
	c.source = e.address
	c.frame = c.frame[:0]
	if req.GeneralCall {
		c.policy.Tries = 1
		c.frame = append(c.frame, uint8(broadcastAddress))
	}
	c.header = len(c.frame)
	c.frame = Frame{
		Destination: req.Responder, DestinationLUN: req.LUN, Source: c.source, SourceLUN: req.RequesterLUN,
		NetFn: req.NetFn, Command: req.Command, Data: req.Data,
	}.Append(c.frame)
	c.ticket, c.slot, c.slotEnd, c.second = 0, 0, 0, false
	c.isAccepted, c.failure = false, nil
	c.writes = 0
}

// assignNumber gives c its sequence number and queues it for the bus.
func (e *Engine) assignNumber(c *Call, sequence uint8) {
	c.responder.numbers[sequence] = number{call: c, key: c.key, lun: c.lun, requesterLUN: c.requesterLUN}
	c.sequence = sequence
	c.frame[c.header+4] |= sequence << 2
	c.frame[len(c.frame)-1] -= sequence << 2
	e.outbox.addCall(c)
}

// expire is the end of a wait, of a pause or of a slot.
func (c *Call) expire(e *Engine, now time.Duration) {
	switch c.state {
	case stateWaiting:
		// A number may be free from this very moment on.
		if e.assignToWaiters(c.responder, now); c.state == stateWaiting {
			e.endCall(c, ErrBusy, now)
		}
	case statePausing:
		c.second = true
		e.outbox.addCall(c)
		e.setDeadline(&c.deadline, c.slotEnd)
	default:
		e.endSlot(c, now)
	}
}

// endSlot begins the next slot, for which a frame in a queue counts too, or ends the call.
func (e *Engine) endSlot(c *Call, now time.Duration) {
	c.slot++
	if c.slot >= c.policy.Tries {
		e.endCall(c, c.noResponseError(), now)
		return
	}
	c.slotEnd += c.policy.Timeout
	c.second = false
	e.setDeadline(&c.deadline, c.slotEnd)
	if c.state == stateListening {
		e.outbox.addCall(c)
	}
}

// noResponseError is the reason why a call has no response after its last slot.
func (c *Call) noResponseError() error {
	n := &c.responder.numbers[c.sequence]
	switch {
	case n.acknowledged:
		return ErrTimeout
	case n.writing || c.failure == nil:
		return ErrStuck
	}
	return c.failure
}

// noteTransmission notes that a call is about to be written. The first time starts its slots.
func (e *Engine) noteTransmission(c *Call) {
	c.state = stateWriting
	c.writes++
	n := &c.responder.numbers[c.sequence]
	n.writing = true
	if c.slotEnd != 0 {
		e.counts.Count(retransmissions)
		return
	}
	n.sentIn = e.batch
	c.slotEnd = e.now() + c.policy.Timeout
	e.setDeadline(&c.deadline, c.slotEnd)
}

// isTransmitted reports whether the bus may have seen anything of the call.
func (c *Call) isTransmitted() bool { return c.slotEnd != 0 }

// callWritten takes the outcome of a write of a request, whose call may have ended meanwhile. A
// write that failed may still have been delivered, unless the driver knows better.
func (e *Engine) callWritten(r *responder, sequence uint8, err error) {
	n := &r.numbers[sequence]
	n.noteWrite(r, e.now(), err)
	c := n.call
	if c == nil {
		e.releaseNumber(r, sequence, e.now())
		return
	}
	c.state = stateListening
	switch c.failure = failureOf(err); c.failure {
	case nil:
		e.acceptCall(c)
	case ErrNotAcknowledged, ErrArbitrationLost:
		e.retryInSlot(c)
	}
}

// retryInSlot lets a call try once more in its slot, or leaves it to the next slot.
func (e *Engine) retryInSlot(c *Call) {
	now := e.now()
	last := c.failFast && c.policy.Tries == 1 && c.failure == ErrNotAcknowledged
	if next := now + retryPause(); !c.second && !last && next < c.slotEnd {
		c.state = statePausing
		e.setDeadline(&c.deadline, next)
	} else if c.failFast && c.failure == ErrNotAcknowledged && !c.isAccepted {
		e.endCall(c, ErrNotAcknowledged, now)
	}
}

// acceptCall notes that the bus has taken the request.
func (e *Engine) acceptCall(c *Call) {
	if !c.isAccepted {
		c.isAccepted = true
		if c.accepted != nil {
			e.callLater(c.accepted)
		}
	}
}

// isAnsweredBy reports whether f, from the call's responder and with its number, is its response.
func (c *Call) isAnsweredBy(f Frame) bool {
	return c.isTransmitted() && c.key == keyOf(f.NetFn.Request(), f.Command) &&
		c.lun == f.SourceLUN && c.requesterLUN == f.DestinationLUN && c.source == f.Destination
}

// answerCall ends a call with its response, which came at a given time.
func (e *Engine) answerCall(c *Call, response ipmi.Response, at time.Duration) {
	now := e.now()
	c.responder.numbers[c.sequence].responses.note(at, e.openedAt)
	c.responder.noteSign(now)
	e.acceptCall(c)
	e.finishCall(c, response, nil, now)
}

// endCall ends a call without a response.
func (e *Engine) endCall(c *Call, err error, now time.Duration) {
	e.finishCall(c, ipmi.Response{}, err, now)
}

// finishCall reports the end of a call. Its number is released now, or when its write returns.
func (e *Engine) finishCall(c *Call, response ipmi.Response, err error, now time.Duration) {
	r, state := c.responder, c.state
	c.state = stateEnded
	r.noteSMS(c, now)
	e.countOutcome(callOutcomes, err)
	e.clearDeadline(&c.deadline)
	e.dropDoubt(c.doubt)
	if state == stateWaiting {
		e.leaveLine(c)
	} else {
		if state == stateQueued {
			e.outbox.removeCall(c)
		}
		n := &r.numbers[c.sequence]
		n.call = nil
		if !n.writing {
			e.releaseNumber(r, c.sequence, now)
		}
	}
	e.callbacks = append(e.callbacks, callback{done: c.done, response: response, err: err})
}

// endCalls ends the calls that match. Of each responder, calls that wait for a number end first,
// so that no call gets a number that another one releases.
func (e *Engine) endCalls(matches func(*Call) bool, err error) {
	now := e.now()
	for _, r := range e.responders {
		if r == nil {
			continue
		}
		for _, c := range slices.Clone(r.waiting) {
			if matches(c) {
				e.endCall(c, err, now)
			}
		}
		for i := range r.numbers {
			if c := r.numbers[i].call; c != nil && matches(c) {
				e.endCall(c, err, now)
			}
		}
	}
}
