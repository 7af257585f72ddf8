package service

import (
	"context"
	"slices"
	"sync/atomic"

	"ipmbd/bmc"
	"ipmbd/bridge"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// openHandlers makes what requests and events find their way by, beside the mux.
func (s *service) openHandlers() error {
	s.bridge = bridge.New(bridge.Config{
		Blocking: s.blocking,
		Log:      &eventLog{system: s.server.SystemLog(), own: s.bmc.Log(), log: s.log},
		Now:      s.bmc.Log().Now,
		Publish:  s.server.PlatformEvent,
	})
	s.server.ServeStorage(s.bmc)
	s.moveLAN(bmc.DefaultLANChannel)
	var err error
	s.reserved, err = s.mux.Reserve(bridgeOwner)
	return err
}

// bridgeOwner names the owner of the bridge's commands to programs that want to register
// them.
const bridgeOwner = "the message bridge of ipmbd"

// setChannels says which channels there are: to the bridge, whose commands programs cannot
// register on those it serves, and to the BMC. If a program has registered one, the error is an
// *ipmi.OverlapError, and nothing has changed.
func (s *service) setChannels(plans []plan) error {
	var all, bridged ipmi.ChannelMask
	for _, p := range plans {
		all |= p.channel.Mask()
		if p.bridged {
			bridged |= p.channel.Mask()
		}
	}
	var patterns []ipmi.Pattern
	if bridged != 0 {
		patterns = bridge.Patterns(bridged)
	}
	reserved, err := s.reserved.Replace(patterns...)
	if err != nil {
		return err
	}
	s.reserved = reserved
	lan := lanChannel(all)
	s.moveLAN(lan)
	s.bmc.SetChannels(lan, all)
	return nil
}

// newInterface makes an interface whose watchdog is the BMC's.
func (s *service) newInterface(config bridge.InterfaceConfig) *bridge.Interface {
	config.ClearPreTimeout = func() { s.bmc.ClearPreTimeout(config.Name) }
	return s.bridge.NewInterface(config)
}

// setHandler makes the handler of an endpoint's requests, e.filter. A request that the command
// filters let through goes to the bridge, if the command is the bridge's, and else to the program
// that is registered for the command, or to handlerFor.
func (s *service) setHandler(ctx context.Context, e *endpoint) error {
	h, err := s.handlerFor(ctx, e)
	if err != nil {
		return err
	}
	s.mux.SetDefault(e.name, h)
	next := e.iface.Handler(&s.mux)
	if e.isBus && e.handler != config.HandlerSignal { // which announces requests to have them answered
		next = e.object.Announce(next)
	}
	e.filter = &commandFilter{EffectTeller: &s.mux, iface: e.name, next: next}
	e.filter.set(s.config.Filters)
	return nil
}

// handlerFor decides who serves those requests of an endpoint that no program is registered for;
// nil is that they are answered C1h. The built-in BMC follows OpenBMC's view of the power of a
// host that is no virtual machine.
func (s *service) handlerFor(ctx context.Context, e *endpoint) (ipmi.Handler, error) {
	switch {
	case e.handler == config.HandlerNone:
		return nil, nil
	case e.handler == config.HandlerBMC:
		if e.isBus || e.system.config.Type != config.HostVM {
			s.server.Power().Follow(e.host)
		}
		return s.bmc, nil
	case e.handler == config.HandlerSignal: // of a bus
		return e.object.SignalHandler(), nil
	case e.isBus:
		return s.server.HostDaemon(ctx, e.words[0])
	case e.hostIPMI:
		return s.server.AddHostIPMI(ctx, e.system.object, e.system.sms())
	}
	return e.system.object.Daemon(), nil
}

// commandFilter lets through to a handler what the configuration does not deny on an interface,
// which may change at any time.
type commandFilter struct {
	ipmi.EffectTeller // programs that are registered know the effect of their commands

	iface string
	next  ipmi.Handler
	now   atomic.Pointer[ipmi.Handler] // filters, and next behind them
}

// set makes filters of a configuration hold from now on.
func (f *commandFilter) set(filters []config.CommandFilter) {
	h := f.next
	for _, one := range slices.Backward(filters) {
		if len(one.Channels) == 0 || slices.Contains(one.Channels, f.iface) {
			h = &ipmi.Filter{Allow: one.Allow, Deny: one.Deny, Next: h}
		}
	}
	f.now.Store(&h)
}

// ServeIPMI implements ipmi.Handler.
func (f *commandFilter) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	(*f.now.Load()).ServeIPMI(req, reply)
}
