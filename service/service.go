// Package service is the daemon: it builds the graph of buses, handlers and
// D-Bus objects from a configuration, runs it, and takes it down again. It is
// the only package that knows all the others.
//
// The order of a start: transports are opened but not read, all objects are
// exported, all names are taken, the buses begin to read, and systemd is told.
// A stop goes the other way: names are given back, calls and requests in
// progress have two seconds to end, the buses stop, the connections close. A
// message bus that reads no more holds up none of it.
//
// A bus that cannot be opened is Down and tried again; the others run. A call that
// comes between the taking of the names and the beginning of a bus waits.
//
// systemd's watchdog is fed as long as every bus, every host interface and the
// connections to the message bus go on; see feed.
package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"ipmbd/dbusapi"
	"ipmbd/ipmi"
	"ipmbd/ipmi/bmc"
	"ipmbd/ipmi/bridge"
)

// drainTime is how long calls in progress may take to end at a stop.
const drainTime = 2 * time.Second

// replyTime is how long the message bus may take to read the last replies.
const replyTime = 500 * time.Millisecond

// Options is what Run needs.
type Options struct {
	Config Config
	Bus    string // of D-Bus: "system", "session", or an address
	Demo   bool   // the buses of DemoConfig are simulated
	Log    *zap.Logger
}

// service is the graph.
type service struct {
	log    *zap.Logger
	config Config
	server *dbusapi.Server
	mux    ipmi.Mux
	bridge *bridge.Bridge
	// interfaces are those of the bridge, by name.
	interfaces map[string]*bridge.Interface
	storage    *bmc.Storage // of the built-in BMC
	bmc        *bmc.BMC
	own        *bridge.Interface // the BMC's, for events of its own
	demo       *demo             // nil for real buses
	buses      []*channel
	hosts      []*hostInterface
	changed    chan struct{} // the state of a bus may have changed
}

// channel is a bus with its object on D-Bus.
type channel struct {
	Bus
	name   string
	object *dbusapi.BusObject
}

// Run is the service, from its start until ctx ends (nil) or it cannot go on.
func Run(ctx context.Context, o Options) error {
	err := run(ctx, o)
	if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
		return nil // The start was cut short, as asked.
	}
	return err
}

func run(ctx context.Context, o Options) error {
	s := &service{log: o.Log, config: o.Config.WithDefaults(), changed: make(chan struct{}, 1)}
	if o.Demo {
		var err error
		if s.demo, err = newDemo(); err != nil {
			return err
		}
	}
	server, err := dbusapi.Open(ctx, dbusapi.Config{
		Address:           o.Bus,
		SignalNames:       s.config.TrustedNames,
		MaxCallsPerSender: s.config.MaxCallsPerSender,
		Mux:               &s.mux,
	})
	if err != nil {
		return err
	}
	defer server.Close()
	s.server = server
	if err := s.openStorage(); err != nil {
		return err
	}
	defer s.closeStorage()
	if err := s.openRouter(); err != nil {
		return err
	}
	defer s.closeBuses(ctx)
	for _, ch := range s.config.Channels {
		if err := s.addChannel(ctx, ch); err != nil {
			return fmt.Errorf("channel %s: %w", ch.Name, err)
		}
	}
	sockets := takeSockets(s.log)
	for _, h := range s.config.Hosts {
		if err := s.addHost(ctx, h, sockets); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
	sockets.close(s.log)
	if err := server.TakeNames(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

func (s *service) closeStorage() {
	if err := s.storage.Close(); err != nil {
		s.log.Error("what the BMC keeps may not be whole", zap.Error(err))
	}
}

// closeBuses closes what a start that did not end well has opened.
func (s *service) closeBuses(ctx context.Context) {
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	end()
	for _, bus := range s.buses {
		bus.Run(ended)
	}
}

// addChannel makes a bus and exports it.
func (s *service) addChannel(ctx context.Context, ch ChannelConfig) error {
	object, err := s.server.NewBus(ch.Name, ch.Index(), ch.MaxCalls)
	if err != nil {
		return err
	}
	iface := s.busInterface(ch)
	handler, err := s.handler(ctx, ch, object, iface)
	if err != nil {
		return err
	}
	unknown := TransportAuto
	if s.config.OfIPMBBridge {
		unknown = TransportIPMBDev
	}
	machine := thisSystem(ch.Transport, unknown)
	if s.demo != nil {
		machine.open = s.demo.open(ch)
	}
	observer := &objectObserver{s, object}
	bus := newEngineBus(ch, newDevice(ch, machine, s.config.OfIPMBBridge), handler, iface, observer, s.log)
	s.bridge.Add(iface, bus.engine)
	bus.Open(ctx)
	s.buses = append(s.buses, &channel{bus, ch.Name, object})
	return s.server.AddBus(object, bus)
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
	select {
	case o.service.changed <- struct{}{}:
	default: // The loop has been woken already.
	}
}

// run serves until ctx ends or a connection to the message bus is lost.
func (s *service) run(ctx context.Context) error {
	// The buses and the server outlive ctx by the time calls have to end.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var buses, loops sync.WaitGroup
	for _, bus := range s.buses {
		buses.Go(func() { bus.Run(running) })
	}
	if s.demo != nil {
		buses.Go(func() { s.demo.run(running) })
	}
	for _, h := range s.hosts {
		buses.Go(func() { h.Run(running) })
	}
	lost := make(chan error, 1)
	loops.Go(func() { lost <- s.server.Run(running) })
	loops.Go(func() { s.bridge.Run(running) })
	loops.Go(func() { s.bmc.Run(running) })
	loops.Go(func() { s.pollSensors(running) })
	loops.Go(func() { s.server.Power().Run(running) })
	loops.Go(func() { s.tellStatus(running) })
	loops.Go(func() { s.feedWatchdog(running) })

	s.awaitBuses(ctx)
	err := notify("READY=1", s.status())
	if err == nil {
		s.log.Info("serving", zap.Int("buses", len(s.buses)))
		select {
		case <-ctx.Done():
			err = s.drain(running, &loops)
		case err = <-lost:
		}
	}
	stop()
	if err == nil {
		s.tellTheRest(ctx)
	}
	// Before the buses and the loops: a message bus that reads no more may hold
	// one of their writes.
	err = errors.Join(err, s.server.Close())
	buses.Wait()
	loops.Wait()
	return err
}

// awaitBuses waits until the buses take calls, those that are not Down: who is told
// that we are ready may call at once.
func (s *service) awaitBuses(ctx context.Context) {
	for _, bus := range s.buses {
		select {
		case <-bus.Begun():
		case <-ctx.Done():
			return
		}
	}
}

// drain gives back the names and lets calls in progress end.
func (s *service) drain(ctx context.Context, loops *sync.WaitGroup) error {
	s.log.Info("stopping")
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	err := notify("STOPPING=1")
	released := make(chan error, 1)
	loops.Go(func() { released <- s.server.ReleaseNames(ctx) })
	select {
	case failed := <-released:
		err = errors.Join(err, failed)
	case <-ctx.Done(): // The message bus reads no more.
	}
	var draining sync.WaitGroup
	for _, bus := range s.buses {
		draining.Go(func() { bus.Drain(ctx) })
	}
	s.server.Drain(ctx)
	draining.Wait()
	return err
}

// tellTheRest lets the calls that the buses have ended at last be replied to.
func (s *service) tellTheRest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replyTime)
	defer cancel()
	s.server.Drain(ctx)
}

// tellStatus keeps systemd's status line true until ctx ends.
func (s *service) tellStatus(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			// What has gone wrong with the first, READY=1, has ended the start.
			_ = notify(s.status())
		}
	}
}

// status is a line for systemctl status: the buses that are not up.
func (s *service) status() string {
	var down []string
	for _, bus := range s.buses {
		if p := bus.Properties(); p.State != dbusapi.Up {
			down = append(down, bus.name+" "+string(p.State))
		}
	}
	if len(down) == 0 {
		return fmt.Sprintf("STATUS=%d buses up", len(s.buses))
	}
	slices.Sort(down)
	return fmt.Sprintf("STATUS=%d buses, not up: %s", len(s.buses), strings.Join(down, ", "))
}
