package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

var (
	// ErrLimit: a connection has too many calls in progress.
	ErrLimit = errors.New("too many calls in progress")
	// errGone: the client has left the message bus, or the service stops.
	errGone = errors.New("client has left the message bus")
)

const (
	// maxUnknown limits the bytes of calls of clients that are not identified yet. Such a client
	// has at most as many as it leaves to others.
	maxUnknown = 1 << 20
	// callOverhead is about the memory of a call beside its bytes.
	callOverhead = 160
	// maxLookups is how many clients are looked up at a time.
	maxLookups = 16
)

// clients are the connections that have called, until they leave the message bus. They limit
// the calls of a connection, and keep the calls that wait to be served. A bus itself limits the
// calls of a program.
type clients struct {
	left func(name string) // ends the registrations of a client that has left
	// programOf says which program a process belongs to. Only tests set it: all their connections
	// would belong to one program.
	programOf func(name string, found bus.Process) bus.Process

	mu      sync.Mutex
	limit   int // of calls of one connection
	known   map[string]*client
	served  int           // calls in progress
	idle    chan struct{} // closed when no call is in progress; nil while calls are let in
	unknown int           // bytes of calls of clients that are not identified

	answerers atomic.Int32 // clients that have answered by sendResponse

	conn      *dbuswire.Conn // for lookups; nil before it is there
	lookingUp int
	lookups   []*client // to be looked up

	counts, bytes *bus.Shares // of calls that wait to be served
	reads, acts   line

	arrived atomic.Uint64 // how many calls ever have waited
}

// client is a connection of a program. Its calls end when it leaves.
type client struct {
	bus.Client // to the buses, and to all else that programs share
	name       string
	asked      atomic.Bool // it is being looked up, or is identified

	// clients.mu is held for the rest.
	gone       bool
	identified bool
	answers    bool               // it has answered by sendResponse
	calls      int                // in progress, or their reply waits to be written
	unknown    int                // bytes of calls, while it is not identified
	sent       *busCall           // the last call to a bus that has not ended
	endAct     context.CancelFunc // ends the act that is being served; nil without one

	waiting []*waitingCall // the first is being served, or the client is in a line for it
	placing bool           // place is called when it is identified
}

func newClients(limit int, left func(name string)) *clients {
	bytes := bus.Halves(maxBacklogs)
	bytes.Yield = true
	return &clients{
		left:   left,
		limit:  limit,
		known:  make(map[string]*client),
		counts: bus.NewShares(bus.Limits{Program: maxBacklog}),
		bytes:  bus.NewShares(bytes),
		reads:  line{ready: make(chan struct{}, 1)},
		acts:   line{ready: make(chan struct{}, 1)},
	}
}

// findClient finds a client, or notes a new one. The caller identifies it.
func (c *clients) findClient(name []byte) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.findClientLocked(name)
}

func (c *clients) findClientLocked(name []byte) *client {
	one := c.known[string(name)]
	if one == nil {
		one = &client{name: string(name)}
		c.known[one.name] = one
	}
	return one
}

// describe names a client to people: ":1.42 (process 812)".
func (c *client) describe() string {
	if p, known := c.Process(); known && p != bus.Unknown && p.PID != 0 {
		return fmt.Sprintf("%s (process %d)", c.name, p.PID)
	}
	return c.name
}

// reserve counts bytes of a call while its client is not identified, and reports whether there
// is room for them.
func (c *clients) reserve(one *client, bytes int) bool {
	if one.identified {
		return true
	}
	if one.unknown+bytes > maxUnknown-c.unknown {
		return false
	}
	one.unknown += bytes
	c.unknown += bytes
	return true
}

// unreserve ends reserve. When the client is identified its bytes do not count any more.
func (c *clients) unreserve(one *client, bytes int) {
	if !one.identified {
		one.unknown -= bytes
		c.unknown -= bytes
	}
}

// checkLimit is why a call of a client is not served that ends before another one begins.
func (c *clients) checkLimit(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch one := c.known[name]; {
	case c.idle != nil:
		return errGone
	case one != nil && one.calls >= c.limit:
		return ErrLimit
	}
	return nil
}

// beginAct begins an act of a client, which end ends. Each success needs one finishAct.
func (c *clients) beginAct(one *client, end context.CancelFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.idle != nil || one.gone:
		return errGone
	case one.calls >= c.limit:
		return ErrLimit
	}
	one.calls++
	c.served++
	one.endAct = end
	return nil
}

func (c *clients) finishAct(one *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one.calls--
	one.endAct = nil
	c.endOne()
}

// beginCall begins a call to a bus. Each success needs one endCall and one release.
func (c *clients) beginCall(name []byte, x *busCall) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		return errGone
	}
	one := c.findClientLocked(name)
	x.bytes = len(x.request.Data) + callOverhead
	if one.calls >= c.limit || !c.reserve(one, x.bytes) {
		return ErrLimit
	}
	x.client = one
	one.calls++
	c.served++
	if x.earlier = one.sent; x.earlier != nil {
		x.earlier.later = x
	}
	one.sent = x
	return nil
}

// endCall ends a call to a bus. The call counts until release. endCall returns false if the call
// has ended before.
func (c *clients) endCall(x *busCall) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.over {
		return false
	}
	x.over = true
	if x.later == nil {
		x.client.sent = x.earlier
	} else {
		x.later.earlier = x.earlier
	}
	if x.earlier != nil {
		x.earlier.later = x.later
	}
	x.earlier, x.later = nil, nil
	c.endOne()
	return true
}

// release ends the counting of a call to a bus: its reply leaves.
func (c *clients) release(x *busCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unreserve(x.client, x.bytes)
	x.client.calls--
}

// endOne counts that a call has ended, with c.mu held.
func (c *clients) endOne() {
	if c.served--; c.idle != nil && c.served == 0 {
		close(c.idle)
	}
}

// removeClient forgets a client that has left the message bus, and ends its calls.
func (c *clients) removeClient(name string) {
	c.mu.Lock()
	var calls []*busCall
	if one := c.known[name]; one != nil {
		delete(c.known, name)
		one.gone = true
		if one.answers {
			c.answerers.Add(-1)
		}
		c.dropWaiting(one)
		calls = one.endCalls()
	}
	c.mu.Unlock()
	cancelAll(calls)
}

// endCalls ends the act of a client, and returns its calls to buses, which the caller cancels
// without the lock.
func (c *client) endCalls() (calls []*busCall) {
	if c.endAct != nil {
		c.endAct()
	}
	for x := c.sent; x != nil; x = x.earlier {
		x.cancelling = true
		calls = append(calls, x)
	}
	return calls
}

func cancelAll(calls []*busCall) {
	for _, x := range calls {
		x.cancel()
	}
}

// noteAnswerer notes that a client answers by sendResponse, in time or not.
func (c *clients) noteAnswerer(name string) {
	c.mu.Lock()
	one := c.findClientLocked([]byte(name))
	if !one.answers {
		one.answers = true
		c.answerers.Add(1)
	}
	c.mu.Unlock()
	c.identify(one) // so that one that has left is forgotten
}

// haveAnswerer reports whether a client that has answered by sendResponse is there.
func (c *clients) haveAnswerer() bool { return c.answerers.Load() > 0 }

// drain refuses further calls and waits for those in progress, at most until ctx ends.
func (c *clients) drain(ctx context.Context) {
	c.shut()
	select {
	case <-c.idle:
	case <-ctx.Done():
	}
}

// close refuses further calls, ends those in progress and waits for them.
func (c *clients) close() {
	c.shut()
	c.mu.Lock()
	var calls []*busCall
	for _, one := range c.known {
		calls = append(calls, one.endCalls()...)
	}
	c.mu.Unlock()
	cancelAll(calls)
	<-c.idle
}

func (c *clients) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		return
	}
	c.idle = make(chan struct{})
	if c.served == 0 {
		close(c.idle)
	}
}

// isShut reports whether calls are refused.
func (c *clients) isShut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle != nil
}

// lookup is the call that asks the message bus for a client's process.
type lookup struct {
	clients *clients
	client  *client
}

// lookupPlaces are more than lookups can take beside all other calls.
const lookupPlaces = handlerPlaces + 2*maxLookups

// identify has the process of a client looked up, once. It does not block.
func (c *clients) identify(one *client) {
	if one.asked.Load() || one.asked.Swap(true) {
		return
	}
	c.mu.Lock()
	c.lookups = append(c.lookups, one)
	c.mu.Unlock()
	c.startLookups()
}

// lookUpBy has lookups made by a connection. Calls may come before it is there.
func (c *clients) lookUpBy(conn *dbuswire.Conn) {
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	c.startLookups()
}

// startLookups starts lookups as long as there is room.
func (c *clients) startLookups() {
	for look, conn := c.nextLookup(); look != nil; look, conn = c.nextLookup() {
		if conn.StartBusCall("GetConnectionCredentials", look.client.name, look, dbuswire.Place{Extra: lookupPlaces}) != nil {
			look.identifyClient(bus.Unknown)
		}
	}
}

func (c *clients) nextLookup() (*lookup, *dbuswire.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || c.lookingUp >= maxLookups || len(c.lookups) == 0 {
		return nil, nil
	}
	c.lookingUp++
	one := c.lookups[0]
	c.lookups = c.lookups[1:]
	return &lookup{c, one}, c.conn
}

func (l *lookup) Replied(m *dbuswire.Message) {
	process, ok := parseCredentials(m)
	if !ok {
		process = bus.Unknown
	}
	l.identifyClient(process)
	if string(m.ErrorName) == xml.ErrorNoOwner {
		l.clients.left(l.client.name)
	}
	l.clients.startLookups()
}

func (l *lookup) Lost() {
	l.identifyClient(bus.Unknown)
	l.clients.startLookups()
}

// identifyClient identifies the client.
func (l *lookup) identifyClient(process bus.Process) {
	c, one := l.clients, l.client
	if c.programOf != nil {
		process = c.programOf(one.name, process)
	}
	one.Identify(process)
	c.mu.Lock()
	defer c.mu.Unlock()
	one.identified = true
	c.unknown -= one.unknown
	one.unknown = 0
	c.lookingUp--
}

// awaitIdentity returns when a client is identified, or ctx ends. The goroutine that reads a
// connection must not call it.
func (c *clients) awaitIdentity(ctx context.Context, one *client) {
	identified := make(chan struct{})
	if !one.Await(func() { close(identified) }) {
		return
	}
	c.identify(one)
	select {
	case <-identified:
	case <-ctx.Done():
	}
}

// parseCredentials reads ProcessID and UnixUserID of a reply to GetConnectionCredentials,
// a{sv} (D-Bus specification, "org.freedesktop.DBus.GetConnectionCredentials"). A process
// of another namespace may have no ID: it is 0.
func parseCredentials(m *dbuswire.Message) (p bus.Process, ok bool) {
	if m.Type != dbuswire.TypeReturn || string(m.Signature) != "a{sv}" {
		return p, false
	}
	r := m.Arguments()
	_ = r.Dictionary(func(key, signature string) error {
		switch {
		case key == "ProcessID" && signature == "u":
			p.PID = int32(r.Uint32())
		case key == "UnixUserID" && signature == "u":
			p.UID, ok = r.Uint32(), true
		default:
			r.Skip(signature)
		}
		return nil
	})
	return p, ok && r.OK()
}
