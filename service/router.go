package service

import (
	"context"

	"go.uber.org/zap"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
	"ipmbd/ipmi/bridge"
)

// openRouter makes what requests and events find their way by, beside the mux.
func (s *service) openRouter() error {
	s.interfaces = make(map[string]*bridge.Interface)
	s.bridge = bridge.New(bridge.Config{
		Log:     &eventLog{system: s.server.SystemLog(), own: s.storage.Log, log: s.log},
		Publish: s.server.PlatformEvent,
	})
	s.openBMC()
	return s.reserve()
}

// bridgeOwner is who serves the bridge's commands, for those who would register
// them.
const bridgeOwner = "the message bridge of ipmbd"

// reserve keeps the commands that the bridge serves from being registered.
func (s *service) reserve() error {
	var channels ipmi.ChannelMask
	for _, h := range s.config.Hosts {
		if h.bridged() {
			channels |= h.IPMIChannel.Mask()
		}
	}
	for _, ch := range s.config.Channels {
		if ch.bridged() {
			channels |= ch.IPMIChannel.Mask()
		}
	}
	if channels == 0 {
		return nil
	}
	_, err := s.mux.Reserve(bridgeOwner, bridge.Patterns(channels)...)
	return err
}

// busInterface is a channel as the bridge sees it.
func (s *service) busInterface(ch ChannelConfig) *bridge.Interface {
	return s.newInterface(bridge.InterfaceConfig{
		Name:     ch.Name,
		Channel:  *ch.IPMIChannel,
		Host:     ch.DevIndex,
		Medium:   bridge.MediumIPMB,
		Protocol: bridge.ProtocolIPMB,
		Bridged:  ch.bridged(),
	})
}

// newInterface makes an interface whose watchdog is the BMC's.
func (s *service) newInterface(config bridge.InterfaceConfig) *bridge.Interface {
	config.ClearPreTimeout = func() { s.bmc.ClearPreTimeout(config.Name) }
	iface := s.bridge.NewInterface(config)
	s.interfaces[config.Name] = iface
	return iface
}

// handler is what answers the requests of a channel, in this order: the policy
// denies them, the bridge takes what is its own, and then comes what is
// registered for the command, else the default that the channel names.
func (s *service) handler(ctx context.Context, ch ChannelConfig, object *dbusapi.BusObject, iface *bridge.Interface) (ipmi.Handler, error) {
	if err := s.setDefault(ctx, ch.Name, ch.Handler, ch.BusName, object); err != nil {
		return nil, err
	}
	if ch.Handler == HandlerBMC {
		s.server.Power().Follow(ch.DevIndex)
	}
	h := iface.Handler(&s.mux)
	if ch.Handler != HandlerSignal { // which announces requests to have them answered
		h = object.Announce(h)
	}
	return requestLog{s.config.filtered(ch.Name, h), s.log.With(zap.String("bus", ch.Name))}, nil
}

// setDefault sets who answers the requests of an interface that nobody is
// registered for. object is that of a bus.
func (s *service) setDefault(ctx context.Context, iface string, kind HandlerKind, busName string, object *dbusapi.BusObject) error {
	switch kind {
	case HandlerSignal:
		s.mux.SetDefault(iface, object.SignalHandler())
	case HandlerBMC:
		s.mux.SetDefault(iface, s.bmc)
	case HandlerHost:
		host, err := s.server.HostDaemon(ctx, busName)
		if err != nil {
			return err
		}
		s.mux.SetDefault(iface, host)
	}
	return nil
}
