package dbusapi

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"ipmbd/bus"
)

// ErrLimit: a program or a bus has too many calls in progress.
var ErrLimit = errors.New("too many calls in progress")

// errGone: the caller has left the message bus; its answer has no reader.
var errGone = errors.New("caller has left the message bus")

const (
	// maxGone is how many names that have left are remembered. A call may be
	// served a moment after its caller was seen to leave.
	maxGone = 1024
	// maxIdleCallers is how many callers without a call are kept for the next.
	maxIdleCallers = 1024
	// maxHeld is how many bytes of calls to buses wait until their callers are
	// identified. A caller has at most as many as are left to others.
	maxHeld = 512 << 10
)

// callers are the senders with calls in progress. They limit the calls of a connection, and
// the calls to buses of all connections of a program, and of a user other than root,
// together. These have half of what all buses have, so that a program which uses many buses
// is not refused.
// Other calls are limited by program where they wait, in backlogs.
type callers struct {
	base context.Context // of all calls
	end  context.CancelFunc

	mu     sync.Mutex
	shares *bus.Shares        // of calls to buses
	limit  int                // of calls of one connection
	places int                // of all buses
	names  map[string]*caller // those with uses, and some that had
	idlers int                // of names, those without uses
	held   int                // bytes of calls in callers' held
	gone   recent
	served int           // calls that have not ended
	idle   chan struct{} // closed when no call is left; nil while calls are let in
}

// caller is a sender. Its calls end when it leaves.
type caller struct {
	name  string
	calls int // that count: in progress, or their reply waits to be written
	// uses is what keeps it in callers: calls in progress, those whose reply waits to
	// be written, and what else needs its context or client.
	uses int
	// client is the caller to the buses, and to all else that programs share. It is being
	// identified, or is, if asked.
	client bus.Client
	asked  atomic.Bool
	// held is calls to buses that have no place until client is identified, in order. All
	// that come are held until those before them have been sent.
	held    []*busCall
	holds   bool
	holding int      // bytes
	sent    *busCall // of those to a bus that have not ended, the last
	// ctx is that of all other calls; nil before the first of them.
	ctx context.Context
	end context.CancelFunc
}

func newCallers(base context.Context, limit int) *callers {
	base, end := context.WithCancel(base)
	return &callers{
		base: base, end: end, limit: limit, shares: bus.NewShares(programLimits(limit, 0)),
		names: make(map[string]*caller), gone: newRecent(maxGone),
	}
}

func (c *callers) setLimit(limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = limit
	c.shares.SetLimits(programLimits(c.limit, c.places))
}

// addPlaces says how many calls more all buses may have in progress.
func (c *callers) addPlaces(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.places += n
	c.shares.SetLimits(programLimits(c.limit, c.places))
}

// programLimits is how many calls a program may have, with so many on one connection, and
// so many places of all buses.
func programLimits(limit, places int) bus.Limits {
	half := max(limit, places/2)
	return bus.Limits{Program: half, User: half}
}

// use finds a sender. Each use needs one unuse.
func (c *callers) use(name []byte) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.useOne(name)
}

func (c *callers) useOne(name []byte) *caller {
	one := c.names[string(name)]
	switch {
	case one == nil:
		one = &caller{name: string(name)}
		c.names[one.name] = one
	case one.uses == 0:
		c.idlers--
	}
	one.uses++
	return one
}

// useAgain is use of a caller that is in use.
func (c *callers) useAgain(one *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one.uses++
}

// unuse is the end of a use.
func (c *callers) unuse(one *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unuseOne(one)
}

func (c *callers) unuseOne(one *caller) {
	one.uses--
	if one.uses > 0 {
		return
	}
	if one.ctx != nil {
		one.end()
		one.ctx = nil
	}
	if c.idlers >= maxIdleCallers || c.gone.hasName(one.name) {
		delete(c.names, one.name)
		return
	}
	c.idlers++
}

// enter begins a call that is not to a bus, of a sender that is in use. Each success needs
// one leave.
func (c *callers) enter(one *caller) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.idle != nil || c.gone.hasName(one.name):
		return errGone
	case one.calls >= c.limit:
		return ErrLimit
	}
	one.calls++
	c.served++
	return nil
}

// leave ends a call.
func (c *callers) leave(one *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one.calls--
	c.endOne()
}

// check is why a sender's call is not to be served that is served in no time.
func (c *callers) check(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.names[name]
	switch {
	case c.idle != nil || c.gone.hasName(name):
		return errGone
	case one != nil && one.calls >= c.limit:
		return ErrLimit
	}
	return nil
}

// enterCall begins a call to a bus. Each success needs one ended and one release. A call
// that is held is sent by sendHeld, which may have done so when this returns. valid says that
// the call can be sent.
func (c *callers) enterCall(name []byte, x *busCall, valid bool) (one *caller, held bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil || c.gone.has(name) {
		return nil, false, errGone
	}
	one = c.useOne(name)
	x.to.Destination = one.name
	x.caller = one
	if err := c.placeOf(x, valid); err != nil {
		c.unuseOne(one)
		return nil, false, err
	}
	one.calls++
	c.served++
	x.earlier = one.sent
	if x.earlier != nil {
		x.earlier.later = x
	}
	one.sent = x
	return one, !x.placed, nil
}

// placeOf gives a call its place, or holds it.
func (c *callers) placeOf(x *busCall, valid bool) error {
	one, server := x.caller, x.server
	if one.calls >= c.limit {
		return ErrLimit
	}
	admission := bus.Unsure
	if !one.holds {
		admission = c.shares.Enter(&one.client, 1)
	}
	x.placed = admission == bus.Admitted
	length := len(x.request.Data) + callOverhead
	switch {
	case x.placed:
		return nil
	case admission == bus.Refused, !valid, one.holding+length > maxHeld-c.held:
		return ErrLimit
	case !one.holds && !one.client.Await(func() { server.sendHeld(one) }): // It was identified just now.
		return c.placeOf(x, valid)
	}
	x.request.Data = bytes.Clone(x.request.Data)
	one.holds = true
	one.held = append(one.held, x)
	one.holding += length
	c.held += length
	return nil
}

// nextHeld takes the first call of a sender that is held, nil when there is none. The error
// is why it is not to be sent.
func (c *callers) nextHeld(one *caller) (*busCall, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(one.held) == 0 {
		one.held, one.holds = nil, false
		return nil, nil
	}
	x := one.held[0]
	one.held = one.held[1:]
	length := len(x.request.Data) + callOverhead
	one.holding -= length
	c.held -= length
	switch {
	case x.over:
		return x, context.Canceled
	case c.shares.Enter(&one.client, 1) != bus.Admitted:
		return x, ErrLimit
	}
	x.placed = true
	return x, nil
}

// contextOf is the context of a caller's calls that are not to a bus.
func (c *callers) contextOf(one *caller) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.ctx == nil {
		one.ctx, one.end = context.WithCancel(c.base)
		if c.gone.hasName(one.name) {
			one.end()
		}
	}
	return one.ctx
}

// ended ends a call to a bus, which counts until release. It reports whether the
// call had not ended before.
func (c *callers) ended(x *busCall) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.over {
		return false
	}
	x.over = true
	if x.later == nil {
		x.caller.sent = x.earlier
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

// release is the end of the reply to a call to a bus.
func (c *callers) release(x *busCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.placed {
		c.shares.Leave(&x.caller.client, 1)
	}
	x.caller.calls--
	c.unuseOne(x.caller)
}

func (c *callers) endOne() {
	c.served--
	if c.idle != nil && c.served == 0 {
		close(c.idle)
	}
}

// left ends the calls of a name that has left the message bus.
func (c *callers) left(name string) {
	c.mu.Lock()
	c.gone.add(name)
	var calls []*busCall
	if one := c.names[name]; one != nil {
		calls = c.endCalls(one)
		if one.uses == 0 {
			c.idlers--
			delete(c.names, name)
		}
	}
	c.mu.Unlock()
	cancelAll(calls)
}

// endCalls ends what can be ended with c.mu held, and gives the calls to buses, which
// are to be cancelled without it.
func (c *callers) endCalls(one *caller) []*busCall {
	if one.ctx != nil {
		one.end()
	}
	var calls []*busCall
	for x := one.sent; x != nil; x = x.earlier {
		x.kept = true
		calls = append(calls, x)
	}
	return calls
}

func cancelAll(calls []*busCall) {
	for _, x := range calls {
		x.cancel()
	}
}

// drain lets no more calls in and waits for those in progress, at most until
// ctx ends.
func (c *callers) drain(ctx context.Context) {
	c.shut()
	select {
	case <-c.idle:
	case <-ctx.Done():
	}
}

// close ends all calls, waits for them, and lets no more in.
func (c *callers) close() {
	c.shut()
	c.end()
	c.mu.Lock()
	var calls []*busCall
	for _, one := range c.names {
		calls = append(calls, c.endCalls(one)...)
	}
	c.mu.Unlock()
	cancelAll(calls)
	<-c.idle
}

// isShut reports whether no more calls are let in.
func (c *callers) isShut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle != nil
}

func (c *callers) shut() {
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

// recent is a set of bounded size that forgets the oldest.
type recent struct {
	set  map[string]struct{}
	ring []string
	next int
}

func newRecent(size int) recent {
	return recent{set: make(map[string]struct{}), ring: make([]string, size)}
}

func (r *recent) has(name []byte) bool {
	_, ok := r.set[string(name)]
	return ok
}

func (r *recent) hasName(name string) bool {
	_, ok := r.set[name]
	return ok
}

func (r *recent) add(name string) {
	if r.hasName(name) {
		return
	}
	delete(r.set, r.ring[r.next])
	r.ring[r.next] = name
	r.set[name] = struct{}{}
	r.next = (r.next + 1) % len(r.ring)
}
