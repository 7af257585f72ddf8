package dbusapi

import (
	"context"

	"ipmbd/ipmi"
)

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

// ServeIPMI calls execute. A daemon that is not running is ipmi.ErrAbsent, one
// that stops in the middle ipmi.ErrGone, one that is too slow ipmi.ErrTooSlow;
// too many calls in progress are ipmi.ErrBusy. A reply that does not fit the
// request is an error, as is every other failure.
func (h *HostDaemon) ServeIPMI(ctx context.Context, req *ipmi.Request) (ipmi.Response, error) {
	return h.conn.execute(ctx, h.to, req, callEnds{func() {}, func() {}})
}
