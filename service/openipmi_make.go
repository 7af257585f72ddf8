package service

import (
	"context"

	"ipmbd/bridge"
	"ipmbd/host"
	"ipmbd/i2c"
)

// makeBus makes the bus on an OpenIPMI device. Messages are not bridged to it: the
// controller behind it is not ours.
func (c HostConfig) makeBus(ctx context.Context, s *service) (part, error) {
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
