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
	index := indexOf(e.entry)
	object, err := s.server.NewBus(e.name, index)
	if err != nil {
		return err
	}
	e.object, e.path = object, object.Path()
	e.iface = s.newInterface(bridge.InterfaceConfig{
		Name: e.name, Channel: e.channel, Host: e.host, Bridged: e.bridged,
		Medium: bridge.MediumIPMB, Protocol: bridge.ProtocolIPMB,
	})
	if err := s.setHandler(ctx, e); err != nil {
		return err
	}
	log := s.log.With(e.field())
	common := s.busConfig(e, index, log)
	release := func(ctx context.Context) {
		if len(e.words) > 0 {
			s.server.ReleaseHostDaemon(ctx, e.words[0])
		}
	}
	e.left = release
	switch c := e.entry.(type) {
	case config.Channel:
		b, keep := i2cbus.New(s.channelConfig(c, e, common, log), &s.engines)
		e.bus = b
		e.left = func(ctx context.Context) {
			release(ctx)
			keep()
		}
		s.bridge.Add(e.iface, e.bus)
	case config.OpenIPMI:
		e.bus = s.newOpenIPMI(c, e, common, log)
	}
	e.runner = e.bus
	e.bus.Open(ctx)
	if err := object.Export(e.bus); err != nil {
		e.stopAndWait(ctx)
		s.forgetEndpoint(ctx, e)
		return err
	}
	s.buses.Add(e.bus)
	return nil
}

// indexOf is the index of a bus in org.openbmc.Ipmb.
func indexOf(e config.Entry) uint8 { return e.(interface{ Index() uint8 }).Index() }

// busConfig is what every bus is made of.
func (s *service) busConfig(e *endpoint, index uint8, log *zap.Logger) bus.Config {
	c := bus.Config{
		Name: e.name, Index: index, Channel: e.channel, Handler: e.handler.String(),
		Changed: func() { e.object.Changed(); s.statusChanged() },
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

// channelConfig is what the bus of a channel is made of.
func (s *service) channelConfig(
	c config.Channel, e *endpoint, common bus.Config, log *zap.Logger,
) i2cbus.Config {
	common.MaxCalls, common.RemoteAddress = c.MaxCalls, c.RemoteAddress
	engine := ipmb.Config{
		Address: c.BMCAddress, Interface: c.Name, Channel: e.channel, Host: c.DevIndex,
		RetryPolicy: ipmb.RetryPolicy{Tries: c.Tries, Timeout: c.Timeout},
		MaxFrame:    c.MaxFrame, MaxHandlers: c.MaxHandlers,
		Handler: e.filter, HandlerTimeout: c.HandlerTimeout, DuplicateWindow: c.DuplicateWindow,
		Received: e.object.Received, Together: e.object.Together,
		Served: requestLog{log}.served,
	}
	if e.bridged {
		engine.BridgeTimeout, engine.UnsolicitedResponse = e.iface.BridgeTimeout, e.iface.UnsolicitedResponse
	}
	bus := i2cbus.Config{
		Config: common, Engine: engine, Path: c.SlavePath,
		Transport: c.Transport.String(), Unknown: i2cbus.Auto, AutoBind: s.config.OfIPMBBridge,
		Switches: c.Switches(), Statistics: e.iface.Statistics,
	}
	if s.config.OfIPMBBridge {
		bus.Unknown = config.TransportIPMBDev.String()
	}
	if s.demo != nil && s.demo.has(c) {
		bus.Transport, bus.Open = "simulated", s.demo.open(c)
	}
	return bus
}

// newOpenIPMI makes the bus of an OpenIPMI device.
func (s *service) newOpenIPMI(c config.OpenIPMI, e *endpoint, common bus.Config, log *zap.Logger) *bus.Bus {
	return openipmi.New(openipmi.Config{
		Config: common, Path: c.Path, Host: c.DevIndex,
		Handler: e.filter, Mux: &s.mux, Commands: c.Commands,
		Served: requestLog{log}.served, Report: e.iface.ReceiveEvent, Statistics: e.iface.Statistics,
		Trouble: func(what string, lost int, err error) {
			if lost > 0 {
				log.Error(what, zap.Int("events", lost), zap.Error(err))
			} else {
				log.Warn(what, zap.Error(err))
			}
		},
	})
}
