package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/host"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// openIPMIName is what Properties call the transport.
const openIPMIName = "openipmi"

// openIPMIPolicy is that of a bus on an OpenIPMI device: more than the 5 s after
// which the driver gives its own controller up, and no less than its clock, which
// ticks once a second, can tell.
var openIPMIPolicy = ipmb.RetryPolicy{Tries: 3, Timeout: 2 * time.Second}

// noNode is the address that requests from an OpenIPMI device come to in the
// engine: no requester's, since the driver does not say which is ours.
const noNode ipmi.Address = 0x01

// openIPMIDevice is what is needed of a host.OpenIPMI.
type openIPMIDevice interface {
	Do(ctx context.Context, r host.OpenIPMIRequest, sent func()) (ipmi.Response, error)
	Receive() (host.OpenIPMIMessage, error)
	Respond(m host.OpenIPMIMessage, code ipmi.CompletionCode) error
	Register(netFn ipmi.NetFn, command ipmi.Command) error
	Unregister(netFn ipmi.NetFn, command ipmi.Command) error
	SetEvents(on bool) error
	Address() (ipmi.Address, error)
	SetAddress(a ipmi.Address) error
	Direct() bool
	MaxData() int
	Counters() map[string]uint64
	Close() error
}

// openIPMIBus is a Bus on an OpenIPMI device. The driver numbers and repeats what is
// sent; an engine serves what comes in, each request once.
type openIPMIBus struct {
	*bus.Bus
	workers  *bus.Workers
	config   config.Channel
	open     func() (openIPMIDevice, error)
	system   system // for its watch
	engine   *ipmb.Engine
	iface    *bridge.Interface
	commands *openIPMICommands
	events   *openIPMIEvents
	log      *zap.Logger
	observer busObserver
	begun    chan struct{}
	begin    func() // closes begun, once

	mu        sync.Mutex
	condition condition
	device    openIPMIDevice // nil while it is not open
	own       ipmi.Address
	past      map[string]uint64 // counters of the devices that have ended
}

// newOpenIPMIBus makes a bus of a channel that config.Host.bus has made, whose requests
// go to a handler. It opens a device whenever there is something new at its path.
func newOpenIPMIBus(ch config.Channel, commands *openIPMICommands, on system, open func() (openIPMIDevice, error),
	handler ipmi.Handler, iface *bridge.Interface, observer busObserver, log *zap.Logger) *openIPMIBus {
	b := &openIPMIBus{
		config:    ch,
		open:      open,
		system:    on,
		iface:     iface,
		commands:  commands,
		log:       log.With(zap.String("bus", ch.Name)),
		observer:  observer,
		begun:     make(chan struct{}),
		condition: condition{closed: "not opened yet"},
		own:       config.DefaultAddress,
		past:      make(map[string]uint64),
	}
	b.begin = sync.OnceFunc(func() {
		b.Begin()
		close(b.begun)
	})
	b.workers = bus.NewWorkers(0, b.exchange)
	ch.RemoteAddress = b.own
	b.Bus = newClients(ch, openIPMILink{b.workers, b}, b.log)
	b.events = newOpenIPMIEvents(ch, iface.Take, b.log)
	b.engine = ipmb.New(ipmb.Config{
		Address:     noNode,
		Interface:   ch.Name,
		Channel:     *ch.IPMIChannel,
		Host:        ch.DevIndex,
		RetryPolicy: openIPMIPolicy,
		Handler:     handler,
		Received:    observer.Received,
		Stalled:     tellStalls(b.setStalled),
		Served:      requestLog{b.log}.served,
	})
	return b
}

// Open implements Bus.
func (b *openIPMIBus) Open(context.Context) {
	if b.connect() == nil {
		b.setOpen()
	}
}

// connect opens the device. A failure is in the state.
func (b *openIPMIBus) connect() error {
	d, own, err := b.openDevice()
	if err != nil {
		b.setClosed(err.Error())
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.device, b.own = d, own
	b.SetRemoteAddress(own)
	return nil
}

func (b *openIPMIBus) openDevice() (openIPMIDevice, ipmi.Address, error) {
	d, err := b.open()
	if err != nil {
		return nil, 0, err
	}
	own, err := d.Address()
	if err != nil {
		d.Close()
		return nil, 0, err
	}
	return d, own, nil
}

// Run implements Bus.
func (b *openIPMIBus) Run(ctx context.Context) {
	defer b.begin() // Calls that still wait are refused then.
	var retry backoff
	for ctx.Err() == nil {
		begin := time.Now()
		if d := b.opened(); d != nil {
			b.serve(ctx, d)
		}
		if ctx.Err() == nil {
			b.begin()
			b.await(ctx, &retry, retry.after(time.Since(begin)))
		}
	}
	if d := b.opened(); d != nil {
		d.Close()
		b.ended(d)
	}
	b.workers.Wait()
	b.events.end(ctx)
}

// serve serves a device until it ends, or ctx does.
func (b *openIPMIBus) serve(ctx context.Context, d openIPMIDevice) {
	running, stop := context.WithCancel(ctx)
	var loops sync.WaitGroup
	changed, unwatch := b.commands.mux.Watch()
	b.commands.have = make(map[ipmi.Commands]bool)
	again := b.sync(running, d)
	loops.Go(func() { b.keep(running, d, changed, again) })
	loops.Go(func() { b.events.run(running, d) })
	err := b.engine.Run(running, &openIPMITransport{device: d, events: b.events, began: b.started})
	stop()
	unwatch()
	loops.Wait()
	b.ended(d)
	if ctx.Err() == nil {
		b.setClosed(b.whyEnded(err))
	}
}

// started is told when requests are taken.
func (b *openIPMIBus) started() {
	b.setOpen()
	b.begin()
}

// Begun implements Bus.
func (b *openIPMIBus) Begun() <-chan struct{} { return b.begun }

func (b *openIPMIBus) whyEnded(err error) string {
	if errors.Is(err, io.EOF) {
		return b.config.SlavePath + ": the device has gone"
	}
	return err.Error()
}

// await waits until the device is open, or ctx ends: it tries whenever something has
// come or gone at its path, and after each of the back-off's times.
func (b *openIPMIBus) await(ctx context.Context, retry *backoff, pause time.Duration) {
	changes, stop := b.system.changes(ctx, b.config.SlavePath)
	defer stop()
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
			_ = b.connect() // It is in the state if that fails.
		case <-changes:
			_ = b.connect()
		}
		timer.Stop()
		if ctx.Err() != nil || b.opened() != nil {
			return
		}
		pause = retry.after(0)
	}
}

func (b *openIPMIBus) opened() openIPMIDevice {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.device
}

// ended keeps the counters of a device that is no more.
func (b *openIPMIBus) ended(d openIPMIDevice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addAll(b.past, d.Counters())
	b.device = nil
}

func addAll(sum, counters map[string]uint64) {
	for name, n := range counters {
		sum[name] += n
	}
}

// Pulse implements Bus.
func (b *openIPMIBus) Pulse(context.Context) { b.engine.Ping() }

// Drain implements Bus, also for events on their way to the log.
func (b *openIPMIBus) Drain(ctx context.Context) {
	var draining sync.WaitGroup
	draining.Go(func() { b.Bus.Drain(ctx) })
	draining.Go(func() { b.engine.Drain(ctx) })
	draining.Go(func() { b.events.drain(ctx) })
	draining.Wait()
}

// Clients implements Bus.
func (b *openIPMIBus) Clients() *bus.Bus { return b.Bus }

// Properties implements dbusapi.Bus.
func (b *openIPMIBus) Properties() dbusapi.Properties {
	b.mu.Lock()
	defer b.mu.Unlock()
	health := b.condition.health()
	return dbusapi.Properties{
		Name:          b.config.Name,
		Device:        b.config.SlavePath,
		Transport:     openIPMIName,
		Channel:       *b.config.IPMIChannel,
		Index:         b.config.Index(),
		OwnAddress:    b.own,
		RemoteAddress: b.own,
		State:         health.state,
		Reason:        health.reason,
		Policy:        b.engine.RetryPolicy(),
		Handler:       b.config.Handler.String(),
	}
}

// SetPolicy implements dbusapi.Bus.
func (b *openIPMIBus) SetPolicy(p ipmb.RetryPolicy) error {
	b.engine.SetRetryPolicy(p.Or(openIPMIPolicy))
	return nil
}

// SetOwnAddress implements dbusapi.Bus: it is the address from which the controller
// sends for all programs that use the driver.
func (b *openIPMIBus) SetOwnAddress(_ context.Context, a ipmi.Address) error {
	if !a.IsSlave() {
		return fmt.Errorf("%w: own address %v: it must be even, and not 00h", ipmb.ErrInvalid, a)
	}
	d := b.opened()
	switch {
	case d == nil:
		return ipmb.ErrClosed
	case d.Direct():
		return fmt.Errorf("%w: %s is on the bus itself, at an address of the kernel's", dbusapi.ErrFixed, b.config.SlavePath)
	}
	if err := d.SetAddress(a); err != nil {
		return asBusError(err)
	}
	b.mu.Lock()
	b.own = a
	b.SetRemoteAddress(a)
	b.mu.Unlock()
	b.observer.Changed()
	return nil
}

// Bind implements dbusapi.Bus.
func (b *openIPMIBus) Bind(context.Context) error { return notBindable(b.config.SlavePath) }

// Unbind implements dbusapi.Bus.
func (b *openIPMIBus) Unbind(context.Context) error { return notBindable(b.config.SlavePath) }

// SetIgnoreNACK implements dbusapi.Bus.
func (b *openIPMIBus) SetIgnoreNACK(bool) error { return ipmb.ErrUnsupported }

// SetVerifyChecksum implements dbusapi.Bus.
func (b *openIPMIBus) SetVerifyChecksum(bool) error { return ipmb.ErrUnsupported }

// Statistics implements dbusapi.Bus: the calls are the driver's, the requests the
// engine's.
func (b *openIPMIBus) Statistics() map[string]uint64 {
	statistics := b.engine.Statistics()
	maps.Copy(statistics, b.iface.Statistics())
	maps.Copy(statistics, b.Counters())
	addAll(statistics, b.events.counters())
	b.mu.Lock()
	defer b.mu.Unlock()
	addAll(statistics, b.past)
	if b.device != nil {
		addAll(statistics, b.device.Counters())
	}
	return statistics
}

// update changes the condition, and tells if that changes the state.
func (b *openIPMIBus) update(change func(*condition)) {
	b.mu.Lock()
	before := b.condition.health()
	change(&b.condition)
	now := b.condition.health()
	b.mu.Unlock()
	if now != before {
		now.log(b.log)
		b.observer.Changed()
	}
}

func (b *openIPMIBus) setClosed(reason string) {
	b.update(func(c *condition) { *c = condition{closed: reason} })
}

func (b *openIPMIBus) setOpen() { b.update(func(c *condition) { c.closed = "" }) }

func (b *openIPMIBus) setStalled(reason string) {
	b.update(func(c *condition) { c.stalled = reason })
}

func (b *openIPMIBus) setWarning(reason string) {
	b.update(func(c *condition) { c.warning = reason })
}
