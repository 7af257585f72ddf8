package dbusapi

import (
	"context"
	"errors"
	"fmt"

	"ipmbd/ipmi"
)

// maxExecutes is how many execute calls one connection has in progress, with
// those that were given up and not answered yet. The system bus lets a
// connection wait for 128 replies (dbus-daemon, max_replies_per_connection).
const maxExecutes = 100

// HostDaemon hands requests to the host IPMI daemon. It implements
// ipmi.Handler.
type HostDaemon struct{ conn *Conn }

// NewHostDaemon makes a handler whose calls leave from conn: the host daemon
// finds the IPMI channel by the name that the connection owns.
func NewHostDaemon(conn *Conn) *HostDaemon { return &HostDaemon{conn} }

// ServeIPMI calls execute. A daemon that is not running is ipmi.ErrAbsent, one
// that stops in the middle ipmi.ErrGone, one that is too slow ipmi.ErrTooSlow;
// too many calls in progress are ipmi.ErrBusy. A reply that does not fit the
// request is an error, as is every other failure.
func (h *HostDaemon) ServeIPMI(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	stream := h.conn.stream
	serial := stream.serials.GetSerial()
	ended := make(chan executed, 1)
	if !stream.pending.add(serial, maxExecutes, func(reply wireMessage) { ended <- parseExecuted(&reply) }) {
		return ipmi.Response{}, ipmi.ErrBusy
	}
	if _, err := stream.Write(marshalExecute(serial, req)); err != nil {
		return ipmi.Response{}, errHostLost
	}
	select {
	case x := <-ended:
		return x.answer(req)
	case <-h.conn.Done():
		return ipmi.Response{}, errHostLost
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ipmi.Response{}, ipmi.ErrTooSlow
	}
	return ipmi.Response{}, ctx.Err()
}

// errHostLost: nobody will answer.
var errHostLost = fmt.Errorf("%w: %w", ipmi.ErrGone, ErrDisconnected)
