package dbusapi

import (
	"bytes"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

const (
	// maxBacklog is how many calls of one program wait to be served.
	maxBacklog = 128
	// maxBacklogs is how many bytes of calls of all senders wait. A program, and a user
	// other than root, has at most as many as are left to others, so that these find some.
	maxBacklogs = 2 << 20
	// maxUnsure is how many bytes more of calls wait that may have no place any more when
	// it is known which programs they are from. Of these it is a connection that has at
	// most as many as are left.
	maxUnsure = 512 << 10
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
	to      dbuswire.ReplyTo
	objects *objects // of the connection it has come by
	raw     []byte   // the message
	number  uint64   // in order of arrival
	placed  bool     // it has its place in the program's share
}

func (c *waitingCall) length() int { return len(c.raw) + callOverhead }

func (c *waitingCall) message() *dbuswire.Message {
	m, _ := dbuswire.Parse(c.raw) // It was one when it was read.
	return &m
}

// backlogs is the calls that wait, in order for each sender. Two lanes serve them,
// one the calls that only read, so that reads of one sender do not delay acts of others. A
// lane goes from sender to sender, one call at a time. Its goroutines end when no
// call is left.
type backlogs struct {
	server *Server
	lanes  sync.WaitGroup

	mu      sync.Mutex
	senders map[string]*backlog
	counts  *bus.Shares // of calls
	bytes   *bus.Shares
	unsure  int    // bytes of calls that have no place
	arrived uint64 // how many calls ever have
	readers lane
	actors  lane
	closed  bool
}

// backlog is the calls of one sender. The first is being served, or waits in a lane.
type backlog struct {
	sender string
	caller *caller // the same
	calls  []*waitingCall
	unsure int          // bytes of those that have no place until the caller is identified
	awaits bool         // place is to be called then
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
		counts:  bus.NewShares(bus.Limits{Program: maxBacklog}),
		bytes:   bus.NewShares(backlogLimits()),
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

func backlogLimits() bus.Limits {
	limits := bus.Halves(maxBacklogs)
	limits.Yield = true
	return limits
}

// add has a call served, or refuses it at once.
func (b *backlogs) add(from *dbuswire.Conn, objects *objects, m *dbuswire.Message) {
	one := b.server.callers.use(m.Sender)
	defer b.server.callers.unuse(one)
	to := from.ReplyTo(m)
	if !b.queue(one, to, objects, m) {
		to.Destination = one.name
		refuseWaiting(&to)
	}
	b.server.lookups.identify(one)
}

func refuseWaiting(to *dbuswire.ReplyTo) {
	to.Fail(&dbus.Error{Name: xml.ErrorLimits, Body: []any{"too many calls wait to be served: wait for replies"}})
}

// queue reports whether there was room for a call.
func (b *backlogs) queue(caller *caller, to dbuswire.ReplyTo, objects *objects, m *dbuswire.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.senders[caller.name]
	if one == nil {
		one = &backlog{sender: caller.name, caller: caller}
	}
	c := &waitingCall{to: to, objects: objects, raw: m.Raw}
	if b.closed || !b.admit(one, c) {
		return false
	}
	b.arrived++
	c.number = b.arrived
	if !m.Owned {
		c.raw = bytes.Clone(m.Raw)
	}
	one.calls = append(one.calls, c)
	if len(one.calls) == 1 {
		b.server.callers.useAgain(caller)
		b.senders[one.sender] = one
		b.await(one)
	}
	return true
}

// admit gives a call its place, or room until its caller is identified; b.mu is held.
func (b *backlogs) admit(one *backlog, c *waitingCall) bool {
	length := c.length()
	admission := b.enter(one, c)
	if admission != bus.Unsure {
		return admission == bus.Admitted
	}
	if len(one.calls) >= maxBacklog || one.unsure+length > maxUnsure-b.unsure {
		return false
	}
	if !one.awaits && !one.caller.client.Await(func() { b.place(one) }) { // It was identified just now.
		return b.admit(one, c)
	}
	one.awaits = true
	one.unsure += length
	b.unsure += length
	return true
}

// enter gives a call its place if there is one.
func (b *backlogs) enter(one *backlog, c *waitingCall) bus.Admission {
	client := &one.caller.client
	admission := b.counts.Enter(client, 1)
	if admission != bus.Admitted {
		return admission
	}
	if admission = b.bytes.Enter(client, c.length()); admission != bus.Admitted {
		b.counts.Leave(client, 1)
	}
	c.placed = admission == bus.Admitted
	return admission
}

// place gives calls their places, and refuses those for which there are none, when the
// caller is identified. The first one may be being served.
func (b *backlogs) place(one *backlog) {
	b.mu.Lock()
	one.awaits = false
	var refused []*waitingCall
	for i := 0; i < len(one.calls); i++ {
		c := one.calls[i]
		switch {
		case c.placed:
		case b.enter(one, c) == bus.Admitted:
			one.unsure -= c.length()
			b.unsure -= c.length()
		case i > 0:
			refused = append(refused, c)
			b.remove(one, i)
			i--
		}
	}
	b.mu.Unlock()
	for _, c := range refused {
		c.to.Destination = one.sender
		refuseWaiting(&c.to)
	}
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
			c.to.Conn.AwaitRead(maxUnread)
		}
		switch {
		case one.failed == nil && one.method.how == sends:
			b.server.startCall(c.to.Conn, c.message(), one.method)
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
			b.server.callers.unuse(served.caller)
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
	c := one.calls[i]
	if c.placed {
		b.counts.Leave(&one.caller.client, 1)
		b.bytes.Leave(&one.caller.client, c.length())
	} else {
		one.unsure -= c.length()
		b.unsure -= c.length()
	}
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
		one.calls[last].to.Drop()
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
