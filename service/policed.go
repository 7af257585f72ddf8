package service

import (
	"slices"
	"sync/atomic"

	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// policed lets through to a handler what the policy of an interface does not deny,
// which may change at any time.
type policed struct {
	iface string
	next  ipmi.Handler
	now   atomic.Pointer[ipmi.Handler] // filters, and next behind them
}

// police makes a handler that holds to the policy of a configuration.
func police(iface string, next ipmi.Handler, c config.Config) *policed {
	p := &policed{iface: iface, next: next}
	p.obey(c)
	return p
}

// obey makes the policy of a configuration hold from now on.
func (p *policed) obey(c config.Config) {
	filtered := filtered(c.Policy, p.iface, p.next)
	p.now.Store(&filtered)
}

// ServeIPMI implements ipmi.Handler.
func (p *policed) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	(*p.now.Load()).ServeIPMI(req, reply)
}

// filtered lets through to h what the policy does not deny on an interface.
func filtered(policy []config.CommandFilter, iface string, h ipmi.Handler) ipmi.Handler {
	for _, p := range slices.Backward(policy) {
		if len(p.Channels) == 0 || slices.Contains(p.Channels, iface) {
			h = &ipmi.Filter{Allow: p.Allow, Deny: p.Deny, Next: h}
		}
	}
	return h
}
