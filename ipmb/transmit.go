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
	ticket   uint64        // of a broadcast, see outbox
	expires  time.Duration // when its number may mean another request, or a copy comes too late
	entry    *entry        // of the request that it answers, or nil
	done     func(error)   // told once how the delivery has ended; may be nil
	// broadcast is the hold of the command, nil for an answer.
	broadcast *broadcast
}

// tell has the delivery's done told how it ended, if it has not been.
func (d *delivery) tell(e *Engine, err error) {
	if done := d.done; done != nil {
		d.done = nil
		e.later(func() { done(err) })
	}
}

// outbox is what waits for the bus, and the state of the write that is under way, of which
// there is one at most.
type outbox struct {
	work   *sync.Cond // for transmit
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
	handedOver bool // by writeDirect: the frame needs a wait, which is transmit's
	since      time.Duration
	stalled    bool
	watch      stallWatch

	failures      bool          // all writes since failuresSince have failed
	failuresSince time.Duration // when the first of them began
	failing       bool          // for StallTime: the bus carries nothing
}

// sending is what a frame that is being written belongs to: a delivery, or a call by the
// number that it has.
type sending struct {
	delivery  *delivery
	responder *responder
	sequence  uint8
}

// respond is the function of Submit that writes the answer; nil for a frame.
func (s sending) respond() func(response []byte) error {
	if s.delivery == nil || s.delivery.entry == nil {
		return nil
	}
	return s.delivery.entry.respond
}

func (o *outbox) init(mu *sync.Mutex) {
	o.work = sync.NewCond(mu)
	o.watch.owner = &o.watch
}

func (o *outbox) open(t i2c.Transport) {
	o.isOpen = true
	o.direct, _ = t.(i2c.DirectWriter)
	o.failures, o.failing = false, false
}

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
	drops := func(d *delivery) bool {
		if !which(d) {
			return false
		}
		e.finish(d, err)
		return true
	}
	o.deliveries = slices.DeleteFunc(o.deliveries, drops)
	o.broadcasts = slices.DeleteFunc(o.broadcasts, drops)
}

func (o *outbox) addDelivery(d *delivery) {
	if d.broadcast == nil {
		o.deliveries = append(o.deliveries, d)
	} else {
		d.ticket = o.ticket()
		o.broadcasts = append(o.broadcasts, d)
	}
	o.wake()
}

// ticket is the place of a request or a broadcast among all of them.
func (o *outbox) ticket() uint64 {
	o.tickets++
	return o.tickets
}

// wake wakes transmit if that is to write. On a transport with direct writes the goroutine
// that has the mutex writes in unlock.
func (o *outbox) wake() {
	if o.direct == nil {
		o.work.Signal()
	}
}

// hasWork reports whether something waits to be written.
func (o *outbox) hasWork() bool { return len(o.deliveries) > 0 || o.requestsWait() }

// requestsWait reports whether requests or broadcasts wait.
func (o *outbox) requestsWait() bool { return len(o.turns) > 0 || len(o.broadcasts) > 0 }

// addRepeat puts a delivery that has been written before in front of the others:
// if the node has it already, it takes a copy that comes soon for one.
func (o *outbox) addRepeat(d *delivery) {
	o.deliveries = slices.Insert(o.deliveries, 0, d)
	o.wake()
}

func (o *outbox) addCall(c *Call) {
	if c.ticket == 0 {
		c.ticket = o.ticket()
	}
	r := c.responder
	r.queue = append(r.queue, c)
	if len(r.queue) == 1 {
		o.turns = append(o.turns, r)
	}
	o.wake()
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
	for o.isOpen && !o.handedOver && (o.writing || !o.hasWork()) {
		o.work.Wait()
	}
	return o.isOpen
}

// nextDelivery takes the delivery that may go now, nil if a call is due.
func (o *outbox) nextDelivery() *delivery {
	if len(o.deliveries) == 0 {
		return nil
	}
	d := o.deliveries[0]
	if o.requestsWait() && o.inRow >= maxAnswersInRow && d.tries == 0 {
		return nil
	}
	o.deliveries = slices.Delete(o.deliveries, 0, 1)
	o.inRow++
	return d
}

// nextBroadcast takes the first broadcast when all requests before it have gone.
func (o *outbox) nextBroadcast() *delivery {
	if len(o.broadcasts) == 0 {
		return nil
	}
	d := o.broadcasts[0]
	if slices.ContainsFunc(o.turns, func(r *responder) bool { return r.queue[0].ticket < d.ticket }) {
		return nil
	}
	o.broadcasts = slices.Delete(o.broadcasts, 0, 1)
	o.inRow = 0
	return d
}

// nextCall takes the first call of the responder whose turn it is.
func (o *outbox) nextCall() *Call {
	o.inRow = 0
	// Requests behind a broadcast wait for it; nextBroadcast has found one before it.
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

// maxDirect is how many frames a goroutine writes directly before transmit takes over: the
// goroutine may be another client's reader.
const maxDirect = 64

// transmit writes what is to be written, and waits until the transport takes it. When it
// returns no write is under way.
func (e *Engine) transmit(t i2c.Transport) {
	e.mu.Lock()
	o := &e.outbox
	for o.wait() {
		begun := o.handedOver || e.beginNext()
		e.runCallbacks() // of what is too old to be sent
		if !begun {
			continue
		}
		o.handedOver = false
		respond := o.current.respond()
		e.mu.Unlock()
		var err error
		if respond != nil {
			err = respond(o.frame)
		} else {
			err = t.WriteFrame(o.frame)
		}
		e.transmitting.Lock()
		e.mu.Lock()
		e.endWrite(err)
		e.runCallbacks()
		e.transmitting.Unlock()
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

// writeDirect writes what waits, as far as the transport takes it at once and no goroutine
// writes. That saves the change to another goroutine, which costs more than the write.
func (e *Engine) writeDirect() {
	o := &e.outbox
	if o.direct == nil {
		return
	}
	for n := 0; o.isOpen && !o.writing && o.hasWork(); n++ {
		if n == maxDirect {
			o.work.Signal()
			return
		}
		if !e.beginNext() {
			return
		}
		direct := o.direct
		mine := e.setAside()
		e.mu.Unlock()
		written, err := direct.TryWriteFrame(o.frame)
		e.mu.Lock()
		e.takeBack(mine)
		if !written {
			o.handedOver = true
			o.work.Signal()
			return
		}
		e.endWrite(err)
	}
	if !o.isOpen {
		o.work.Signal() // transmit waits for the write
	}
}

// beginNext makes the next frame the one that is being written; false: there is none. A
// delivery that a stall has made so old that it could be taken for another request's answer
// is dropped.
func (e *Engine) beginNext() bool {
	o := &e.outbox
	for o.hasWork() {
		d := o.nextDelivery()
		if d == nil {
			d = o.nextBroadcast()
		}
		if d != nil {
			if e.now() >= d.expires {
				e.finish(d, ErrStuck)
				continue
			}
			o.current = sending{delivery: d}
			e.beginWrite(d.frame)
			return true
		}
		c := o.nextCall()
		o.current = sending{responder: c.responder, sequence: c.sequence}
		e.departs(c)
		e.beginWrite(c.frame)
		return true
	}
	return false
}

// beginWrite copies a frame that is to be written: what it belongs to may end before the
// write does.
func (e *Engine) beginWrite(frame []byte) {
	o := &e.outbox
	o.frame = append(o.frame[:0], frame...)
	o.writing = true
	o.since = e.now()
	if o.watch.place == 0 {
		e.set(&o.watch.deadline, o.since+StallTime)
	}
}

// endWrite takes the outcome of a write to what it was for.
func (e *Engine) endWrite(err error) {
	o := &e.outbox
	current := o.current
	o.current = sending{}
	o.writing = false
	if o.stalled {
		o.stalled = false
		e.wakeTick()
	}
	e.countWrite(err)
	if d := current.delivery; d != nil {
		e.delivered(d, err)
	} else {
		e.written(current.responder, current.sequence, err)
	}
	e.judgeBus(err)
}

// judgeBus finds out from the outcome of a write whether the bus carries anything at all.
// A frame that is not acknowledged and a lost arbitration show that it does.
func (e *Engine) judgeBus(err error) {
	o := &e.outbox
	switch {
	case err == nil, errors.Is(err, ErrNotAcknowledged), errors.Is(err, ErrArbitrationLost):
		o.failures, o.failing = false, false
		return
	case errors.Is(err, ErrClosed):
		return
	case !o.failures:
		o.failures, o.failuresSince = true, o.since
	}
	if e.now()-o.failuresSince >= StallTime {
		o.failing = true
		e.endUnsent()
	}
}

// endUnsent ends with ErrStuck what the bus has seen nothing of yet.
func (e *Engine) endUnsent() {
	for _, r := range e.responders {
		if r != nil {
			e.endAll(r, (*Call).untransmitted, ErrStuck)
		}
	}
	e.outbox.drop(e, (*delivery).isAwaited, ErrStuck)
}

// isStuck reports whether a request would not be carried: a write hangs, or all have
// failed for so long. Then one request a second is let through, to try the bus.
func (e *Engine) isStuck() bool {
	o := &e.outbox
	return o.stalled || o.failing && (o.writing || o.hasWork() || e.now()-o.since < probeTime)
}

// probeTime is how long after a write that failed a bus that carries nothing is tried again.
const probeTime = time.Second

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
		c.accept(e)
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
	d.tell(e, err)
	if d.broadcast != nil {
		d.broadcast.sent(e)
	}
	if d.entry != nil {
		e.answerWritten(d.entry, err)
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
	e.endUnsent()
	if d := o.current.delivery; d != nil {
		d.tell(e, ErrStuck)
	}
}

func (d *delivery) isAwaited() bool { return d.done != nil }

// untransmitted reports whether the bus has seen nothing of the call yet.
func (c *Call) untransmitted() bool { return c.slotEnd == 0 }
