package service

import (
	"sync/atomic"

	"ipmbd/ipmi"
)

// policed lets through to a handler what the policy of an interface does not deny,
// which may change at any time.
type policed struct {
	iface string
	next  ipmi.Handler
	now   atomic.Pointer[ipmi.Handler] // filters, and next behind them
}

// police makes a handler that holds to the policy of a configuration.
func police(iface string, next ipmi.Handler, c Config) *policed {
	p := &policed{iface: iface, next: next}
	p.obey(c)
	return p
}

// obey makes the policy of a configuration hold from now on.
func (p *policed) obey(c Config) {
	filtered := c.filtered(p.iface, p.next)
	p.now.Store(&filtered)
}

// ServeIPMI implements ipmi.Handler.
func (p *policed) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	(*p.now.Load()).ServeIPMI(req, reply)
}
