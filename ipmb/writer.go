package ipmb

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"ipmbd/i2c"
)

// maxResponsesInRow is how many responses go before a request that waits.
const maxResponsesInRow = 4

// outbox holds the frames that wait for the bus, and the state of the one write in progress.
//
// Responses go before requests, but at most four in a row while a request waits. Responders take
// turns. A broadcast is sent when all requests before it have been sent.
type outbox struct {
	work   *sync.Cond // for writeFrames
	isOpen bool
	direct i2c.DirectWriter // the transport, if it can write without a wait

	deliveries []*delivery
	broadcasts []*delivery  // for the first time: each in its place among the requests
	tickets    uint64       // given so far to requests and broadcasts, in order
	pending    int          // deliveries not finished: queued, pausing or being written
	turns      []*responder // those with calls in their queue
	inRow      int          // deliveries written since the last call

	frame      []byte // being written
	current    sending
	writing    bool
	handedOver bool // by unlock to writeFrames: the write has to wait
	since      time.Duration
	stalled    bool
	stallWatch deadline // set while a write may be in the kernel

	failures      bool          // all writes since failuresSince have failed
	failuresSince time.Duration // when the first of them began
	failing       bool          // for StallTime: the bus carries nothing
}

// sending is the owner of a frame in a write: a delivery, or a call by its sequence number.
type sending struct {
	delivery  *delivery
	responder *responder
	sequence  uint8
}

func (o *outbox) init(mu *sync.Mutex) {
	o.work = sync.NewCond(mu)
	o.stallWatch.owner = o
}

func (o *outbox) open(t i2c.Transport) {
	o.isOpen = true
	o.direct, _ = t.(i2c.DirectWriter)
	o.failures, o.failing = false, false
}

// signalWork wakes writeFrames, unless the transport has direct writes, which unlock makes.
func (o *outbox) signalWork() {
	if o.direct == nil {
		o.work.Signal()
	}
}

// waitForWork waits until there is a frame to write. false means that the outbox is closed.
func (o *outbox) waitForWork() bool {
	for o.isOpen && !o.handedOver && (o.writing || !o.hasWork()) {
		o.work.Wait()
	}
	return o.isOpen
}

func (o *outbox) hasWork() bool { return len(o.deliveries) > 0 || o.hasRequests() }

// hasRequests reports whether requests or broadcasts wait.
func (o *outbox) hasRequests() bool { return len(o.turns) > 0 || len(o.broadcasts) > 0 }

// nextTicket is the next place among requests and broadcasts.
func (o *outbox) nextTicket() uint64 {
	o.tickets++
	return o.tickets
}

// addDelivery queues a delivery that was not written before.
func (o *outbox) addDelivery(d *delivery) {
	if d.broadcast == nil {
		o.deliveries = append(o.deliveries, d)
	} else {
		d.ticket = o.nextTicket()
		o.broadcasts = append(o.broadcasts, d)
	}
	o.signalWork()
}

// addCall queues a transmission of a call.
func (o *outbox) addCall(c *Call) {
	c.state = stateQueued
	if c.ticket == 0 {
		c.ticket = o.nextTicket()
	}
	r := c.responder
	r.queue = append(r.queue, c)
	if len(r.queue) == 1 {
		o.turns = append(o.turns, r)
	}
	o.signalWork()
}

// removeCall takes a call that has ended out of its queue.
func (o *outbox) removeCall(c *Call) {
	r := c.responder
	r.queue = slices.DeleteFunc(r.queue, func(other *Call) bool { return other == c })
	if len(r.queue) == 0 {
		o.turns = slices.DeleteFunc(o.turns, func(other *responder) bool { return other == r })
	}
}

// nextDelivery removes the delivery that goes now, nil if there is none or a request is due.
func (o *outbox) nextDelivery() *delivery {
	if len(o.deliveries) > 0 {
		d := o.deliveries[0]
		if !o.hasRequests() || o.inRow < maxResponsesInRow || d.tries > 0 {
			o.deliveries = slices.Delete(o.deliveries, 0, 1)
			o.inRow++
			return d
		}
	}
	if len(o.broadcasts) > 0 {
		d := o.broadcasts[0]
		isBefore := func(r *responder) bool { return r.queue[0].ticket < d.ticket }
		if !slices.ContainsFunc(o.turns, isBefore) {
			o.broadcasts = slices.Delete(o.broadcasts, 0, 1)
			o.inRow = 0
			return d
		}
	}
	return nil
}

// nextCall removes the first call of the responder whose turn it is.
func (o *outbox) nextCall() *Call {
	o.inRow = 0
	// Requests behind a broadcast wait for it; nextDelivery has found one before it.
	for len(o.broadcasts) > 0 && o.turns[0].queue[0].ticket > o.broadcasts[0].ticket {
		o.turns = append(o.turns[1:], o.turns[0])
	}
	r := o.turns[0]
	o.turns = slices.Delete(o.turns, 0, 1)
	c := r.queue[0]
	r.queue = slices.Delete(r.queue, 0, 1)
	if len(r.queue) > 0 {
		o.turns = append(o.turns, r)
	}
	return c
}

const (
	// StallTime is how long a write may be in the kernel: twice the usual limit of adapters.
	StallTime = 2 * time.Second
	// probeTime is how long after a write that failed the engine tries a bus that carries nothing.
	probeTime = time.Second
	// maxDirectWrites is how many frames unlock writes: the goroutine may be a client's reader.
	maxDirectWrites = 64
)

// retryPause is the time before a write is tried again, random so that two masters part.
func retryPause() time.Duration {
	return time.Millisecond + rand.N(4*time.Millisecond)
}

// writeFrames is the loop that writes. When it returns no write is in progress.
func (e *Engine) writeFrames(t i2c.Transport) {
	o, writeFrame := &e.outbox, t.WriteFrame
	e.mu.Lock()
	for o.waitForWork() {
		if !o.handedOver && !e.beginWrite() {
			e.unlock() // calls the callbacks of deliveries that were too old
			e.mu.Lock()
			continue
		}
		o.handedOver = false
		write := writeFrame
		if d := o.current.delivery; d != nil && d.respond != nil {
			write = d.respond
		}
		e.unlock()
		err := write(o.frame)
		e.config.Wrote(err)
		e.writing.Lock()
		e.mu.Lock()
		e.endWrite(err)
		if len(e.callbacks) > 0 {
			e.unlock()
			e.mu.Lock()
		}
		e.writing.Unlock()
	}
	for o.writing && !o.handedOver {
		o.work.Wait()
	}
	if o.handedOver {
		o.handedOver = false
		e.endWrite(ErrClosed)
	}
	o.direct = nil
	e.unlock()
}

// beginDirectWrite begins a write in unlock, after a number of other writes. It returns false if
// there is nothing to write, or if another goroutine writes. A direct write saves the change to
// another goroutine, which costs more than the write.
func (e *Engine) beginDirectWrite(written int) bool {
	o := &e.outbox
	if o.direct == nil || !o.isOpen || o.writing || !o.hasWork() {
		return false
	}
	if written >= maxDirectWrites {
		o.work.Signal()
		return false
	}
	return e.beginWrite()
}

// endDirectWrite takes the outcome of a direct write. One that would have to wait is not done.
func (e *Engine) endDirectWrite(done bool, err error) {
	o := &e.outbox
	if done {
		e.endWrite(err)
	} else {
		o.handedOver = true
	}
	if !done || !o.isOpen { // The end of writeFrames waits for the write.
		o.work.Signal()
	}
}

// beginWrite begins to write the next frame; it returns false if there is none. It drops a
// delivery that is so old, after a stall, that it could be taken for the response to another
// request.
func (e *Engine) beginWrite() bool {
	o := &e.outbox
	for o.hasWork() {
		var frame []byte
		if d := o.nextDelivery(); d == nil {
			c := o.nextCall()
			e.noteTransmission(c)
			o.current = sending{responder: c.responder, sequence: c.sequence}
			frame = c.frame
		} else if e.now() >= d.expires {
			e.finishDelivery(d, ErrStuck)
			continue
		} else {
			o.current = sending{delivery: d}
			frame = d.frame
		}
		// A copy, since the call or the delivery may end before the write does.
		o.frame = append(o.frame[:0], frame...)
		o.writing = true
		o.since = e.now()
		if o.stallWatch.place == 0 {
			e.setDeadline(&o.stallWatch, o.since+StallTime)
		}
		return true
	}
	return false
}

// endWrite takes the outcome of a write.
func (e *Engine) endWrite(err error) {
	o := &e.outbox
	current := o.current
	o.current = sending{}
	o.writing = false
	if o.stalled {
		o.stalled = false
		e.wakeWatcher()
	}
	e.countOutcome(writeOutcomes, failureOf(err))
	if d := current.delivery; d != nil {
		e.deliveryWritten(d, err)
	} else {
		e.callWritten(current.responder, current.sequence, err)
	}
	e.judgeBus(err)
}

// judgeBus concludes from the outcome of a write whether the bus carries anything at all. A frame
// that is not acknowledged and a lost arbitration show that it does.
func (e *Engine) judgeBus(err error) {
	o := &e.outbox
	switch failureOf(err) {
	case nil, ErrNotAcknowledged, ErrArbitrationLost:
		o.failures, o.failing = false, false
		return
	case ErrClosed:
		return
	}
	if !o.failures {
		o.failures, o.failuresSince = true, o.since
	}
	if e.now()-o.failuresSince >= StallTime {
		o.failing = true
		e.endUnsent()
	}
}

// isStuck reports whether the bus would not carry a request, because a write hangs, or because all
// writes have failed for long. Then it lets one request a second through, to probe the bus.
func (e *Engine) isStuck() bool {
	o := &e.outbox
	return o.stalled || o.failing && (o.writing || o.hasWork() || e.now()-o.since < probeTime)
}

// endUnsent ends with ErrStuck the calls and broadcasts that were never on the bus.
func (e *Engine) endUnsent() {
	e.endCalls(func(c *Call) bool { return !c.isTransmitted() }, ErrStuck)
	e.dropDeliveries(func(d *delivery) bool { return d.done != nil }, ErrStuck)
}

// expire finds out whether a write takes long. A write sets stallWatch if it is not set, and does
// not clear it at its end, so that it costs steady traffic nothing.
func (o *outbox) expire(e *Engine, now time.Duration) {
	if !o.writing {
		return
	}
	if end := o.since + StallTime; end > now {
		e.setDeadline(&o.stallWatch, end)
		return
	}
	o.stalled = true
	e.counts.Count(stalls)
	e.endUnsent()
	if d := o.current.delivery; d != nil {
		e.tellEnd(d, ErrStuck)
	}
}
