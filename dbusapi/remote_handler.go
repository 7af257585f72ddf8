package dbusapi

import (
	"context"

	"ipmbd/ipmi"
)

// How many calls of registered handlers are in progress, with those that were
// given up and not answered yet: who hangs leaves room for others, and all of
// them for the host daemon, which shares their connection.
const (
	maxCallsOfHandler  = 16
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
	calls        int // in progress; of router.calling
}

// ServeIPMI calls execute of the object. The errors are those of
// HostDaemon.ServeIPMI.
func (h *remoteHandler) ServeIPMI(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	if !h.enter() {
		return ipmi.Response{}, ipmi.ErrBusy
	}
	return h.conn.execute(ctx, &h.target, req, h.leave)
}

// enter begins a call, unless too many are in progress.
func (h *remoteHandler) enter() bool {
	h.router.calling.Lock()
	defer h.router.calling.Unlock()
	if h.calls >= maxCallsOfHandler || h.router.calls >= maxCallsOfHandlers {
		return false
	}
	h.calls++
	h.router.calls++
	return true
}

func (h *remoteHandler) leave() {
	h.router.calling.Lock()
	defer h.router.calling.Unlock()
	h.calls--
	h.router.calls--
}
