package service

import (
	"context"

	"go.uber.org/zap"

	"ipmbd/ipmi"
	"ipmbd/ipmi/bmc"
	"ipmbd/ipmi/bridge"
)

// openBMC makes the built-in BMC, whose own events go the way of all others.
func (s *service) openBMC(log *bmc.Log) {
	channels := s.channels()
	lan := lanChannel(channels)
	s.bmc = bmc.New(bmc.Config{
		Storage:    &bmc.Storage{Log: log},
		Machine:    machines{s},
		Watchdog:   s.watchdogExpired,
		PreTimeout: s.preTimeout,
		LogEvent:   s.reportEvent,
		LANChannel: lan,
		Channels:   channels,
	})
	s.server.ServeStorage(s.bmc)
	s.bridge.Add(s.bridge.NewInterface(bridge.InterfaceConfig{
		Name: "lan", Channel: lan, Medium: bridge.MediumLAN, Protocol: bridge.ProtocolIPMB,
	}), nil)
}

// channels are the numbers that buses and hosts have.
func (s *service) channels() ipmi.ChannelMask {
	var channels ipmi.ChannelMask
	for _, ch := range s.config.Channels {
		channels |= ch.IPMIChannel.Mask()
	}
	for _, h := range s.config.Hosts {
		channels |= h.IPMIChannel.Mask()
	}
	return channels
}

// lanChannel is the first number that is free for the BMC's LAN parameters: it
// has no LAN, and programs ask for them all the same.
func lanChannel(taken ipmi.ChannelMask) ipmi.Channel {
	for c := bmc.DefaultLANChannel; c <= ipmi.ChannelMaxImplemented; c++ {
		if !taken.Has(c) {
			return c
		}
	}
	return bmc.DefaultLANChannel
}

// watchdogExpired tells of what a watchdog has done.
func (s *service) watchdogExpired(iface string, number int, e bmc.Expiry) {
	log := s.log.Warn
	if e.Err != nil {
		log = s.log.Error
	}
	log("watchdog", zap.String("interface", iface), zap.Int("host", number), zap.Bool("pre-timeout", e.PreTimeout),
		zap.Uint8("use", uint8(e.Use)), zap.Uint8("action", uint8(e.Action)), zap.Uint8("interrupt", uint8(e.Interrupt)), zap.Error(e.Err))
}

func (s *service) preTimeout(iface string, pending bool) {
	if i := s.interfaces[iface]; i != nil {
		i.SetPreTimeout(pending)
	}
}

// reportEvent keeps an event of the BMC's own.
func (s *service) reportEvent(ctx context.Context, e ipmi.Event) {
	i := s.interfaces[e.Interface]
	if i == nil {
		return
	}
	if err := i.Report(ctx, e); err != nil {
		s.log.Error("event of the BMC is lost", zap.Stringer("event", e), zap.Error(err))
	}
}
