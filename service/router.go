package service

import (
	"context"

	"go.uber.org/zap"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
	"ipmbd/ipmi/bmc"
	"ipmbd/ipmi/bridge"
)

// openRouter makes what requests and events find their way by, beside the mux.
func (s *service) openRouter() error {
	own := new(bmc.Log)
	s.bmc = bmc.New(bmc.DeviceID, &bmc.Storage{Log: own})
	s.bridge = bridge.New(bridge.Config{
		Log:     &eventLog{system: s.server.SystemLog(), own: own, log: s.log},
		Publish: s.server.PlatformEvent,
	})
	return s.reserve()
}

// bridgeOwner is who serves the bridge's commands, for those who would register
// them.
const bridgeOwner = "the message bridge of ipmbd"

// reserve keeps the commands that the bridge serves from being registered.
func (s *service) reserve() error {
	var channels ipmi.ChannelMask
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

// newInterface is a channel as the bridge sees it.
func (s *service) newInterface(ch ChannelConfig) *bridge.Interface {
	return s.bridge.NewInterface(bridge.InterfaceConfig{
		Name:     ch.Name,
		Channel:  *ch.IPMIChannel,
		Host:     ch.DevIndex,
		Medium:   bridge.MediumIPMB,
		Protocol: bridge.ProtocolIPMB,
		Bridged:  ch.bridged(),
	})
}

// handler is what answers the requests of a channel, in this order: the policy
// denies them, the bridge takes what is its own, and then comes what is
// registered for the command, else the default that the channel names.
func (s *service) handler(ctx context.Context, ch ChannelConfig, object *dbusapi.BusObject, iface *bridge.Interface) (ipmi.Handler, error) {
	if err := s.setDefault(ctx, ch, object); err != nil {
		return nil, err
	}
	h := iface.Handler(&s.mux)
	if ch.Handler != HandlerSignal { // which announces requests to have them answered
		h = object.Announce(h)
	}
	return failureLog{s.config.filtered(ch.Name, h), s.log.With(zap.String("bus", ch.Name))}, nil
}

func (s *service) setDefault(ctx context.Context, ch ChannelConfig, object *dbusapi.BusObject) error {
	switch ch.Handler {
	case HandlerSignal:
		s.mux.SetDefault(ch.Name, object.SignalHandler())
	case HandlerBMC:
		s.mux.SetDefault(ch.Name, s.bmc)
	case HandlerHost:
		host, err := s.server.HostDaemon(ctx, ch.BusName)
		if err != nil {
			return err
		}
		s.mux.SetDefault(ch.Name, host)
	}
	return nil
}
