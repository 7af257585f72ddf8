package service

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// Bus is what the service runs for a channel.
type Bus interface {
	dbusapi.Bus
	// Clients is the bus as its clients know it.
	Clients() *bus.Bus
	// Open opens the transport, so that what is wrong with it shows before
	// anything is read. A failure is in the bus's state.
	Open(ctx context.Context)
	// Run serves the bus, and opens its transport again whenever it ends,
	// until ctx does. It is called once.
	Run(ctx context.Context)
	// Begun is closed when Run takes calls for the first time, or finds that the
	// bus is Down. Until then calls wait.
	Begun() <-chan struct{}
	// Pulse returns when each loop of the bus waits. If one hangs, Pulse does not
	// return.
	Pulse(ctx context.Context)
	// Drain takes no more requests from the bus, nor calls to it, and waits until those
	// taken are answered or have ended, at most until ctx ends.
	Drain(ctx context.Context)
}

// engineBus is an engine on a transport.
type engineBus struct {
	*bus.Bus
	config    config.Channel
	settings  ipmb.Config // of the engine
	engine    *ipmb.Engine
	iface     *bridge.Interface
	device    *device // of Open and, from then on, of Run
	jobs      chan job
	over      chan struct{} // closed when Run has returned
	performed func()        // tells whose job it was that it is done; nil for nobody
	log       *zap.Logger
	observer  busObserver // told of what happens; its methods do not block
	begun     chan struct{}
	begin     func() // closes begun, once

	mu        sync.Mutex
	condition condition
	transport i2c.Transport // open, nil while it is not
	shown     shown
	switches  i2c.Switches      // wanted
	past      map[string]uint64 // counters of the transports that have ended
}

// shown is what others may know of the device.
type shown struct {
	path, kind string
	kernels    bool // the kernel answers at our own address in our place
}

// busObserver is told of what happens on a bus.
type busObserver interface {
	// Together is as in ipmb.Config.
	Together(work func())
	Received(f ipmb.Frame)
	// Changed says that Properties may have changed.
	Changed()
}

// newEngineBus makes a bus whose requests go to a handler, which is that of its
// interface of the bridge.
func newEngineBus(ch config.Channel, d *device, handler ipmi.Handler, iface *bridge.Interface, observer busObserver, log *zap.Logger) *engineBus {
	b := &engineBus{
		config:    ch,
		iface:     iface,
		device:    d,
		jobs:      make(chan job),
		over:      make(chan struct{}),
		log:       log.With(zap.String("bus", ch.Name)),
		observer:  observer,
		condition: condition{closed: "not opened yet"},
		shown:     d.shown(),
		switches:  ch.Switches(),
		past:      make(map[string]uint64),
		begun:     make(chan struct{}),
	}
	b.begin = sync.OnceFunc(func() {
		b.Begin()
		close(b.begun)
	})
	b.settings = ipmb.Config{
		Address:         ch.BMCAddress,
		Interface:       ch.Name,
		Channel:         *ch.IPMIChannel,
		Host:            ch.DevIndex,
		RetryPolicy:     ipmb.RetryPolicy{Tries: ch.Tries, Timeout: ch.Timeout},
		MaxFrame:        ch.MaxFrame,
		Handler:         handler,
		HandlerTimeout:  ch.HandlerTimeout,
		MaxHandlers:     ch.MaxHandlers,
		DuplicateWindow: ch.DuplicateWindow,
		Received:        observer.Received,
		Stalled:         tellStalls(b.setStalled),
		Together:        observer.Together,
		Served:          requestLog{b.log}.served,
	}
	if ch.Bridged() {
		b.settings.BridgeTimeout, b.settings.UnsolicitedResponse = iface.Patience, iface.Stray
	}
	b.engine = ipmb.New(b.settings)
	b.Bus = newClients(ch, bus.Engine(b.engine), b.log)
	return b
}

// newClients makes the bus of a channel as its clients know it.
func newClients(ch config.Channel, link bus.Link, log *zap.Logger) *bus.Bus {
	config := bus.Config{Name: ch.Name, Index: ch.Index(), MaxCalls: ch.MaxCalls, RemoteAddress: ch.RemoteAddress}
	if log.Core().Enabled(zap.DebugLevel) {
		config.Ended = requestLog{log}.sent
	}
	return bus.New(config, link)
}

// use gives a bus that has not begun another engine.
func (b *engineBus) use(engine *ipmb.Engine) {
	b.engine = engine
	b.Use(bus.Engine(engine))
}

// Clients implements Bus.
func (b *engineBus) Clients() *bus.Bus { return b.Bus }

// tellStalls is what an engine tells of stalls, for a function that takes the reason.
func tellStalls(setStalled func(reason string)) func(stalled bool) {
	return func(stalled bool) {
		reason := ""
		if stalled {
			reason = "a write has been in the kernel for " + ipmb.StallTime.String()
		}
		setStalled(reason)
	}
}

// Open implements Bus.
func (b *engineBus) Open(ctx context.Context) {
	if b.connect(ctx) == nil {
		b.setOpen()
	}
}

// connect opens the transport. A failure is in the state; that it is open is
// when the engine runs on it, which is when calls are taken.
func (b *engineBus) connect(ctx context.Context) error {
	b.mu.Lock()
	switches := b.switches
	b.mu.Unlock()
	t, err := b.device.connect(ctx, b.engine.Address(), switches)
	b.mu.Lock()
	b.transport, b.shown = t, b.device.shown()
	b.mu.Unlock()
	if err != nil {
		b.setClosed(b.whyClosed(err))
	}
	return err
}

// Run implements Bus.
func (b *engineBus) Run(ctx context.Context) {
	defer close(b.over)
	defer b.begin() // Calls that still wait are refused then.
	var retry backoff
	for ctx.Err() == nil {
		begin := time.Now()
		if t := b.opened(); t != nil {
			b.serve(ctx, t)
		}
		if b.opened() == nil && ctx.Err() == nil {
			b.begin()
			b.await(ctx, &retry, retry.after(time.Since(begin)))
		}
	}
	if t := b.opened(); t != nil {
		t.Close()
		b.ended(t)
	}
	b.answer()
}

// serve runs the engine on a transport until that ends, or there is a job,
// which it does.
func (b *engineBus) serve(ctx context.Context, t i2c.Transport) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	end := make(chan error, 1)
	go func() { end <- b.engine.Run(running, watchTransport(t, b)) }()
	select {
	case err := <-end:
		b.ended(t)
		if ctx.Err() == nil {
			b.setClosed(b.whyEnded(err))
		}
	case j := <-b.jobs:
		stop()
		<-end
		b.ended(t)
		b.perform(ctx, j)
	}
}

// Begun implements Bus.
func (b *engineBus) Begun() <-chan struct{} { return b.begun }

// started is told when the engine runs on the transport.
func (b *engineBus) started() {
	b.setOpen()
	b.begin()
	b.answer()
}

// whyClosed is the reason for a transport that cannot be opened, as people read
// it.
func (b *engineBus) whyClosed(err error) string {
	if b.device.unbound && b.device.missing {
		return dbusapi.Unbound
	}
	return err.Error()
}

// whyEnded is the reason for a transport that has ended, as people read it.
func (b *engineBus) whyEnded(err error) string {
	if errors.Is(err, io.EOF) {
		return b.device.path + ": end of file: the device or whoever serves it has gone"
	}
	return err.Error()
}

func (b *engineBus) opened() i2c.Transport {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.transport
}

// ended keeps the counters of a transport that is no more.
func (b *engineBus) ended(t i2c.Transport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addCounters(b.past, t)
	b.transport = nil
}

func addCounters(sum map[string]uint64, t i2c.Transport) {
	if counter, ok := t.(i2c.Counter); ok {
		for name, n := range counter.Counters() {
			sum[name] += n
		}
	}
}

// Pulse implements Bus.
func (b *engineBus) Pulse(context.Context) { b.engine.Ping() }

// Drain implements Bus.
func (b *engineBus) Drain(ctx context.Context) {
	var draining sync.WaitGroup
	draining.Go(func() { b.engine.Drain(ctx) })
	draining.Go(func() { b.Bus.Drain(ctx) })
	draining.Wait()
}

// Properties implements dbusapi.Bus.
func (b *engineBus) Properties() dbusapi.Properties {
	b.mu.Lock()
	defer b.mu.Unlock()
	health := b.condition.health()
	switches := b.switches
	if switcher, ok := b.transport.(i2c.Switcher); ok {
		switches = switcher.Switches()
	}
	return dbusapi.Properties{
		Name:           b.config.Name,
		Device:         b.shown.path,
		Transport:      b.shown.kind,
		Channel:        *b.config.IPMIChannel,
		Index:          b.config.Index(),
		OwnAddress:     b.engine.Address(),
		RemoteAddress:  b.config.RemoteAddress,
		State:          health.state,
		Reason:         health.reason,
		Policy:         b.engine.RetryPolicy(),
		Handler:        b.config.Handler.String(),
		IgnoreNACK:     switches.IgnoreNACK,
		VerifyChecksum: switches.VerifyChecksum,
	}
}

// SetPolicy implements dbusapi.Bus.
func (b *engineBus) SetPolicy(p ipmb.RetryPolicy) error {
	b.engine.SetRetryPolicy(p)
	return nil
}

// Statistics implements dbusapi.Bus: the counters of the engine, of its interface of the
// bridge, of the bus itself, and those of the transports so far.
func (b *engineBus) Statistics() map[string]uint64 {
	statistics := b.engine.Statistics()
	maps.Copy(statistics, b.iface.Statistics())
	maps.Copy(statistics, b.Counters())
	b.mu.Lock()
	defer b.mu.Unlock()
	transport := maps.Clone(b.past)
	if b.transport != nil {
		addCounters(transport, b.transport)
	}
	for name, n := range transport {
		statistics[name] += n
	}
	return statistics
}
