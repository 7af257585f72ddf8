package bridge

import (
	"time"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// InterfaceConfig describes an interface.
type InterfaceConfig struct {
	Name     string
	Channel  ipmi.Channel
	Host     int
	Medium   Medium
	Protocol Protocol
	// Bridged: the bridge serves its commands on the interface.
	Bridged bool
	// MaxData is how many bytes of data a response on the interface may have, 0
	// for any number; nil for that of the bus.
	MaxData func() int
	// Attention is told when the attention has changed, in order. It must not
	// block; nil for nobody.
	Attention func(ipmi.Attention)
	// ClearPreTimeout is told that the host has seen the pre-timeout of its
	// watchdog; nil for nobody.
	ClearPreTimeout func()
}

// Interface is a bus or a system interface as the bridge knows it.
type Interface struct {
	bridge *Bridge
	config InterfaceConfig
	bus    *bus.Bus // nil: a system interface

	// Guarded by the bridge's mutex.
	queue    queue
	events   []record // of the event message buffer, the oldest first
	enables  enables
	deaf     ipmi.ChannelMask // channels from which nothing is received
	told     ipmi.Attention
	counters counters

	preTimeout bool // of the watchdog
}

// NewInterface makes an interface before its bus exists, so that the bus can be
// given its handler. Add makes it one of the bridge's.
func (b *Bridge) NewInterface(config InterfaceConfig) *Interface {
	if config.Attention == nil {
		config.Attention = func(ipmi.Attention) {}
	}
	if config.ClearPreTimeout == nil {
		config.ClearPreTimeout = func() {}
	}
	return &Interface{bridge: b, config: config, enables: enableLogging}
}

// Handler serves what is the bridge's of the requests that come in on the
// interface, and leaves all others to next.
func (i *Interface) Handler(next ipmi.Handler) ipmi.Handler {
	return ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
		switch {
		case i.config.Bridged && req.LUN == ipmi.SMSLUN && req.Requester != 0:
			reply.Answer(i.receive(req))
			return
		case i.config.Bridged && req.LUN == 0:
			if c, ok := lookUp(req.NetFn, req.Command); ok {
				c.run(i, req, reply)
				return
			}
		case isPlatformEvent(req):
			i.offerEvent(req, next, reply)
			return
		}
		next.ServeIPMI(req, reply)
	})
}

// Patience is how long a request from a bridged bus may take, for [ipmb.Config]: as
// long as the retries of the bus that it is sent on to, and the wait for a sequence
// number there. 0 is that of any other request.
func (i *Interface) Patience(f ipmb.Frame) time.Duration {
	if f.DestinationLUN != 0 || f.NetFn != ipmi.NetFnApp || f.Command != commandSendMessage || len(f.Data) == 0 {
		return 0
	}
	to := i.bridge.target(i, channelOf(f.Data[0]))
	if to == nil {
		return 0
	}
	const margin = time.Second
	return 2*to.bus.RetryPolicy().Or(ipmb.RetryPolicy{}).Duration() + margin
}

// maxData is how much data a response may have.
func (i *Interface) maxData() int {
	switch {
	case i.config.MaxData != nil:
		return i.config.MaxData()
	case i.bus != nil:
		return i.bus.MaxFrame() - ipmb.MinResponse
	}
	return 0
}

// carries reports whether a response with so many bytes of data fits.
func (i *Interface) carries(length int) bool {
	most := i.maxData()
	return most == 0 || length <= most
}
