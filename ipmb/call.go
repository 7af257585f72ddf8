package ipmb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ipmbd/ipmi"
)

// callState is where a call is on its way.
type callState uint8

const (
	stateWaiting   callState = iota // for a number
	stateQueued                     // for the bus
	stateWriting                    // its frame is in the kernel
	statePausing                    // between the two writes of a slot
	stateListening                  // for the answer, or for the slot's end
	stateEnded
)

// Call is a request on its way. A Call of Start is one request; a Call of NewCall can be
// sent again and again.
type Call struct {
	engine       *Engine
	responder    *responder
	key          commandKey
	policy       RetryPolicy
	failFast     bool
	lun          ipmi.LUN
	requesterLUN ipmi.LUN
	source       ipmi.Address // our address in the frame
	ticket       uint64       // its place among requests and broadcasts; 0 before it is queued
	frame        []byte       // what is written; assign puts the number in
	header       int          // where the frame begins: at 1 in a general call, else at 0

	state    callState
	sequence uint8
	slot     int           // the present one, from 0
	slotEnd  time.Duration // 0 before the first transmission
	second   bool          // the slot's second write is due or done
	failure  error         // of the last write that was not acknowledged
	doubt    *doubt        // made at the first answer that may be a copy
	deadline

	taken    bool // the bus took the request
	response ipmi.Response
	err      error
	done     func(ipmi.Response, error) // of NewCall
	accepted func()                     // of OnAccepted, or nil
	settled  token                      // the bus has taken the request, or the call has ended; nil for NewCall
	ended    token                      // nil for NewCall
	detach   func() bool                // from the context of Start
}

// token tells any number of waiters that an event has happened: it is in the channel from
// then on, and each waiter puts it back for the next one.
type token chan struct{}

func (t token) set() {
	select {
	case t <- struct{}{}:
	default:
	}
}

func (t token) wait() { <-t; t.set() }

func newCall() *Call {
	c := NewCall(nil)
	c.settled, c.ended = make(token, 1), make(token, 1)
	return c
}

// NewCall makes a call for Engine.Send. done is told how each request ended: its
// answer, whose data is valid until done returns, or the error. It is called without a
// lock held, for answers in the order in which the bus delivered them; it must not block.
// The call may be sent again as soon as done has begun.
func NewCall(done func(ipmi.Response, error)) *Call {
	c := &Call{state: stateEnded, done: done}
	c.deadline.owner = c
	return c
}

// OnAccepted has f called when the bus has taken a request. It is not called for a request
// that the bus never takes. If the answer comes at the same moment, done may be called
// first. Set f before the call is sent; a call with f is for one request only.
func (c *Call) OnAccepted(f func()) { c.accepted = f }

// accept notes that the bus has taken the request.
func (c *Call) accept(e *Engine) {
	if c.taken {
		return
	}
	c.taken = true
	c.settled.set()
	if c.accepted != nil {
		e.later(c.accepted)
	}
}

// Do sends a request and waits for the answer. See errors.go for the errors.
func (e *Engine) Do(ctx context.Context, req Request) (ipmi.Response, error) {
	c := e.calls.Get().(*Call)
	defer e.calls.Put(c)
	if err := e.start(c, &req, ctx.Err()); err != nil {
		return ipmi.Response{}, err
	}
	select {
	case <-c.ended:
	case <-ctx.Done():
		e.cancel(c, ctx.Err())
		<-c.ended
	}
	<-c.settled
	response, err := c.response, c.err
	c.response, c.err = ipmi.Response{}, nil
	return response, err
}

// Start sends a request and returns at once; ctx ends the call early.
func (e *Engine) Start(ctx context.Context, req Request) (*Call, error) {
	c := newCall()
	if err := e.start(c, &req, ctx.Err()); err != nil {
		return nil, err
	}
	detach := context.AfterFunc(ctx, func() { e.cancel(c, ctx.Err()) })
	e.mu.Lock()
	defer e.mu.Unlock()
	c.detach = detach
	if c.state == stateEnded {
		detach()
	}
	return c, nil
}

// Send sends a request by a call of NewCall that is not on its way, and returns
// at once. An error means that the request never was, and that the call's done
// is not called. It allocates nothing when the engine has the responder and room.
func (e *Engine) Send(c *Call, req *Request) error { return e.start(c, req, nil) }

// Cancel ends a request of Engine.Send with context.Canceled, if it has not ended. It is
// for the goroutine that sends. done may be told of the end after Cancel has returned.
func (c *Call) Cancel() {
	if c.engine != nil {
		c.engine.cancel(c, context.Canceled)
	}
}

// Accepted waits until the bus has taken the request (nil) or the call has
// ended without (its error). An answer is an acceptance.
func (c *Call) Accepted() error {
	c.settled.wait()
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.taken {
		return nil
	}
	return c.err
}

// Answer waits for the end of the call, which is the same for every caller.
func (c *Call) Answer() (ipmi.Response, error) {
	c.ended.wait()
	return c.response, c.err
}

// Address is our own address in the request, to which the answer comes.
func (c *Call) Address() ipmi.Address { return c.source }

// start puts a call on its way. An error means that the request was never sent. unwanted
// is the error of the caller's context, nil as a rule.
func (e *Engine) start(c *Call, req *Request, unwanted error) error {
	err := req.Check()
	if err == nil {
		err = unwanted
	}
	e.mu.Lock()
	defer e.unlock()
	if err == nil {
		err = e.refusal(req)
	}
	if err != nil {
		e.counts.add(callsRefused)
		return err
	}
	r := e.responder(req.Responder)
	c.prepare(e, r, req)
	r.noteMessage(c, e.now())
	c.policy = req.RetryPolicy.Or(e.policy)
	if req.GeneralCall {
		c.policy.Tries = 1
	}
	e.counts.add(callsStarted)
	if r.commands[c.key].hasWaiters() || !e.assignFree(r, c) {
		if err := e.wait(r, c, req.NoWait); err != nil {
			e.counts.add(callsBusy)
			return err
		}
	}
	return nil
}

// refusal is why a request cannot be sent now.
func (e *Engine) refusal(req *Request) error {
	length := MinRequest + len(req.Data)
	if req.GeneralCall {
		length++
	}
	switch {
	case !e.running:
		return ErrClosed
	case length > e.limits.MaxFrame:
		return fmt.Errorf("%w: %d bytes, %d are possible", ErrTooLong, length, e.limits.MaxFrame)
	case req.GeneralCall && !e.limits.GeneralCall:
		return fmt.Errorf("%w: general call", ErrUnsupported)
	case e.isStuck():
		return ErrStuck
	}
	return nil
}

// prepare makes c the call of req, its frame complete but for the number.
func (c *Call) prepare(e *Engine, r *responder, req *Request) {
	c.engine, c.responder = e, r
	c.key = keyOf(req.NetFn, req.Command)
	c.lun, c.requesterLUN = req.LUN, req.RequesterLUN
	c.failFast = req.FailFast
	c.source = e.address
	c.slot, c.slotEnd, c.second, c.failure, c.taken = 0, 0, false, nil, false
	c.response, c.ticket = ipmi.Response{}, 0
	c.frame = c.frame[:0]
	if req.GeneralCall {
		c.frame = append(c.frame, 0)
	}
	c.header = len(c.frame)
	c.frame = Frame{
		Destination:    req.Responder,
		NetFn:          req.NetFn,
		DestinationLUN: req.LUN,
		Source:         c.source,
		SourceLUN:      req.RequesterLUN,
		Command:        req.Command,
		Data:           req.Data,
	}.Append(c.frame)
}

// assignFree gives c a number if one is free.
func (e *Engine) assignFree(r *responder, c *Call) bool {
	sequence, ok := e.take(r, c.key, e.now())
	if ok {
		e.assign(r, c, sequence)
	}
	return ok
}

// assign gives c its number and sends it to the bus.
func (e *Engine) assign(r *responder, c *Call, sequence uint8) {
	r.numbers[sequence] = number{call: c, key: c.key, lun: c.lun, requesterLUN: c.requesterLUN}
	c.sequence = sequence
	c.frame[c.header+4] |= sequence << 2
	c.frame[len(c.frame)-1] -= sequence << 2
	e.enqueue(c)
}

// enqueue puts c in line for the bus.
func (e *Engine) enqueue(c *Call) {
	c.state = stateQueued
	e.outbox.addCall(c)
}

// wait puts c in line for a number. A call with NoWait waits only if a number that rests
// will be free for it, and only for twice the rest: a copy makes the rest begin anew.
func (e *Engine) wait(r *responder, c *Call, noWait bool) error {
	patience := c.policy.Duration()
	if noWait {
		state := r.commands[c.key]
		if state == nil || state.resting() <= state.waiting {
			return ErrBusy
		}
		patience = 2 * e.copyTime
	}
	state := e.command(r, c.key)
	if state.waiting >= e.config.MaxWaiting {
		return ErrBusy
	}
	state.waiting++
	r.waiting = append(r.waiting, c)
	c.state = stateWaiting
	e.set(&c.deadline, e.now()+patience)
	e.arm(state)
	return nil
}

// expire is the end of a wait, of a pause or of a slot.
func (c *Call) expire(e *Engine, now time.Duration) {
	switch c.state {
	case stateWaiting:
		// A number may be free from this very moment on.
		if e.admit(c.responder, now); c.state == stateWaiting {
			e.end(c, ErrBusy, now)
		}
	case statePausing:
		c.second = true
		e.enqueue(c)
		e.set(&c.deadline, c.slotEnd)
	default:
		e.endSlot(c, now)
	}
}

// endSlot begins the next slot, or ends the call after the last. A frame that
// is still queued or being written is the next slot's too.
func (e *Engine) endSlot(c *Call, now time.Duration) {
	c.slot++
	if c.slot >= c.policy.Tries {
		e.end(c, c.silence(), now)
		return
	}
	c.slotEnd += c.policy.Timeout
	c.second = false
	e.set(&c.deadline, c.slotEnd)
	if c.state == stateListening {
		e.enqueue(c)
	}
}

// silence is why a call has no answer.
func (c *Call) silence() error {
	n := &c.responder.numbers[c.sequence]
	switch {
	case n.acknowledged:
		return ErrTimeout
	case n.writing || c.failure == nil:
		return ErrStuck
	}
	return c.failure
}

// answered ends a call with its answer, which came at a given time.
func (e *Engine) answered(c *Call, response ipmi.Response, at time.Duration) {
	now := e.now()
	n := &c.responder.numbers[c.sequence]
	n.answers.add(at, e.openedAt)
	c.responder.hear(now)
	c.accept(e)
	c.response = response
	if c.done == nil {
		c.response.Data = append([]byte(nil), response.Data...)
	}
	e.end(c, nil, now)
}

// cancel ends a call for its caller, if it has not ended.
func (e *Engine) cancel(c *Call, cause error) {
	e.mu.Lock()
	defer e.unlock()
	if c.state != stateEnded {
		e.end(c, cause, e.now())
	}
}

// end ends a call, and takes it out of the queue in which it waits. Its number is given
// back now, or when its write returns.
func (e *Engine) end(c *Call, err error, now time.Duration) {
	r, state := c.responder, c.state
	c.state = stateEnded
	c.err = err
	r.noteMessage(c, now)
	e.counts.add(endCounter(err))
	e.unset(&c.deadline)
	c.doubt.drop(e)
	if state == stateWaiting {
		e.unwait(r, c)
	} else {
		if state == stateQueued {
			e.outbox.removeCall(c)
		}
		n := &r.numbers[c.sequence]
		n.call = nil
		if !n.writing {
			e.release(r, c.sequence, now)
		}
	}
	if c.detach != nil {
		c.detach()
	}
	c.settled.set()
	c.ended.set()
	if c.done != nil {
		e.callbacks = append(e.callbacks, callback{done: c.done, response: c.response, err: err})
	}
}

// endAll ends the calls to r for which the function which returns true. Calls that wait
// for a number end first, so that none of them gets a number that another one gives back.
func (e *Engine) endAll(r *responder, which func(*Call) bool, err error) {
	now := e.now()
	for _, c := range append([]*Call(nil), r.waiting...) {
		if which(c) {
			e.end(c, err, now)
		}
	}
	for i := range r.numbers {
		if c := r.numbers[i].call; c != nil && which(c) {
			e.end(c, err, now)
		}
	}
}

// ends is the counter for each way in which a call ends.
var ends = []struct {
	err     error
	counter counter
}{
	{ErrTimeout, callsTimeout},
	{ErrNotAcknowledged, callsNotAcknowledged},
	{ErrArbitrationLost, callsArbitrationLost},
	{ErrStuck, callsStuck},
	{ErrClosed, callsClosed},
	{ErrBusy, callsBusy},
}

func endCounter(err error) counter {
	if err == nil {
		return callsAnswered
	}
	for _, end := range ends {
		if errors.Is(err, end.err) {
			return end.counter
		}
	}
	return callsCancelled
}
