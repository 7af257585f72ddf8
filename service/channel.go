package service

import (
	"context"

	"github.com/godbus/dbus/v5"

	"ipmbd/bridge"
	"ipmbd/dbusapi"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// channel is a bus with its object on D-Bus. It is the part of a member.
type channel struct {
	Bus
	service *service
	config  config.Channel
	object  *dbusapi.BusObject
	iface   *bridge.Interface
	policed *policed
	left    func() // what the bus leaves behind is kept for its successor
}

// channelConfig is a channel of the configuration.
type channelConfig struct{ config.Channel }

// name, entry, channel, bridged and busNames implement memberConfig.
func (c channelConfig) name() string          { return c.Name }
func (c channelConfig) entry() config.Entry   { return c.Channel }
func (c channelConfig) channel() ipmi.Channel { return *c.IPMIChannel }
func (c channelConfig) bridged() bool         { return c.Bridged() }

func (c channelConfig) busNames() (words []string, hostIPMI bool) {
	if c.Handler == config.HandlerHost {
		words = []string{c.BusName}
	}
	return words, false
}

// make implements memberConfig.
func (c channelConfig) make(ctx context.Context, s *service) (part, error) {
	ch, handler, err := s.newChannel(ctx, c.Channel, s.busInterface(c.Channel))
	if err != nil {
		return nil, err
	}
	served := struct {
		ipmi.Handler
		ipmi.EffectTeller // handlers that are registered know the effect of their commands
	}{handler, &s.mux}
	bus := newEngineBus(c.Channel, newDevice(c.Channel, s.machine(c.Channel), s.config.OfIPMBBridge), served, ch.iface, &objectObserver{s, ch.object}, s.log)
	s.engines.renew(bus)
	ch.left = func() { s.engines.keep(bus) }
	s.bridge.Add(ch.iface, bus.Clients())
	return ch.export(ctx, bus)
}

// newChannel makes a channel without a bus, and the handler of its requests.
func (s *service) newChannel(ctx context.Context, c config.Channel, iface *bridge.Interface) (*channel, ipmi.Handler, error) {
	object, err := s.server.NewBus(c.Name, c.Index())
	if err != nil {
		return nil, nil, err
	}
	ch := &channel{service: s, config: c, object: object, iface: iface, left: func() {}}
	next, err := s.handler(ctx, c, object, iface)
	if err != nil {
		return nil, nil, err
	}
	ch.policed = police(c.Name, next, s.config)
	return ch, ch.policed, nil
}

// export opens the bus of the channel and shows it. After an error nothing of them is
// left.
func (c *channel) export(ctx context.Context, bus Bus) (part, error) {
	c.Bus = bus
	bus.Open(ctx)
	if err := c.service.server.AddBus(c.object, bus); err != nil {
		(&member{part: c}).end(ctx)
		c.forget(ctx)
		return nil, err
	}
	c.service.buses.Add(bus.Clients())
	return c, nil
}

// machine is where the bus of a channel is.
func (s *service) machine(c config.Channel) system {
	unknown := config.TransportAuto
	if s.config.OfIPMBBridge {
		unknown = config.TransportIPMBDev
	}
	machine := thisSystem(c.Transport, unknown)
	if s.demo != nil && s.demo.has(c) {
		machine.open = s.demo.open(c)
	}
	return machine
}

// path, bridgeInterface, obey, withdraw, free and forget implement part.
func (c *channel) path() dbus.ObjectPath              { return c.object.Path() }
func (c *channel) bridgeInterface() *bridge.Interface { return c.iface }
func (c *channel) obey(next config.Config)            { c.policed.obey(next) }
func (c *channel) withdraw()                          { c.service.server.RemoveBus(c.object) }
func (c *channel) free() {
	c.service.server.FreeIndex(c.object)
	c.service.buses.Free(c.Clients())
}

func (c *channel) forget(ctx context.Context) {
	s := c.service
	s.mux.SetDefault(c.config.Name, nil)
	s.bridge.Remove(c.iface)
	s.bmc.InterfaceGone(c.config.Name)
	if c.config.Handler == config.HandlerHost {
		s.server.ReleaseHostDaemon(ctx, c.config.BusName)
	}
	c.left()
}

// objectObserver tells the D-Bus object of a bus, and systemd, what happens on
// it.
type objectObserver struct {
	service *service
	*dbusapi.BusObject
}

// Changed implements busObserver.
func (o *objectObserver) Changed() {
	o.service.server.Changed(o.BusObject)
	o.service.statusChanged()
}
