package dbusapi

import (
	"ipmbd/bus"
	"ipmbd/ipmi"
)

// remoteHandler is an object of another program that answers requests. It
// implements ipmi.Handler.
type remoteHandler struct {
	target
	client       *bus.Client // its program
	conn         *Conn
	router       *router
	patterns     []ipmi.Pattern
	registration *ipmi.Registration
	object       *object
}

// ServeIPMI calls execute of the object, when it is the turn of the request. The errors
// are those of HostDaemon.ServeIPMI.
func (h *remoteHandler) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	h.router.calls.add(h.client, execution{conn: h.conn, to: &h.target, req: req, reply: reply})
}
