package host

import (
	"context"
	"sync"
	"time"
)

// deadlineContext is what context.WithDeadline makes, but for its timer: that
// starts when somebody wants to be told, which most handlers do not.
type deadlineContext struct {
	context.Context
	deadline time.Time

	mu     sync.Mutex
	timed  context.Context // nil until somebody wants to be told
	cancel context.CancelFunc
	err    error // why it has ended, nil if it has not or if timed knows
}

// Deadline implements context.Context.
func (c *deadlineContext) Deadline() (time.Time, bool) {
	if parent, ok := c.Context.Deadline(); ok && parent.Before(c.deadline) {
		return parent, true
	}
	return c.deadline, true
}

// Done implements context.Context.
func (c *deadlineContext) Done() <-chan struct{} { return c.withTimer().Done() }

// Err implements context.Context.
func (c *deadlineContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.look()
		return c.err
	}
	return c.timed.Err()
}

// look notes whether the context has ended, without a timer. mu is held.
func (c *deadlineContext) look() {
	if c.err != nil {
		return
	}
	c.err = c.Context.Err()
	if c.err == nil && !time.Now().Before(c.deadline) {
		c.err = context.DeadlineExceeded
	}
}

// Value implements context.Context. With the timer it is the timer's: thereby
// contexts made of this one need no goroutine.
func (c *deadlineContext) Value(key any) any {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}

func (c *deadlineContext) withTimer() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		return c.timed
	}
	parent := c.Context
	if c.err == context.Canceled {
		ended, end := context.WithCancel(context.WithoutCancel(parent))
		end()
		parent = ended
	}
	c.timed, c.cancel = context.WithDeadline(parent, c.deadline)
	return c.timed
}

// end ends the context as the function of context.WithDeadline does.
func (c *deadlineContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		c.cancel()
		return
	}
	if c.look(); c.err == nil {
		c.err = context.Canceled
	}
}
