package dbusapi

import (
	"sync/atomic"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
)

// remoteHandler is an object of another program that answers requests. It
// implements ipmi.Handler.
type remoteHandler struct {
	target
	client       *bus.Client // its program
	conn         *dbuswire.Conn
	router       *router
	late         *atomic.Uint64 // counts replies that came after the deadline
	patterns     []ipmi.Pattern
	registration *ipmi.Registration
	object       *object
}

// ServeIPMI calls execute of the object, when it is the turn of the request. The errors
// are those of HostDaemon.ServeIPMI.
func (h *remoteHandler) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	h.router.calls.add(h.client, execution{conn: h.conn, to: &h.target, req: req, reply: reply, late: h.late})
}
