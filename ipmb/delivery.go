package ipmb

import (
	"fmt"
	"slices"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmi"
)

const (
	// deliveryTries is how often a delivery is written at most.
	deliveryTries = 4
	// repeatTime is how long a frame may be written again after a write that may have delivered
	// it. A later copy could be taken for another response.
	repeatTime = 25 * time.Millisecond
	// longestWrite is how long the bus carries the longest frame, at 100 kHz, with a margin. When
	// a longer write fails, the node may have received the frame long ago.
	longestWrite = 35 * time.Millisecond
)

// delivery is a frame without a response: a response, or a broadcast. It is written up to 4 times.
type delivery struct {
	deadline  // of the pause between two writes
	frame     []byte
	respond   func(response []byte) error // writes frame in place of the transport; usually nil
	tries     int
	ticket    uint64        // of a broadcast, see outbox
	expires   time.Duration // then its number may mean another request, or a copy comes too late
	entry     *entry        // of the request that it answers, or nil
	broadcast *broadcast    // the hold of the command, nil for a response
	done      func(error)   // called once with the outcome; may be nil
}

// deliver queues a delivery for the bus.
func (e *Engine) deliver(d *delivery) {
	d.owner = d
	d.expires = e.now() + SequenceExpiration
	e.outbox.pending++
	e.outbox.addDelivery(d)
}

// deliveryRefusal is the reason why a frame of a length in bytes cannot be delivered now, or nil.
func (e *Engine) deliveryRefusal(length int) error {
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

// deliveryWritten takes the outcome of a write.
func (e *Engine) deliveryWritten(d *delivery, err error) {
	d.tries++
	next := e.now() + retryPause()
	if err == nil || d.tries == deliveryTries || !e.outbox.isOpen || !e.mayRetry(d, next, err) {
		e.finishDelivery(d, err)
		return
	}
	e.setDeadline(&d.deadline, next)
}

// mayRetry reports whether a delivery whose write has failed just now may be written again at a
// given time. A response that is not written again is given to the requester's next repeat.
func (e *Engine) mayRetry(d *delivery, next time.Duration, err error) bool {
	if !i2c.NotDelivered(err) {
		if e.now()-e.outbox.since > longestWrite {
			return false
		}
		d.expires = min(d.expires, e.now()+repeatTime)
	}
	return next < d.expires
}

// expire ends the pause before the next write, which comes before all others: if the node has the
// frame already, a copy that comes soon counts as one.
func (d *delivery) expire(e *Engine, _ time.Duration) {
	e.outbox.deliveries = slices.Insert(e.outbox.deliveries, 0, d)
	e.outbox.signalWork()
}

// finishDelivery ends a delivery that is not in the outbox any more.
func (e *Engine) finishDelivery(d *delivery, err error) {
	e.outbox.pending--
	e.tellEnd(d, err)
	if d.broadcast != nil {
		if d.broadcast.pending--; d.broadcast.pending == 0 {
			e.setDeadline(&d.broadcast.deadline, e.now()+holdTime)
		}
	}
	if d.entry != nil {
		e.responseWritten(d.entry, err)
	}
	e.checkDrained()
}

// tellEnd calls the delivery's done, unless it was called.
func (e *Engine) tellEnd(d *delivery, err error) {
	if done := d.done; done != nil {
		d.done = nil
		e.callLater(func() { done(err) })
	}
}

// dropDeliveries ends the deliveries that match, except for the one being written.
func (e *Engine) dropDeliveries(matches func(*delivery) bool, err error) {
	for _, d := range slices.Clone(e.deadlines) {
		if pausing, ok := d.owner.(*delivery); ok && matches(pausing) {
			e.clearDeadline(d)
			e.finishDelivery(pausing, err)
		}
	}
	drops := func(d *delivery) bool {
		if !matches(d) {
			return false
		}
		e.finishDelivery(d, err)
		return true
	}
	e.outbox.deliveries = slices.DeleteFunc(e.outbox.deliveries, drops)
	e.outbox.broadcasts = slices.DeleteFunc(e.outbox.broadcasts, drops)
}

// StartRespond writes a response that was made elsewhere, as it is. If it answers a request whose
// handler has left the response to it (ipmi.ErrDeferred), a repeat of the request gets it again,
// and a second response is ErrAnswered. A response to no request that is known is written, too.
//
// StartRespond returns at once, with ErrInvalid for a frame that is no response, or with an error
// of errors.go. If it returns nil, the engine calls done when the bus has taken the response or
// not, without a lock held. done must not block.
func (e *Engine) StartRespond(frame []byte, done func(error)) error {
	f, err := Decode(frame)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case !f.NetFn.IsResponse() || !f.Destination.IsSlave():
		return invalid("no response to an address")
	}
	e.mu.Lock()
	defer e.unlock()
	if f.Destination == e.address {
		return e.ownAddressError()
	}
	if err := e.deliveryRefusal(len(frame)); err != nil {
		return err
	}
	d := &delivery{frame: slices.Clone(frame), done: done}
	if n := e.requests.answeredBy(f, e.now()); n != nil {
		if n.answered {
			return ErrAnswered
		}
		e.answerWith(n, d)
	}
	e.deliver(d)
	return nil
}

// StartBroadcast writes a request to address 00h as ipmbbridge does: a plain frame with sequence
// number 0 and the given requester LUN, written up to four times until it is acknowledged. No
// response is expected. Responses of nodes that still answer reach no call: the command does
// not get number 0 until 6 s have passed, and a call that has it now accepts no response any more.
//
// StartBroadcast returns at once. If it returns nil, the engine calls done when the bus has taken
// the frame or not, without a lock held. done must not block.
func (e *Engine) StartBroadcast(done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command,
	data []byte) error {
	if netFn > ipmi.MaxNetFn || netFn.IsResponse() {
		return invalid("netFn %02Xh", uint8(netFn))
	}
	if lun > ipmi.MaxLUN {
		return invalid("LUN %d", lun)
	}
	e.mu.Lock()
	defer e.unlock()
	f := Frame{
		Destination: broadcastAddress, NetFn: netFn, Source: e.address, SourceLUN: lun, Command: cmd, Data: data,
	}
	if err := e.deliveryRefusal(f.Len()); err != nil {
		return err
	}
	b := e.holdForBroadcast(keyOf(netFn, cmd))
	b.pending++
	e.deliver(&delivery{frame: f.Append(nil), done: done, broadcast: b})
	return nil
}

// broadcast holds number 0 of all responders for a command: any of them may answer a broadcast.
type broadcast struct {
	deadline // when the last response may have come
	key      commandKey
	pending  int // frames that are not written yet
}

// holdForBroadcast takes number 0 from the calls of a command, and keeps it from later ones.
func (e *Engine) holdForBroadcast(key commandKey) *broadcast {
	for _, r := range e.responders {
		if r != nil && r.numbers[0].call != nil && r.numbers[0].key == key {
			r.numbers[0].shared = true
		}
	}
	b := e.broadcasts[key]
	if b == nil {
		b = &broadcast{key: key}
		b.owner = b
		e.broadcasts[key] = b
	}
	e.clearDeadline(&b.deadline)
	return b
}

// expire lets calls have number 0 again.
func (b *broadcast) expire(e *Engine, now time.Duration) {
	delete(e.broadcasts, b.key)
	for _, r := range e.responders {
		if r != nil {
			e.assignToWaiters(r, now)
		}
	}
}

// heldByBroadcast is the set of numbers that broadcasts hold for a command.
func (e *Engine) heldByBroadcast(key commandKey) uint64 {
	if len(e.broadcasts) > 0 && e.broadcasts[key] != nil {
		return 1 << 0
	}
	return 0
}
