package bridge

import (
	"slices"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

const (
	// maxMessages is how many messages a queue holds, with those that a place
	// is kept for.
	maxMessages = 20
	// queueTime is how long a message stays.
	queueTime = ipmb.SequenceExpiration
	// idleTime is how long Run sleeps when it is to wait for nothing.
	idleTime = time.Hour
)

// queue is the receive message queue of an interface. A response has a place
// in it from the moment its request is sent.
type queue struct {
	messages []message
	reserved int
}

// message is an IPMB frame and the bus that it came from.
type message struct {
	from    *Interface
	frame   ipmb.Frame
	expires time.Time
}

// newMessage makes a message of a frame, whose data it copies.
func newMessage(from *Interface, f ipmb.Frame) message {
	f.Data = slices.Clone(f.Data)
	return message{from, f, time.Now().Add(queueTime)}
}

// isAnsweredBy reports whether the message is the request that a response on its
// bus answers.
func (m message) isAnsweredBy(f ipmb.Frame) bool {
	q := m.frame
	return q.NetFn.Response() == f.NetFn && !q.NetFn.IsResponse() && q.Command == f.Command && q.Sequence == f.Sequence &&
		q.Source == f.Destination && q.SourceLUN == f.DestinationLUN
}

// isRepeatedBy reports whether the requester of m has used its number for f.
func (m message) isRepeatedBy(f ipmb.Frame) bool {
	q := m.frame
	return q.NetFn == f.NetFn && q.Command == f.Command && q.Sequence == f.Sequence && q.Source == f.Source && q.SourceLUN == f.SourceLUN
}

// reserve keeps a place, if there is one.
func (q *queue) reserve() bool {
	if q.full() {
		return false
	}
	q.reserved++
	return true
}

func (q *queue) full() bool { return len(q.messages)+q.reserved >= maxMessages }

func (q *queue) put(m message) { q.messages = append(q.messages, m) }

func (q *queue) take() (message, bool) {
	if len(q.messages) == 0 {
		return message{}, false
	}
	m := q.messages[0]
	q.messages = slices.Delete(q.messages, 0, 1)
	return m, true
}

// expire drops what is too old, and returns how many that were.
func (q *queue) expire(now time.Time) int {
	return q.drop(func(m message) bool { return !now.Before(m.expires) })
}

// drop drops messages, and returns how many.
func (q *queue) drop(which func(message) bool) int {
	before := len(q.messages)
	q.messages = slices.DeleteFunc(q.messages, which)
	return before - len(q.messages)
}

// next is when the next message expires, or idleTime.
func (q *queue) next(now time.Time) time.Duration {
	next := idleTime
	for _, m := range q.messages {
		next = min(next, m.expires.Sub(now))
	}
	return next
}

// getMessage serves Get Message: channel and privilege, which is 0 without a
// session, and the message without its destination address. A message that does
// not fit has not come into the queue.
func getMessage(i *Interface, _ *ipmi.Request) (ipmi.Response, error) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(i)
	m, ok := i.queue.take()
	if !ok {
		return refuse(codeEmpty)
	}
	i.counters.add(messagesFetched)
	b.wake()
	frame := m.frame.Append(nil)
	frame[0] = byte(m.from.config.Channel) // in the place of the destination
	return ipmi.Response{Data: frame}, nil
}

// receive takes a request to LUN 2, which host software is to answer by Send
// Message.
func (i *Interface) receive(req *ipmi.Request) (ipmi.Response, error) {
	b := i.bridge
	m := newMessage(i, ipmb.Frame{
		Destination: i.bus.Address(), NetFn: req.NetFn, DestinationLUN: req.LUN,
		Source: req.Requester, Sequence: req.Sequence, SourceLUN: req.RequesterLUN,
		Command: req.Command, Data: req.Data,
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	host := b.queueOf(i)
	b.expire(host)
	// What it has asked before under the number it no longer waits for.
	host.queue.drop(func(other message) bool { return other.from == i && other.isRepeatedBy(m.frame) })
	switch {
	case host.deaf.Has(i.config.Channel):
		return refuse(ipmi.CodeSubFunctionDisabled)
	case !host.carries(m.frame.Len()):
		return refuse(ipmi.CodeLengthExceeded)
	case host.queue.full():
		host.counters.add(messagesRefused)
		return ipmi.Response{}, ipmi.ErrBusy
	}
	if deadline := req.Deadline; !deadline.IsZero() && deadline.Before(m.expires) {
		m.expires = deadline // by then it has been answered C3h
	}
	host.enqueue(m)
	return ipmi.Response{}, ipmi.ErrDeferred
}

// Stray takes a response to LUN 2 that no call waits for, on a bridged
// interface; see ipmb.Config.
func (i *Interface) Stray(f ipmb.Frame) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	host := b.queueOf(i)
	b.expire(host)
	if host.deaf.Has(i.config.Channel) || host.queue.full() || !host.carries(f.Len()) {
		host.counters.add(messagesRefused)
		return
	}
	host.enqueue(newMessage(i, f))
}

// holdsRequestOf reports whether the request that a response to this bus would
// answer has not been fetched yet: then it answers an earlier one, of the same
// number.
func (i *Interface) holdsRequestOf(f ipmb.Frame) bool {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	host := b.queueOf(i)
	b.expire(host)
	return slices.ContainsFunc(host.queue.messages, func(m message) bool { return m.from == i && m.isAnsweredBy(f) })
}

// enqueue puts a message into the queue.
func (i *Interface) enqueue(m message) {
	i.queue.put(m)
	i.counters.add(messagesQueued)
	i.bridge.wake()
}

// expire drops messages of an interface that are too old.
func (b *Bridge) expire(i *Interface) {
	i.counters[messagesExpired] += uint64(i.queue.expire(time.Now()))
}
