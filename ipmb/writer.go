package ipmb

import (
	"math/rand/v2"
	"time"

	"ipmbd/i2c"
)

const (
	// StallTime is how long a write may be in the kernel before the bus counts as stalled: twice
	// what adapters give a transfer as a rule.
	StallTime = 2 * time.Second
	// probeTime is how long after a write that failed the engine tries a bus that carries nothing.
	probeTime = time.Second
	// maxDirectWrites is how many frames a goroutine writes in unlock before writeFrames goes on:
	// the goroutine may be another client's reader.
	maxDirectWrites = 64
)

// retryPause is the time before a write is tried again. It is random, so that two masters that
// collided do not collide again.
func retryPause() time.Duration {
	return time.Millisecond + rand.N(4*time.Millisecond)
}

// writeFrames is the loop that writes, and waits until the transport takes each frame. When it
// returns no write is in progress.
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

// beginDirectWrite begins a write in unlock, after a number of others. It returns false if there
// is nothing to write, or if another goroutine writes. A direct write saves the change to another
// goroutine, which costs more than the write.
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

// beginWrite makes the next frame the one that is being written, or returns false if there is
// none. It drops a delivery that a stall has made so old that it could be taken for the response
// to another request.
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
	switch failureOf(err) {
	case nil:
		e.counts.Count(framesSent)
	case ErrNotAcknowledged:
		e.counts.Count(writesNotAcknowledged)
	case ErrArbitrationLost:
		e.counts.Count(writesArbitrationLost)
	default:
		e.counts.Count(writesFailed)
	}
	if d := current.delivery; d != nil {
		e.deliveryWritten(d, err)
	} else {
		e.callWritten(current.responder, current.sequence, err)
	}
	e.judgeBus(err)
}

// judgeBus finds out from the outcome of a write whether the bus carries anything at all. A frame
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

// isStuck reports whether a request would not be carried, because a write hangs, or because all
// writes have failed for long. Then one request a second is let through, to probe the bus.
func (e *Engine) isStuck() bool {
	o := &e.outbox
	return o.stalled || o.failing && (o.writing || o.hasWork() || e.now()-o.since < probeTime)
}

// endUnsent ends with ErrStuck the calls and broadcasts of which the bus has seen nothing yet.
func (e *Engine) endUnsent() {
	e.endCalls(func(c *Call) bool { return !c.isTransmitted() }, ErrStuck)
	e.dropDeliveries(func(d *delivery) bool { return d.done != nil }, ErrStuck)
}

// expire finds out whether a write takes long. stallWatch is set at a write where it is not set yet,
// and not cleared when the write returns, so that it costs steady traffic nothing.
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
