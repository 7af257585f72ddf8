package service

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"ipmbd/bmc"
	"ipmbd/bridge"
	"ipmbd/dbusapi"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// openBMC opens the built-in BMC, whose own events go the way of all others.
func (s *service) openBMC() error {
	c := s.config.BMC
	sensors := make([]bmc.SensorConfig, len(c.Sensors))
	for i, each := range c.Sensors {
		sensors[i] = each.SensorConfig
		if each.Property != (config.Property{}) {
			p := newSensorProperty(each.Property)
			s.properties = append(s.properties, p)
			sensors[i].Read = p.last
		}
	}
	s.blocking = ipmi.NewBlocking(nil) // each request brings its function
	b, err := bmc.Open(bmc.Config{
		Identity:    c.Identity,
		GUID:        c.GUID,
		Folder:      c.Folder,
		Report:      func(err error) { s.log.Error("the BMC's journal", zap.Error(err)) },
		LogCapacity: c.LogCapacity,
		Sensors:     sensors,
		Controllers: c.Controllers,
		FRUs:        c.FRUs,
		Blocking:    s.blocking,
		Machine:     machines{s},
		Watchdog:    s.watchdogExpired,
		PreTimeout:  s.preTimeout,
		LogEvent:    s.reportEvent,
	})
	if err != nil {
		return explainPath("bmc.folder", err)
	}
	s.bmc = b
	return nil
}

// moveLAN gives the BMC's own interface, that of its LAN, a channel.
func (s *service) moveLAN(channel ipmi.Channel) {
	before := s.own.Load()
	if before != nil && before.channel == channel {
		return
	}
	now := &ownInterface{channel, s.bridge.NewInterface(bridge.InterfaceConfig{
		Name: "lan", Channel: channel, Medium: bridge.MediumLAN, Protocol: bridge.ProtocolIPMB,
	})}
	s.own.Store(now)
	if before != nil {
		s.bridge.Remove(before.iface)
	}
	s.bridge.Add(now.iface, nil)
}

// ownInterface is the BMC's, for events of its own.
type ownInterface struct {
	channel ipmi.Channel
	iface   *bridge.Interface
}

// pollTime is how often sensors are read.
const pollTime = time.Second

// pollSensors raises the events of the sensors until ctx ends.
func (s *service) pollSensors(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { askForProperties(ctx, s.server.System(), s.properties) })
	eachTick(ctx, pollTime, func() {
		s.bmc.PollSensors(func(e ipmi.Event) { s.reportEvent(ctx, e) })
	})
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
	if h := (machines{s}).find(iface, number); h != nil {
		s.server.WatchdogExpired(h.object, dbusapi.WatchdogExpired{
			PreTimeout: e.PreTimeout, Use: uint8(e.Use), Action: uint8(e.Action), Interrupt: uint8(e.Interrupt),
		})
	}
}

func (s *service) preTimeout(iface string, pending bool) {
	if e := s.endpoints.named(iface); e != nil {
		e.iface.SetPreTimeout(pending)
	}
}

// reportEvent keeps an event of the BMC's own. One of no interface is a sensor's.
func (s *service) reportEvent(ctx context.Context, e ipmi.Event) {
	i := s.own.Load().iface
	if from := s.endpoints.named(e.Interface); from != nil {
		i = from.iface
	}
	if err := i.Report(ctx, e); err != nil {
		s.log.Error("event of the BMC is lost", zap.Stringer("event", e), zap.Error(err))
	}
}
