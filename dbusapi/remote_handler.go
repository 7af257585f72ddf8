package dbusapi

import (
	"context"

	"ipmbd/ipmi"
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
	calls := &h.router.calls
	turn, err := calls.enter(ctx, h.destination)
	if err != nil {
		return ipmi.Response{}, err
	}
	return h.conn.execute(ctx, &h.target, req, callEnds{
		gaveUp: func() { calls.gaveUp(turn) },
		ended:  func() { calls.leave(turn) },
	})
}
