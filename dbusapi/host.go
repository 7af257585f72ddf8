package dbusapi

import (
	"sync/atomic"

	"ipmbd/ipmi"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

var (
	hostDaemon = target{title: "host daemon", destination: xml.HostDaemonName, path: xml.HostDaemonPath}
	// systemInterfaceDaemon is the host daemon to a channel whose requesters have
	// no address.
	systemInterfaceDaemon = target{title: "host daemon", destination: xml.HostDaemonName, path: xml.HostDaemonPath, bare: true}
)

// HostDaemon hands requests to the host IPMI daemon. It implements
// ipmi.Handler.
type HostDaemon struct {
	conn *dbuswire.Conn
	to   *target
	late *atomic.Uint64 // counts replies that came after the deadline
}

// NewHostDaemon makes a handler whose calls leave from conn: the host daemon
// finds the IPMI channel by the name that the connection owns.
func NewHostDaemon(conn *dbuswire.Conn) *HostDaemon {
	return &HostDaemon{conn, &hostDaemon, new(atomic.Uint64)}
}

// ServeIPMI calls execute: calls reach the daemon in the order of the requests. A daemon
// that is not running is ipmi.ErrNotPresent, one that stops in the middle ipmi.ErrAbandoned; too
// many calls in progress, of all interfaces or of this one, are ipmi.ErrBusy. A reply that
// does not fit the request is an error, as is every other failure.
func (h *HostDaemon) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	x := &execution{conn: h.conn, to: h.to, req: req, reply: reply, late: h.late}
	x.start()
}
