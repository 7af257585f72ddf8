package dbusapi

import (
	"context"
	"slices"
	"sync"

	"ipmbd/ipmi"
)

// How many calls of registered handlers are on the connection, with those that
// were given up and not answered yet: a program that hangs leaves room for
// others, and all of them for the host daemon, which shares the connection.
const (
	maxCallsOfOwner    = 16 // of all handlers of a program
	maxCallsOfHandlers = 64
)

// calling is the calls of handlers. What there is no room for waits in line, in
// which who came first goes first as far as its program has room, unless all that
// takes up the room was given up: that may last. The zero value is ready.
type calling struct {
	mu      sync.Mutex
	all     int
	givenUp int               // of all
	owners  map[string]*owner // by unique name, those with calls
	line    []*turn
}

// owner is a program that has calls.
type owner struct{ calls, givenUp int }

// turn is a call's place in the line, and then among the calls.
type turn struct {
	owner string
	came  chan bool // false: there will be no room
	// givenUp and ended are of a call.
	givenUp, ended bool
}

// enter begins a call of a program's handler, when there is room. The errors are
// ipmi.ErrBusy and that of ctx.
func (c *calling) enter(ctx context.Context, name string) (*turn, error) {
	t := &turn{owner: name, came: make(chan bool, 1)}
	c.mu.Lock()
	c.line = append(c.line, t)
	c.admit()
	c.mu.Unlock()
	select {
	case ok := <-t.came:
		return t.begun(ok)
	case <-ctx.Done():
	}
	if c.leaveLine(t) {
		return nil, endOf(ctx)
	}
	return t.begun(<-t.came)
}

func (t *turn) begun(ok bool) (*turn, error) {
	if !ok {
		return nil, ipmi.ErrBusy
	}
	return t, nil
}

// admit lets those in line begin for whom there is room, and sends those away for
// whom there will be none.
func (c *calling) admit() {
	c.line = slices.DeleteFunc(c.line, func(t *turn) bool {
		o := c.owners[t.owner]
		if o == nil {
			o = new(owner)
		}
		switch {
		case o.calls < maxCallsOfOwner && c.all < maxCallsOfHandlers:
			c.begin(t, o)
			t.came <- true
			return true
		case o.calls >= maxCallsOfOwner && o.givenUp == o.calls, c.all >= maxCallsOfHandlers && c.givenUp == c.all:
			t.came <- false
			return true
		}
		return false
	})
}

func (c *calling) begin(t *turn, o *owner) {
	if c.owners == nil {
		c.owners = make(map[string]*owner)
	}
	c.owners[t.owner] = o
	o.calls++
	c.all++
}

// leaveLine reports whether t was in the line still.
func (c *calling) leaveLine(t *turn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.line, t)
	if i < 0 {
		return false
	}
	c.line = slices.Delete(c.line, i, i+1)
	return true
}

// gaveUp says that nobody waits for a call any more.
func (c *calling) gaveUp(t *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.ended {
		return
	}
	t.givenUp = true
	c.givenUp++
	c.owners[t.owner].givenUp++
	c.admit()
}

// leave ends a call.
func (c *calling) leave(t *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.ended = true
	o := c.owners[t.owner]
	o.calls--
	c.all--
	if t.givenUp {
		o.givenUp--
		c.givenUp--
	}
	if o.calls == 0 {
		delete(c.owners, t.owner)
	}
	c.admit()
}
