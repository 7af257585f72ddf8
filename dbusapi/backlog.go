package dbusapi

import (
	"bytes"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"
)

const (
	// maxBacklog is how many calls of one sender wait to be served.
	maxBacklog = 128
	// maxBacklogs is how many bytes of calls of all senders wait. A sender has at
	// most as many as are left to others, so that these find some.
	maxBacklogs = 2 << 20
	// callOverhead is about what a call that waits takes beside its bytes.
	callOverhead = 160

	// maxActs and maxReads are how many senders' calls are served at a time.
	maxActs  = 32
	maxReads = 1

	// maxUnread is how many bytes may wait for the message bus before a read is served,
	// so that other replies find few before them.
	maxUnread = 16 << 10
)

// waitingCall is a call that waits to be served.
type waitingCall struct {
	to      replyTo
	objects *objects // of the connection it has come by
	raw     []byte   // the message
	number  uint64   // in order of arrival
}

func (c *waitingCall) length() int { return len(c.raw) + callOverhead }

func (c *waitingCall) message() *wireMessage {
	m, _ := parseMessage(c.raw) // It was one when it was read.
	return &m
}

// backlogs is the calls that wait, in order for each sender. Two lanes serve them,
// one the calls that only read, so that nobody's reads keep others' acts waiting. A
// lane goes from sender to sender, one call at a time. Its goroutines end when no
// call is left.
type backlogs struct {
	server *Server
	lanes  sync.WaitGroup

	mu      sync.Mutex
	senders map[string]*backlog
	bytes   int
	arrived uint64 // how many calls ever have
	readers lane
	actors  lane
	closed  bool
}

// backlog is the calls of one sender. The first is being served, or waits in a lane.
type backlog struct {
	sender string
	calls  []*waitingCall
	bytes  int
	method *boundMethod // of the first call; nil when failed
	failed *dbus.Error
}

// lane is senders whose first call waits, and how many goroutines serve them.
type lane struct {
	limit, running int
	line           []*backlog
}

func newBacklogs(s *Server) *backlogs {
	return &backlogs{
		server:  s,
		senders: make(map[string]*backlog),
		readers: lane{limit: maxReads},
		actors:  lane{limit: maxActs},
	}
}

// has reports whether calls of a sender wait, or are being served.
func (b *backlogs) has(sender []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.senders[string(sender)] != nil
}

// add has a call served, or refuses it at once.
func (b *backlogs) add(from *stream, objects *objects, m *wireMessage) {
	to := from.replyTo(m)
	if !b.queue(to, objects, m) {
		to.destination = string(m.sender)
		to.fail(&dbus.Error{Name: errorLimits, Body: []any{"too many calls wait to be served: wait for replies"}})
	}
}

// queue reports whether there was room for a call.
func (b *backlogs) queue(to replyTo, objects *objects, m *wireMessage) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.senders[string(m.sender)]
	if one == nil {
		one = &backlog{sender: string(m.sender)}
	}
	length := len(m.raw) + callOverhead
	if b.closed || len(one.calls) >= maxBacklog || one.bytes+length > maxBacklogs-b.bytes {
		return false
	}
	b.arrived++
	c := &waitingCall{to: to, objects: objects, raw: m.raw, number: b.arrived}
	if !m.own {
		c.raw = bytes.Clone(m.raw)
	}
	one.calls = append(one.calls, c)
	one.bytes += length
	b.bytes += length
	if len(one.calls) == 1 {
		b.senders[one.sender] = one
		b.await(one)
	}
	return true
}

// await puts a sender in the line for its first call; b.mu is held.
func (b *backlogs) await(one *backlog) {
	c := one.calls[0]
	one.method, one.failed = c.objects.method(c.message())
	l := &b.readers
	if one.failed == nil && one.method.how != reads {
		l = &b.actors
	}
	l.line = append(l.line, one)
	if l.running < l.limit {
		l.running++
		b.lanes.Go(func() { b.run(l) })
	}
}

// run serves the calls of a lane until none waits.
func (b *backlogs) run(l *lane) {
	shared := make(sharedReplies)
	for one, c := b.next(l, nil); c != nil; one, c = b.next(l, one) {
		if l == &b.readers && !b.server.callers.isShut() {
			c.to.stream.out.awaitRead(maxUnread)
		}
		switch {
		case one.failed == nil && one.method.how == sends:
			b.server.startCall(c.to.stream, c.message(), one.method)
		case one.failed == nil && one.method.how == reads:
			b.server.read(c, one.sender, one.method, shared)
		default:
			b.server.serve(c, one.sender, one.method, one.failed)
		}
	}
}

// next is the first call in the line of a lane, nil when there is none: then the
// goroutine is to end. served is whose first call was served.
func (b *backlogs) next(l *lane, served *backlog) (*backlog, *waitingCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if served != nil {
		b.remove(served, 0)
		if len(served.calls) > 0 {
			b.await(served)
		} else {
			delete(b.senders, served.sender)
		}
	}
	if len(l.line) == 0 {
		l.running--
		l.line = nil
		return nil, nil
	}
	one := l.line[0]
	l.line[0] = nil
	l.line = l.line[1:]
	return one, one.calls[0]
}

// remove takes the i-th call of a sender away; b.mu is held.
func (b *backlogs) remove(one *backlog, i int) {
	length := one.calls[i].length()
	one.bytes -= length
	b.bytes -= length
	one.calls = slices.Delete(one.calls, i, i+1)
}

// left drops the calls of a sender that has left the message bus, but for one that
// may be being served.
func (b *backlogs) left(sender string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.senders[sender]
	for one != nil && len(one.calls) > 1 {
		last := len(one.calls) - 1
		one.calls[last].to.drop()
		b.remove(one, last)
	}
}

// countArrived is how many calls have arrived.
func (b *backlogs) countArrived() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.arrived
}

// close lets no more calls in, and waits for those that are being served.
func (b *backlogs) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.lanes.Wait()
}
