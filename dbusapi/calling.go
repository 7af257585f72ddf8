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

// calling is the calls of handlers. What there is no room for waits in line for
// its program, unless all that takes up the room was given up: that may last.
// The zero value is ready.
type calling struct {
	mu      sync.Mutex
	all     int
	givenUp int               // of all
	owners  map[string]*owner // by unique name, those with calls or with a line
}

// owner is a program that serves.
type owner struct {
	calls   int
	givenUp int // of calls
	line    []*turn
}

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
	if c.owners == nil {
		c.owners = make(map[string]*owner)
	}
	if c.owners[name] == nil {
		c.owners[name] = new(owner)
	}
	c.owners[name].line = append(c.owners[name].line, t)
	c.admit(name)
	c.mu.Unlock()
	select {
	case ok := <-t.came:
		if !ok {
			return nil, ipmi.ErrBusy
		}
		return t, nil
	case <-ctx.Done():
	}
	if c.leaveLine(t) {
		return nil, endOf(ctx)
	}
	if !<-t.came {
		return nil, ipmi.ErrBusy
	}
	return t, nil
}

// admit lets those in line for a program begin, as far as there is room, and
// sends them away if it hangs.
func (c *calling) admit(name string) {
	o := c.owners[name]
	for len(o.line) > 0 && o.calls < maxCallsOfOwner && c.all < maxCallsOfHandlers {
		o.calls++
		c.all++
		o.next() <- true
	}
	if o.calls >= maxCallsOfOwner && o.givenUp == o.calls || c.all >= maxCallsOfHandlers && c.givenUp == c.all {
		for len(o.line) > 0 {
			o.next() <- false
		}
	}
	if o.calls == 0 && len(o.line) == 0 {
		delete(c.owners, name)
	}
}

// next takes the first out of the line.
func (o *owner) next() chan<- bool {
	first := o.line[0]
	o.line = o.line[1:]
	return first.came
}

// leaveLine reports whether t was in the line still.
func (c *calling) leaveLine(t *turn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.owners[t.owner]
	if o == nil {
		return false
	}
	i := slices.Index(o.line, t)
	if i < 0 {
		return false
	}
	o.line = slices.Delete(o.line, i, i+1)
	c.admit(t.owner)
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
	c.admitAll(t.owner, c.all >= maxCallsOfHandlers)
}

// leave ends a call.
func (c *calling) leave(t *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.ended = true
	o := c.owners[t.owner]
	o.calls--
	if t.givenUp {
		c.givenUp--
		o.givenUp--
	}
	c.all--
	c.admitAll(t.owner, c.all == maxCallsOfHandlers-1)
}

// admitAll is admit for a program and then, where there was no room for all, for
// the others.
func (c *calling) admitAll(name string, others bool) {
	c.admit(name)
	if !others {
		return
	}
	for name := range c.owners {
		c.admit(name)
	}
}
