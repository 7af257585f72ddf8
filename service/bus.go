package service

import (
	"context"

	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/bus"
	"ipmbd/bus/i2cbus"
	"ipmbd/bus/openipmi"
	"ipmbd/ipmb"
	"ipmbd/service/config"
)

// makeBus makes an endpoint of a bus.
func (s *service) makeBus(ctx context.Context, e *endpoint) error {
	object, err := s.server.NewBus(e.name, e.index)
	if err != nil {
		return err
	}
	e.object, e.path, e.withdraw = object, object.Path(), object.Withdraw
	e.iface = s.newInterface(bridge.InterfaceConfig{
		Name: e.name, Channel: e.channel, Host: e.host, Bridged: e.bridged,
		Medium: bridge.MediumIPMB, Protocol: bridge.ProtocolIPMB,
	})
	if err := s.setHandler(ctx, e); err != nil {
		return err
	}
	log, keep := s.log.With(e.field()), func() {}
	engine := ipmb.Config{
		Interface: e.name, Channel: e.channel, Host: e.host, Handler: e.filter, Served: requestLog{log}.served,
	}
	switch c := e.entry.(type) {
	case config.Channel:
		e.bus, keep = i2cbus.New(s.channelConfig(c, e, s.busConfig(e, log), engine), &s.engines)
		s.bridge.Add(e.iface, e.bus)
	case config.OpenIPMI:
		e.bus = openipmi.New(openipmi.Config{
			Config: s.busConfig(e, log), Engine: engine, Path: c.Path, Mux: &s.mux, Commands: c.Commands,
			Report: e.iface.ReceiveEvent,
			Trouble: func(what string, lost int, err error) {
				level := zap.WarnLevel
				if lost > 0 {
					level = zap.ErrorLevel
				}
				log.Log(level, what, zap.Int("lost", lost), zap.Error(err))
			},
		})
	}
	e.runner = e.bus
	e.left = func(ctx context.Context) {
		if len(e.words) > 0 {
			s.server.ReleaseHostDaemon(ctx, e.words[0])
		}
		keep()
	}
	e.bus.Open(ctx)
	if err := object.Export(e.bus); err != nil {
		e.stopAndWait(ctx)
		s.forgetEndpoint(ctx, e)
		return err
	}
	s.buses.Add(e.bus)
	return nil
}

// busConfig is the configuration that all buses share.
func (s *service) busConfig(e *endpoint, log *zap.Logger) bus.Config {
	c := bus.Config{
		Name: e.name, Index: e.index, Channel: e.channel, Handler: e.handler.String(),
		Statistics: e.iface.Statistics,
		Changed:    func() { e.object.Changed(); s.statusChanged() },
		StateChanged: func(state bus.State, reason string) {
			level := zap.InfoLevel
			if state != bus.Up {
				level = zap.WarnLevel
			}
			log.Log(level, "bus state", zap.String("state", string(state)), zap.String("reason", reason))
		},
	}
	if log.Core().Enabled(zap.DebugLevel) {
		c.Ended = requestLog{log}.sent
	}
	return c
}

// channelConfig is the configuration of the bus of a channel.
func (s *service) channelConfig(c config.Channel, e *endpoint, b bus.Config, engine ipmb.Config) i2cbus.Config {
	b.MaxCalls, b.RemoteAddress = c.MaxCalls, c.RemoteAddress
	engine.Address, engine.RetryPolicy = c.BMCAddress, ipmb.RetryPolicy{Tries: c.Tries, Timeout: c.Timeout}
	engine.MaxFrame, engine.MaxHandlers = c.MaxFrame, c.MaxHandlers
	engine.HandlerTimeout, engine.DuplicateWindow = c.HandlerTimeout, c.DuplicateWindow
	engine.Received, engine.Together = e.object.Received, e.object.Together
	if e.bridged {
		engine.BridgeTimeout, engine.UnsolicitedResponse = e.iface.BridgeTimeout, e.iface.UnsolicitedResponse
	}
	all := i2cbus.Config{
		Config: b, Engine: engine, Path: c.SlavePath, Transport: c.Transport.String(), Unknown: i2cbus.Auto,
		AutoBind: s.config.OfIPMBBridge, FollowAddress: c.Found, Switches: c.Switches(),
	}
	if s.config.OfIPMBBridge {
		all.Unknown = config.TransportIPMBDev.String()
	}
	if all.Open = s.demo.opener(c); all.Open != nil {
		all.Transport = "simulated"
	}
	return all
}
