package service

import (
	"context"

	"ipmbd/bridge"
	"ipmbd/host"
	"ipmbd/i2c"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// openIPMIConfig is an OpenIPMI device of the configuration. Messages are not bridged to it:
// the controller behind it is not ours.
type openIPMIConfig struct{ config.OpenIPMI }

// name, entry, channel, bridged and busNames implement memberConfig.
func (c openIPMIConfig) name() string          { return c.Name }
func (c openIPMIConfig) entry() config.Entry   { return c.OpenIPMI }
func (c openIPMIConfig) channel() ipmi.Channel { return *c.IPMIChannel }
func (c openIPMIConfig) bridged() bool         { return false }

func (c openIPMIConfig) busNames() (words []string, hostIPMI bool) {
	return channelConfig{c.bus()}.busNames()
}

// typeOpenIPMI is the type in the index of an OpenIPMI device.
const typeOpenIPMI config.ChannelType = 2

// bus is the device as a channel.
func (c openIPMIConfig) bus() config.Channel {
	return config.Channel{
		Type: typeOpenIPMI, SlavePath: c.Path, DevIndex: c.DevIndex, Name: c.Name,
		IPMIChannel: c.IPMIChannel, BusName: config.DefaultBusName, Handler: *c.Handler,
	}
}

// make implements memberConfig.
func (c openIPMIConfig) make(ctx context.Context, s *service) (part, error) {
	bus := c.bus()
	channelNumber := *bus.IPMIChannel
	ch, handler, err := s.newChannel(ctx, bus, s.newInterface(bridge.InterfaceConfig{
		Name:     bus.Name,
		Channel:  channelNumber,
		Host:     bus.DevIndex,
		Medium:   bridge.MediumIPMB,
		Protocol: bridge.ProtocolIPMB,
	}))
	if err != nil {
		return nil, err
	}
	commands := &openIPMICommands{mux: &s.mux, channel: channelNumber, always: c.Commands}
	open := func() (openIPMIDevice, error) {
		d, err := host.OpenOpenIPMI(bus.SlavePath, channelNumber)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	on := system{watch: func(path string) (watch, error) { return i2c.OpenWatch(path) }}
	return ch.export(ctx, newOpenIPMIBus(bus, commands, on, open, handler, ch.iface, &objectObserver{s, ch.object}, s.log))
}
