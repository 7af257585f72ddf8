package dbusapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"ipmbd/bus"
)

// ErrLimit: a sender or a bus has too many calls in progress.
var ErrLimit = errors.New("too many calls in progress")

// errGone: the caller has left the message bus; nobody waits for the answer.
var errGone = errors.New("caller has left the message bus")

const (
	// maxGone is how many names that have left are remembered. A call may be
	// served a moment after its caller was seen to leave.
	maxGone = 1024
	// maxIdleCallers is how many callers without a call are kept for the next.
	maxIdleCallers = 256
)

// callers is who has calls in progress. It limits them in one place, by sender.
type callers struct {
	base context.Context // of all calls
	end  context.CancelFunc

	mu     sync.Mutex
	limit  int                // of calls of one sender
	names  map[string]*caller // those with calls, and some that had
	idlers int                // of names, those without calls
	gone   recent
	served int           // calls that have not ended
	idle   chan struct{} // closed when no call is left; nil while calls are let in
}

// caller is a sender. Its calls end when it leaves.
type caller struct {
	name string
	// calls is how many count: those in progress, and those whose reply waits to
	// be written.
	calls int
	// client is the caller to the buses. It is being identified, or is, if asked.
	client bus.Client
	asked  atomic.Bool
	sent   *busCall // of those to a bus that have not ended, the last
	// ctx is that of all other calls; nil before the first of them.
	ctx context.Context
	end context.CancelFunc
}

func newCallers(base context.Context, limit int) *callers {
	base, end := context.WithCancel(base)
	return &callers{base: base, end: end, limit: limit, names: make(map[string]*caller), gone: newRecent(maxGone)}
}

func (c *callers) setLimit(limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = limit
}

// enter begins a call of a sender. Each success needs one leave.
func (c *callers) enter(name []byte) (*caller, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.admit(name)
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

// enterCall begins a call to a bus. Each success needs one ended and one release.
func (c *callers) enterCall(name []byte, x *busCall) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	one, err := c.admit(name)
	if err != nil {
		return err
	}
	x.to.destination = one.name
	x.caller, x.earlier = one, one.sent
	if x.earlier != nil {
		x.earlier.later = x
	}
	one.sent = x
	return nil
}

func (c *callers) admit(name []byte) (*caller, error) {
	if c.idle != nil || c.gone.has(name) {
		return nil, errGone
	}
	one := c.names[string(name)]
	switch {
	case one == nil:
		one = &caller{name: string(name)}
		c.names[one.name] = one
	case one.calls >= c.limit:
		return nil, ErrLimit
	case one.calls == 0:
		c.idlers--
	}
	one.calls++
	c.served++
	return one, nil
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

// leave ends a call.
func (c *callers) leave(one *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endOne()
	c.releaseOne(one)
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

// release is the end of a call's reply.
func (c *callers) release(one *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releaseOne(one)
}

func (c *callers) endOne() {
	c.served--
	if c.idle != nil && c.served == 0 {
		close(c.idle)
	}
}

func (c *callers) releaseOne(one *caller) {
	one.calls--
	if one.calls > 0 {
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

// left ends the calls of a name that has left the message bus.
func (c *callers) left(name string) {
	c.mu.Lock()
	c.gone.add(name)
	var calls []*busCall
	if one := c.names[name]; one != nil {
		calls = c.endCalls(one)
		if one.calls == 0 {
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
