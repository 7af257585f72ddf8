package service

import (
	"context"

	"ipmbd/i2c"
	"ipmbd/ipmi/bridge"
	"ipmbd/ipmi/host"
)

// addOpenIPMI makes the bus on an OpenIPMI device and exports it. Messages are not
// bridged to it: the controller behind it is not ours.
func (s *service) addOpenIPMI(ctx context.Context, config HostConfig) error {
	ch := config.bus()
	object, err := s.server.NewBus(ch.Name, ch.Index(), ch.MaxCalls)
	if err != nil {
		return err
	}
	iface := s.newInterface(bridge.InterfaceConfig{
		Name:     ch.Name,
		Channel:  *ch.IPMIChannel,
		Host:     ch.DevIndex,
		Medium:   bridge.MediumIPMB,
		Protocol: bridge.ProtocolIPMB,
	})
	handler, err := s.handler(ctx, ch, object, iface)
	if err != nil {
		return err
	}
	commands := &openIPMICommands{mux: &s.mux, channel: *ch.IPMIChannel, always: config.Commands}
	open := func() (openIPMIDevice, error) {
		d, err := host.OpenOpenIPMI(ch.SlavePath, *ch.IPMIChannel)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	on := system{watch: func(path string) (watch, error) { return i2c.OpenWatch(path) }}
	bus := newOpenIPMIBus(ch, commands, on, open, handler, iface, &objectObserver{s, object}, s.log)
	bus.Open(ctx)
	s.buses = append(s.buses, &channel{bus, ch.Name, object})
	return s.server.AddBus(object, bus)
}
