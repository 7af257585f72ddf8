package bridge

import (
	"slices"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

const (
	// maxMessages is how many messages a queue holds, including the reserved places.
	maxMessages = 20
	// queueTime is how long a message stays.
	queueTime = ipmb.SequenceExpiration
	// idleTime is how long Run sleeps when it has nothing to wait for.
	idleTime = time.Hour
)

// queue is the receive message queue of an interface. The place of a response is reserved before
// its request is sent.
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

// isAnsweredBy reports whether a response on the message's bus has the numbers of a response to
// it.
func (m message) isAnsweredBy(f ipmb.Frame) bool {
	q := m.frame
	return !q.NetFn.IsResponse() && q.NetFn.Response() == f.NetFn && q.Command == f.Command &&
		q.Sequence == f.Sequence && q.Source == f.Destination && q.SourceLUN == f.DestinationLUN
}

// isRepeatedBy reports whether the requester has used the sequence number of the message for f.
func (m message) isRepeatedBy(f ipmb.Frame) bool {
	q := m.frame
	return q.NetFn == f.NetFn && q.Command == f.Command &&
		q.Sequence == f.Sequence && q.Source == f.Source && q.SourceLUN == f.SourceLUN
}

func (q *queue) full() bool { return len(q.messages)+q.reserved >= maxMessages }

// drop drops the messages for which which returns true, and returns how many.
func (q *queue) drop(which func(message) bool) int {
	before := len(q.messages)
	q.messages = slices.DeleteFunc(q.messages, which)
	return before - len(q.messages)
}

// untilExpiration returns how long the first message stays, or idleTime.
func (q *queue) untilExpiration(now time.Time) time.Duration {
	next := idleTime
	for _, m := range q.messages {
		next = min(next, m.expires.Sub(now))
	}
	return next
}

// dropExpired drops the messages of the interface that are too old.
func (i *Interface) dropExpired() {
	if len(i.queue.messages) > 0 {
		now := time.Now()
		i.counts.Add(messagesExpired, i.queue.drop(func(m message) bool { return !now.Before(m.expires) }))
	}
}

// enqueue puts a message into the queue.
func (i *Interface) enqueue(m message) {
	i.queue.messages = append(i.queue.messages, m)
	i.counts.Count(messagesQueued)
	i.bridge.wake()
}

// getMessage serves Get Message: channel and privilege, which is 0 without a session, and the
// message without its destination address. Its first checksum is as if that were 20h, at any
// address of ours on the bus (IPMI v2.0, table 22-8): FreeIPMI reads no other message. A message
// that does not fit the interface is not put into the queue.
func getMessage(i *Interface, _ *ipmi.Request) ipmi.Response {
	if len(i.queue.messages) == 0 {
		return refuse(codeEmpty)
	}
	m := i.queue.messages[0]
	i.queue.messages = slices.Delete(i.queue.messages, 0, 1)
	i.counts.Count(messagesFetched)
	i.bridge.wake()
	m.frame.Destination = ipmi.BMCAddress
	frame := m.frame.Append(nil)
	frame[0] = byte(m.from.config.Channel) // in the place of the destination
	return ipmi.Response{Data: frame}
}

// queueRequest queues an SMS message that is a request. Host software responds by Send Message.
func (i *Interface) queueRequest(req *ipmi.Request) (ipmi.Response, error) {
	b := i.bridge
	m := newMessage(i, ipmb.Frame{
		Destination: i.bus.Address(), NetFn: req.NetFn, DestinationLUN: req.LUN,
		Source: req.Requester, Sequence: req.Sequence, SourceLUN: req.RequesterLUN,
		Command: req.Command, Data: req.Data,
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	holder := b.holderOf(i)
	holder.dropExpired()
	// The requester does not wait any more for the request to which it gave the number before.
	holder.queue.drop(func(other message) bool { return other.from == i && other.isRepeatedBy(m.frame) })
	switch {
	case holder.disabled.Has(i.config.Channel):
		return refuse(ipmi.CodeDestinationGone), nil
	case !holder.fits(m.frame.Len()):
		return refuse(ipmi.CodeLengthExceeded), nil
	case holder.queue.full():
		holder.counts.Count(messagesRefused)
		return ipmi.Response{}, ipmi.ErrBusy
	}
	if deadline := req.Deadline; !deadline.IsZero() && deadline.Before(m.expires) {
		m.expires = deadline // At that time its owner answers it C3h.
	}
	holder.enqueue(m)
	return ipmi.Response{}, ipmi.ErrDeferred
}

// UnsolicitedResponse queues an SMS message that is a response for which no call waits, on a
// bridged interface; see [ipmb.Config].
func (i *Interface) UnsolicitedResponse(f ipmb.Frame) {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	holder := b.holderOf(i)
	holder.dropExpired()
	if holder.disabled.Has(i.config.Channel) || holder.queue.full() || !holder.fits(f.Len()) {
		holder.counts.Count(messagesRefused)
		return
	}
	holder.enqueue(newMessage(i, f))
}

// holdsRequestOf reports whether the request to which a response on this bus would respond has not
// been fetched yet. Then the response is to an earlier one with the same number.
func (i *Interface) holdsRequestOf(f ipmb.Frame) bool {
	b := i.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	holder := b.holderOf(i)
	holder.dropExpired()
	isRequest := func(m message) bool { return m.from == i && m.isAnsweredBy(f) }
	return slices.ContainsFunc(holder.queue.messages, isRequest)
}
