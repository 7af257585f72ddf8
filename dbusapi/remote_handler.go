package dbusapi

import (
	"context"
	"sync"

	"ipmbd/ipmi"
)

// How many calls of registered handlers are in progress, with those that were
// given up and not answered yet: a program that hangs leaves room for others,
// and all of them for the host daemon, which shares their connection.
const (
	maxCallsOfOwner    = 16 // by all of its handlers
	maxCallsOfHandlers = 64
)

// remoteHandler is an object of another program that answers requests. It
// implements ipmi.Handler.
type remoteHandler struct {
	target
	conn         *Conn
	router       *router
	patterns     []ipmi.Pattern
	registration *ipmi.Registration
	object       *object
}

// ServeIPMI calls execute of the object. The errors are those of
// HostDaemon.ServeIPMI.
func (h *remoteHandler) ServeIPMI(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	owner := h.destination
	if !h.router.calls.enter(owner) {
		return ipmi.Response{}, ipmi.ErrBusy
	}
	return h.conn.execute(ctx, &h.target, req, func() { h.router.calls.leave(owner) })
}

// calling is the calls of handlers in progress. The zero value is none.
type calling struct {
	mu     sync.Mutex
	all    int
	owners map[string]int // by unique name, those with calls
}

// enter begins a call of a handler, unless too many are in progress.
func (c *calling) enter(owner string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owners[owner] >= maxCallsOfOwner || c.all >= maxCallsOfHandlers {
		return false
	}
	if c.owners == nil {
		c.owners = make(map[string]int)
	}
	c.owners[owner]++
	c.all++
	return true
}

func (c *calling) leave(owner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.owners[owner]--; c.owners[owner] == 0 {
		delete(c.owners, owner)
	}
}
