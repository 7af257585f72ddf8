package ipmb

import (
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
// turns. A broadcast goes when all requests before it have gone.
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

// signalWork wakes writeFrames, if it writes. On a transport with direct writes the goroutine that
// has the mutex writes in unlock.
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

// addRetry puts a delivery that was written before in front of the others: if the node has it
// already, a copy that comes soon counts as one.
func (o *outbox) addRetry(d *delivery) {
	o.deliveries = slices.Insert(o.deliveries, 0, d)
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
