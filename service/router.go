package service

import (
	"context"

	"ipmbd/bmc"
	"ipmbd/bridge"
	"ipmbd/dbusapi"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// openRouter makes what requests and events find their way by, beside the mux.
func (s *service) openRouter() error {
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

// setChannels says which channels there are: to the bridge, whose commands nobody
// else may register on those it serves, and to the BMC. If a program has registered one,
// the error is an *ipmi.OverlapError, and nothing has changed.
func (s *service) setChannels(configs []memberConfig) error {
	var all, bridged ipmi.ChannelMask
	for _, c := range configs {
		all |= c.channel().Mask()
		if c.bridged() {
			bridged |= c.channel().Mask()
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

// busInterface is a channel as the bridge sees it.
func (s *service) busInterface(ch config.Channel) *bridge.Interface {
	return s.newInterface(bridge.InterfaceConfig{
		Name:     ch.Name,
		Channel:  *ch.IPMIChannel,
		Host:     ch.DevIndex,
		Medium:   bridge.MediumIPMB,
		Protocol: bridge.ProtocolIPMB,
		Bridged:  ch.Bridged(),
	})
}

// newInterface makes an interface whose watchdog is the BMC's.
func (s *service) newInterface(config bridge.InterfaceConfig) *bridge.Interface {
	config.ClearPreTimeout = func() { s.bmc.ClearPreTimeout(config.Name) }
	return s.bridge.NewInterface(config)
}

// handler is what answers the requests of a channel that its policy lets through, in
// this order: the bridge takes what is its own, and then comes what is registered
// for the command, else the default that the channel names.
func (s *service) handler(ctx context.Context, ch config.Channel, object *dbusapi.BusObject, iface *bridge.Interface) (ipmi.Handler, error) {
	if err := s.setDefault(ctx, ch.Name, ch.Handler, ch.BusName, object); err != nil {
		return nil, err
	}
	if ch.Handler == config.HandlerBMC {
		s.server.Power().Follow(ch.DevIndex)
	}
	h := iface.Handler(&s.mux)
	if ch.Handler != config.HandlerSignal { // which announces requests to have them answered
		h = object.Announce(h)
	}
	return h, nil
}

// setDefault sets the handler of an interface's requests that no program is registered
// for. object is that of a bus.
func (s *service) setDefault(ctx context.Context, iface string, kind config.HandlerKind, busName string, object *dbusapi.BusObject) error {
	switch kind {
	case config.HandlerSignal:
		s.mux.SetDefault(iface, object.SignalHandler())
	case config.HandlerBMC:
		s.mux.SetDefault(iface, s.bmc)
	case config.HandlerHost:
		host, err := s.server.HostDaemon(ctx, busName)
		if err != nil {
			return err
		}
		s.mux.SetDefault(iface, host)
	}
	return nil
}
