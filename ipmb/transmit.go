package ipmb

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"ipmbd/i2c"
)

const (
	// StallTime is how long a write may be in the kernel before the bus counts
	// as stalled: twice what adapters give a transfer as a rule.
	StallTime = 2 * time.Second
	// deliveryTries is how often a frame without an answer is written.
	deliveryTries = 4
	// maxAnswersInRow is how many answers go before a request that waits.
	maxAnswersInRow = 4
)

// pause is the time before a write is tried again: random, so that two masters
// that collided do not collide again.
func pause() time.Duration {
	return time.Millisecond + rand.N(4*time.Millisecond)
}

// delivery is a frame to which no answer is awaited: an answer, or a
// broadcast. It is written until the bus takes it, four times at most.
type delivery struct {
	deadline // of the pause between two writes
	frame    []byte
	tries    int
	expires  time.Duration // when its number may mean another request, or a copy comes too late
	entry    *entry        // of the request that it answers, or nil
	result   chan error    // for who waits until it is written, or nil
	// broadcast is the hold of the command, nil for an answer.
	broadcast *broadcast
}

// tell tells who waits for the delivery how it ended. The first word counts.
func (d *delivery) tell(err error) {
	select {
	case d.result <- err:
	default:
	}
}

// outbox is what waits for the bus, and the state of the one writer.
type outbox struct {
	work   *sync.Cond
	isOpen bool

	deliveries []*delivery
	pending    int          // deliveries not finished: queued, pausing or being written
	turns      []*responder // those with calls in their queue
	pulses     []*pulse     // that wait for the writer's turn
	inRow      int          // deliveries written since the last call

	frame   []byte    // being written
	current *delivery // to which it belongs, nil for a call
	writing bool
	since   time.Duration
	stalled bool
	watch   stallWatch
}

func (o *outbox) init(mu *sync.Mutex) {
	o.work = sync.NewCond(mu)
	o.watch.owner = &o.watch
}

func (o *outbox) open() { o.isOpen = true }

// close drops the deliveries and stops the writer.
func (o *outbox) close(e *Engine) {
	o.isOpen = false
	o.drop(e, func(*delivery) bool { return true }, ErrClosed)
	o.work.Broadcast()
}

// drop ends the deliveries that which picks, but for the one being written.
func (o *outbox) drop(e *Engine, which func(*delivery) bool, err error) {
	for _, d := range slices.Clone(e.deadlines.heap) {
		if pausing, ok := d.owner.(*delivery); ok && which(pausing) {
			e.unset(d)
			e.finish(pausing, err)
		}
	}
	o.deliveries = slices.DeleteFunc(o.deliveries, func(d *delivery) bool {
		if !which(d) {
			return false
		}
		e.finish(d, err)
		return true
	})
}

func (o *outbox) addDelivery(d *delivery) {
	o.deliveries = append(o.deliveries, d)
	o.work.Signal()
}

// addRepeat puts a delivery that has been written before in front of the others:
// if the node has it already, it takes a copy that comes soon for one.
func (o *outbox) addRepeat(d *delivery) {
	o.deliveries = slices.Insert(o.deliveries, 0, d)
	o.work.Signal()
}

func (o *outbox) addCall(c *Call) {
	r := c.responder
	r.queue = append(r.queue, c)
	if len(r.queue) == 1 {
		o.turns = append(o.turns, r)
	}
	o.work.Signal()
}

// removeCall takes a call that has ended out of its queue.
func (o *outbox) removeCall(c *Call) {
	r := c.responder
	r.queue = slices.DeleteFunc(r.queue, func(other *Call) bool { return other == c })
	if len(r.queue) == 0 {
		o.turns = slices.DeleteFunc(o.turns, func(other *responder) bool { return other == r })
	}
}

// wait waits for something to write; false means that the outbox is closed.
func (o *outbox) wait() bool {
	o.pulsed()
	for o.isOpen && len(o.deliveries) == 0 && len(o.turns) == 0 {
		o.work.Wait()
		o.pulsed()
	}
	return o.isOpen
}

// nextDelivery takes the delivery that may go now, nil if a call is due.
func (o *outbox) nextDelivery() *delivery {
	if len(o.deliveries) == 0 {
		return nil
	}
	d := o.deliveries[0]
	if len(o.turns) > 0 && o.inRow >= maxAnswersInRow && d.tries == 0 {
		return nil
	}
	o.deliveries = slices.Delete(o.deliveries, 0, 1)
	o.inRow++
	return d
}

// nextCall takes the first call of the responder whose turn it is.
func (o *outbox) nextCall() *Call {
	o.inRow = 0
	r := o.turns[0]
	o.turns = slices.Delete(o.turns, 0, 1)
	c := r.queue[0]
	r.queue = slices.Delete(r.queue, 0, 1)
	if len(r.queue) > 0 {
		o.turns = append(o.turns, r)
	}
	return c
}

// transmit is the one writer. It holds the mutex but for the writes.
func (e *Engine) transmit(t i2c.Transport) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.outbox.wait() {
		if d := e.outbox.nextDelivery(); d != nil {
			e.transmitDelivery(t, d)
			continue
		}
		c := e.outbox.nextCall()
		r, sequence := c.responder, c.sequence
		e.departs(c)
		e.written(r, sequence, e.write(t, c.frame))
	}
}

// transmitDelivery writes a delivery, unless a stall has made it so old that its
// answer could be taken for another request's.
func (e *Engine) transmitDelivery(t i2c.Transport, d *delivery) {
	if e.now() >= d.expires {
		e.finish(d, ErrStuck)
		return
	}
	e.outbox.current = d
	err := e.write(t, d.frame)
	e.outbox.current = nil
	e.delivered(d, err)
}

// write puts a frame on the bus, with the mutex free meanwhile. The frame is
// copied: what it belongs to may end before the write does.
func (e *Engine) write(t i2c.Transport, frame []byte) error {
	o := &e.outbox
	o.frame = append(o.frame[:0], frame...)
	o.writing = true
	o.since = e.now()
	if o.watch.place == 0 {
		e.set(&o.watch.deadline, o.since+StallTime)
	}
	e.mu.Unlock()
	err := t.WriteFrame(o.frame)
	e.mu.Lock()
	o.writing = false
	if o.stalled {
		o.stalled = false
		e.wakeTick()
	}
	e.countWrite(err)
	return err
}

func (e *Engine) countWrite(err error) {
	switch {
	case err == nil:
		e.counts.add(framesSent)
	case errors.Is(err, ErrNotAcknowledged):
		e.counts.add(writesNotAcknowledged)
	case errors.Is(err, ErrArbitrationLost):
		e.counts.add(writesArbitrationLost)
	default:
		e.counts.add(writesFailed)
	}
}

// departs notes that a call is about to be written; its time begins with the
// first transmission.
func (e *Engine) departs(c *Call) {
	c.state = stateWriting
	n := &c.responder.numbers[c.sequence]
	n.writing = true
	if c.slotEnd != 0 {
		e.counts.add(retransmissions)
		return
	}
	n.sentIn = e.batch
	c.slotEnd = e.now() + c.policy.Timeout
	e.set(&c.deadline, c.slotEnd)
}

// written takes the outcome of a write to the number it was made with. The
// call may have ended meanwhile. A write that failed may have been delivered all
// the same, unless the driver knows better.
func (e *Engine) written(r *responder, sequence uint8, err error) {
	n := &r.numbers[sequence]
	now := e.now()
	n.writing = false
	switch {
	case err == nil:
		n.acknowledged = true
		n.delivered++
		r.hear(now)
	case i2c.NotDelivered(err):
	case errors.Is(err, ErrNotAcknowledged):
		n.refused++
	default:
		n.delivered++
	}
	c := n.call
	if c == nil {
		e.release(r, sequence, now)
		return
	}
	c.state = stateListening
	switch {
	case err == nil:
		c.taken = true
		c.settled.set()
	case errors.Is(err, ErrNotAcknowledged):
		c.failure = ErrNotAcknowledged
		e.refused(c)
	case errors.Is(err, ErrArbitrationLost):
		c.failure = ErrArbitrationLost
		e.refused(c)
	case errors.Is(err, ErrClosed):
		c.failure = ErrClosed
	default:
		c.failure = ErrStuck
	}
}

// refused lets a call try once more in its slot, or leaves it to the next.
func (e *Engine) refused(c *Call) {
	now := e.now()
	if again := now + pause(); !c.second && again < c.slotEnd {
		c.state = statePausing
		e.set(&c.deadline, again)
	} else if c.failFast && c.failure == ErrNotAcknowledged && !c.taken {
		e.end(c, ErrNotAcknowledged, now)
	}
}

// delivered takes the outcome of writing a delivery.
func (e *Engine) delivered(d *delivery, err error) {
	d.tries++
	again := e.now() + pause()
	if err == nil || d.tries == deliveryTries || !e.outbox.isOpen || !d.mayRepeat(e, again, err) {
		e.finish(d, err)
		return
	}
	e.set(&d.deadline, again)
}

const (
	// repeatTime is how long after a write by which the node may have got a frame
	// the frame is written again: a later copy could be taken for another answer.
	repeatTime = 25 * time.Millisecond
	// longestWrite is how long the bus carries the longest frame, at 100 kHz, with
	// a margin for a node that holds the clock. When a longer write fails, the node
	// may have received the frame long ago.
	longestWrite = 35 * time.Millisecond
)

// mayRepeat reports whether a delivery whose write has failed just now may be
// written again at a given time. An answer that is not written again is given to
// the requester's next repeat.
func (d *delivery) mayRepeat(e *Engine, again time.Duration, err error) bool {
	if !i2c.NotDelivered(err) {
		if e.now()-e.outbox.since > longestWrite {
			return false
		}
		d.expires = min(d.expires, e.now()+repeatTime)
	}
	return again < d.expires
}

// expire is the end of the pause before the next write.
func (d *delivery) expire(e *Engine, _ time.Duration) { e.outbox.addRepeat(d) }

func (e *Engine) finish(d *delivery, err error) {
	e.outbox.pending--
	if d.result != nil {
		d.tell(err)
	}
	if d.broadcast != nil {
		d.broadcast.sent(e)
	}
	if d.entry != nil {
		d.entry.delivering = false
		if err == nil {
			e.counts.add(answersWritten)
		} else {
			e.counts.add(answersLost)
		}
	}
	e.checkDrained()
}

// deliver sends a frame to which no answer is awaited.
func (e *Engine) deliver(d *delivery) {
	d.owner = d
	d.expires = e.now() + sequenceExpiration
	e.outbox.pending++
	e.outbox.addDelivery(d)
}

// stallWatch looks at a write that takes long. It is set at a write where it
// is not set yet, and not taken back when the write returns, so that it costs
// steady traffic nothing.
type stallWatch struct{ deadline }

func (w *stallWatch) expire(e *Engine, now time.Duration) {
	o := &e.outbox
	if !o.writing {
		return
	}
	if end := o.since + StallTime; end > now {
		e.set(&w.deadline, end)
		return
	}
	o.stalled = true
	e.counts.add(stalls)
	for _, r := range e.responders {
		if r != nil {
			e.endAll(r, (*Call).untransmitted, ErrStuck)
		}
	}
	o.drop(e, (*delivery).isAwaited, ErrStuck)
	if o.current != nil && o.current.isAwaited() {
		o.current.tell(ErrStuck)
	}
}

func (d *delivery) isAwaited() bool { return d.result != nil }

// untransmitted reports whether the bus has seen nothing of the call yet.
func (c *Call) untransmitted() bool { return c.slotEnd == 0 }
