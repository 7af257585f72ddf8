package dbusapi

import "ipmbd/ipmi"

// Where the host IPMI daemon serves execute (phosphor-host-ipmid,
// ipmid-new.cpp).
const (
	hostName = "xyz.openbmc_project.Ipmi.Host"
	hostPath = "/xyz/openbmc_project/Ipmi"
)

var (
	hostDaemon = target{title: "host daemon", destination: hostName, path: hostPath}
	// systemInterfaceDaemon is the host daemon to a channel whose requesters have
	// no address.
	systemInterfaceDaemon = target{title: "host daemon", destination: hostName, path: hostPath, bare: true}
)

// HostDaemon hands requests to the host IPMI daemon. It implements
// ipmi.Handler.
type HostDaemon struct {
	conn *Conn
	to   *target
}

// NewHostDaemon makes a handler whose calls leave from conn: the host daemon
// finds the IPMI channel by the name that the connection owns.
func NewHostDaemon(conn *Conn) *HostDaemon { return &HostDaemon{conn, &hostDaemon} }

// ServeIPMI calls execute: calls reach the daemon in the order of the requests. A daemon
// that is not running is ipmi.ErrNotPresent, one that stops in the middle ipmi.ErrAbandoned; too
// many calls in progress, of all interfaces or of this one, are ipmi.ErrBusy. A reply that
// does not fit the request is an error, as is every other failure.
func (h *HostDaemon) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	x := &execution{conn: h.conn, to: h.to, req: req, reply: reply}
	x.start()
}
