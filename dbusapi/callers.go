package dbusapi

import (
	"context"
	"errors"
	"sync"
)

// ErrLimit: a sender or a bus has too many calls in progress.
var ErrLimit = errors.New("too many calls in progress")

// errGone: the caller has left the message bus; nobody waits for the answer.
var errGone = errors.New("caller has left the message bus")

// maxGone is how many names that have left are remembered. A call is served by
// a goroutine that may start after its caller was seen to leave, a moment ago.
const maxGone = 1024

// callers is who has calls in progress.
type callers struct {
	base context.Context // of all calls
	end  context.CancelFunc

	mu    sync.Mutex
	limit int                // of calls of one sender
	names map[string]*caller // those with calls in progress
	gone  recent
	idle  chan struct{} // closed when no call is left; nil while calls are let in
}

// caller is a sender with at least one call in progress. Its calls share one
// context, since they all end when it leaves.
type caller struct {
	name  string
	ctx   context.Context
	end   context.CancelFunc
	calls int
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
func (c *callers) enter(name string) (*caller, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil || c.gone.has(name) {
		return nil, errGone
	}
	one := c.names[name]
	if one == nil {
		one = &caller{name: name}
		one.ctx, one.end = context.WithCancel(c.base)
		c.names[name] = one
	}
	if one.calls >= c.limit {
		return nil, ErrLimit
	}
	one.calls++
	return one, nil
}

// leave ends a call.
func (c *callers) leave(one *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one.calls--
	if one.calls > 0 {
		return
	}
	one.end()
	delete(c.names, one.name)
	if c.idle != nil && len(c.names) == 0 {
		close(c.idle)
	}
}

// left ends the calls of a name that has left the message bus.
func (c *callers) left(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone.add(name)
	if one := c.names[name]; one != nil {
		one.end()
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
	<-c.idle
}

func (c *callers) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		return
	}
	c.idle = make(chan struct{})
	if len(c.names) == 0 {
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

func (r *recent) has(name string) bool {
	_, ok := r.set[name]
	return ok
}

func (r *recent) add(name string) {
	if r.has(name) {
		return
	}
	delete(r.set, r.ring[r.next])
	r.ring[r.next] = name
	r.set[name] = struct{}{}
	r.next = (r.next + 1) % len(r.ring)
}
