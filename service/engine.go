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

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// engineLink is an engine on the transport of a device, as the link of a bus.
type engineLink struct {
	bus.EngineLink
	bus    *bus.Bus
	device *device // of the goroutine that runs the bus
	others func() map[string]uint64

	mu        sync.Mutex
	transport i2c.Transport // open, nil while it is not
	shown     shown
	switches  i2c.Switches      // wanted
	past      map[string]uint64 // counters of the transports that have ended
}

// busParts are what a bus is given beside its configuration.
type busParts struct {
	handler       ipmi.Handler
	bridgeTimeout func(ipmb.Frame) time.Duration // of ipmb.Config, as the next two
	unsolicited   func(ipmb.Frame)
	together      func(work func())
	received      func(ipmb.Frame)
	changed       func()                   // Properties may have changed
	others        func() map[string]uint64 // statistics that the bus shows with its own
	log           *zap.Logger              // which names the bus
}

// config is what all buses are made of.
func (p *busParts) config(name string, index uint8, channel ipmi.Channel, handler config.HandlerKind) bus.Config {
	c := bus.Config{Name: name, Index: index, Channel: channel, Handler: handler.String(), Changed: p.changed}
	c.StateChanged = func(state bus.State, reason string) {
		log := p.log.Info
		if state != bus.Up {
			log = p.log.Warn
		}
		log("bus state", zap.String("state", string(state)), zap.String("reason", reason))
	}
	if p.log.Core().Enabled(zap.DebugLevel) {
		c.Ended = requestLog{p.log}.sent
	}
	return c
}

// newEngineBus makes a bus of a channel, with the engine of an earlier bus on the device if
// there is one.
func newEngineBus(ch config.Channel, d *device, p busParts, engines *engines) *engineLink {
	l := &engineLink{device: d, others: p.others, shown: d.shown(), switches: ch.Switches(), past: make(map[string]uint64)}
	l.Engine = engines.engine(ch.SlavePath, ipmb.Config{
		Address:             ch.BMCAddress,
		Interface:           ch.Name,
		Channel:             *ch.IPMIChannel,
		Host:                ch.DevIndex,
		RetryPolicy:         ipmb.RetryPolicy{Tries: ch.Tries, Timeout: ch.Timeout},
		MaxFrame:            ch.MaxFrame,
		Handler:             p.handler,
		HandlerTimeout:      ch.HandlerTimeout,
		MaxHandlers:         ch.MaxHandlers,
		DuplicateWindow:     ch.DuplicateWindow,
		BridgeTimeout:       p.bridgeTimeout,
		UnsolicitedResponse: p.unsolicited,
		Received:            p.received,
		Stalled:             func(stalled bool) { l.bus.Stalled(stalled) },
		Together:            p.together,
		Served:              requestLog{p.log}.served,
	})
	c := p.config(ch.Name, ch.Index(), *ch.IPMIChannel, ch.Handler)
	c.MaxCalls, c.RemoteAddress = ch.MaxCalls, ch.RemoteAddress
	l.bus = bus.New(c, l)
	return l
}

// engines keeps the engines of buses that have been removed, by device: what an engine
// remembers of its bus also holds when the bus is served again. The zero value is ready.
type engines struct {
	mu   sync.Mutex
	idle map[string]idleEngine
}

// idleEngine is an engine, and when its bus ended.
type idleEngine struct {
	engine *ipmb.Engine
	since  time.Time
}

// keep remembers the engine of a bus that has ended.
func (e *engines) keep(path string, engine *ipmb.Engine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.idle == nil {
		e.idle = make(map[string]idleEngine)
	}
	// No response is kept, and no number held, for longer.
	maps.DeleteFunc(e.idle, func(_ string, one idleEngine) bool { return time.Since(one.since) > config.MaxWindow })
	e.idle[path] = idleEngine{engine, time.Now()}
}

// engine is the engine of the bus that was on a device, or else a new one.
func (e *engines) engine(path string, c ipmb.Config) *ipmb.Engine {
	e.mu.Lock()
	defer e.mu.Unlock()
	one, ok := e.idle[path]
	delete(e.idle, path)
	if ok && one.engine.Renew(c) == nil {
		return one.engine
	}
	return ipmb.New(c)
}

// Connect implements bus.Device. The bus is Up when the engine runs on the transport.
func (l *engineLink) Connect(ctx context.Context) error {
	l.mu.Lock()
	switches := l.switches
	l.mu.Unlock()
	t, err := l.device.connect(ctx, l.Address(), switches)
	l.mu.Lock()
	l.transport, l.shown = t, l.device.shown()
	l.mu.Unlock()
	switch {
	case err != nil && l.device.unbound && l.device.missing:
		return bus.ErrUnbound
	case err != nil:
		return err
	}
	if warner, ok := t.(i2c.Warner); ok {
		l.bus.SetWarning(warner.Warning())
	}
	return nil
}

// Serve implements bus.Device.
func (l *engineLink) Serve(ctx context.Context) error {
	t := l.opened()
	err := l.Run(ctx, watchTransport(t, l.bus))
	l.closed(t)
	if errors.Is(err, io.EOF) {
		return errors.New(l.device.path + ": end of file: the device or whoever serves it has gone")
	}
	return err
}

// Close implements bus.Device.
func (l *engineLink) Close(context.Context) {
	if t := l.opened(); t != nil {
		t.Close()
		l.closed(t)
	}
}

// Watch implements bus.Device.
func (l *engineLink) Watch() (bus.Watch, error) { return l.device.watch(l.device.path) }

func (l *engineLink) opened() i2c.Transport {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.transport
}

// closed keeps the counters of a transport that is closed.
func (l *engineLink) closed(t i2c.Transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	addCounters(l.past, t)
	l.transport = nil
}

func addCounters(sum map[string]uint64, t i2c.Transport) {
	if counter, ok := t.(i2c.Counter); ok {
		for name, n := range counter.Counters() {
			sum[name] += n
		}
	}
}

// Statistics implements bus.Link: the counters of the engine, of others, and of the transports
// so far.
func (l *engineLink) Statistics() map[string]uint64 {
	statistics := l.Engine.Statistics()
	maps.Copy(statistics, l.others())
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, n := range l.past {
		statistics[name] += n
	}
	if l.transport != nil {
		addCounters(statistics, l.transport)
	}
	return statistics
}

// Describe implements bus.Link.
func (l *engineLink) Describe(p *bus.Properties) {
	l.EngineLink.Describe(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	switches := l.switches
	if switcher, ok := l.transport.(i2c.Switcher); ok {
		switches = switcher.Switches()
	}
	p.Device, p.Transport = l.shown.path, l.shown.kind
	p.IgnoreNACK, p.VerifyChecksum = switches.IgnoreNACK, switches.VerifyChecksum
}

// SetIgnoreNACK implements bus.Link.
func (l *engineLink) SetIgnoreNACK(on bool) error {
	return l.setSwitch(
		func(s i2c.Switcher) error { return s.SetIgnoreNACK(on) },
		func(wanted *i2c.Switches) { wanted.IgnoreNACK = on })
}

// SetVerifyChecksum implements bus.Link.
func (l *engineLink) SetVerifyChecksum(on bool) error {
	return l.setSwitch(
		func(s i2c.Switcher) error { return s.SetVerifyChecksum(on) },
		func(wanted *i2c.Switches) { wanted.VerifyChecksum = on })
}

// setSwitch sets a switch of the driver, and when that has worked, what is wanted of the next
// device, too.
func (l *engineLink) setSwitch(set func(i2c.Switcher) error, want func(*i2c.Switches)) error {
	t := l.opened()
	if t == nil {
		return ipmb.ErrClosed
	}
	switcher, ok := t.(i2c.Switcher)
	if !ok {
		return ipmb.ErrUnsupported
	}
	switch err := set(switcher); {
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%w: %w", ipmb.ErrUnsupported, err)
	case errors.Is(err, i2c.ErrClosed):
		return err
	case err != nil:
		return &deviceError{bus.ErrDevice, err, ""}
	}
	l.mu.Lock()
	want(&l.switches)
	l.mu.Unlock()
	l.bus.Changed()
	return nil
}

// The own addresses that the kernel takes, 08h to 77h in its 7-bit form
// (i2c_check_7bit_addr_validity_strict in drivers/i2c/i2c-core-base.c).
const (
	lowestKernelAddress  ipmi.Address = 0x10
	highestKernelAddress ipmi.Address = 0xEE
)

// SetOwnAddress implements bus.Link.
func (l *engineLink) SetOwnAddress(ctx context.Context, a ipmi.Address) error {
	switch {
	case !a.IsSlave():
		return fmt.Errorf("%w: own address %v: it must be even, and not 00h", ipmb.ErrInvalid, a)
	case a == l.Address():
		return nil
	case l.bindable() != nil:
		l.setAddress(a)
		return nil
	case a < lowestKernelAddress || a > highestKernelAddress:
		return fmt.Errorf("%w: own address %v: the kernel answers at %v to %v",
			ipmb.ErrInvalid, a, lowestKernelAddress, highestKernelAddress)
	}
	return l.bus.Change(ctx, fmt.Sprintf("changing to own address %v", a), func(ctx context.Context) error {
		return l.moveTo(ctx, a)
	})
}

// moveTo moves the device to another own address. A device that is not there is bound at that
// address when it is bound.
func (l *engineLink) moveTo(ctx context.Context, a ipmi.Address) error {
	d := l.device
	if d.unbound || d.missing {
		l.setAddress(a)
		return l.reopen(ctx, nil)
	}
	binding, err := d.binding(l.Address())
	if err == nil {
		err = d.move(ctx, binding, a)
	}
	if err != nil {
		return l.reopen(ctx, err)
	}
	l.setAddress(a)
	return l.bus.Reopen(ctx)
}

// reopen opens the device after a change that made no difference to it, and returns the error of
// that change.
func (l *engineLink) reopen(ctx context.Context, err error) error {
	_ = l.bus.Reopen(ctx) // A failure is in the state.
	return err
}

func (l *engineLink) setAddress(a ipmi.Address) {
	l.SetAddress(a)
	l.bus.Changed()
}

// Bind implements bus.Link.
func (l *engineLink) Bind(ctx context.Context) error {
	if err := l.bindable(); err != nil || l.opened() != nil {
		return err
	}
	return l.bus.Change(ctx, "being bound", func(ctx context.Context) error {
		l.device.unbound = false
		binding, err := l.device.binding(l.Address())
		if err == nil {
			err = l.device.create(ctx, binding)
		}
		if err != nil {
			l.bus.SetDown(err.Error())
			return err
		}
		return l.bus.Reopen(ctx)
	})
}

// Unbind implements bus.Link.
func (l *engineLink) Unbind(ctx context.Context) error {
	if err := l.bindable(); err != nil {
		return err
	}
	return l.bus.Change(ctx, "being unbound", func(ctx context.Context) error {
		binding, err := l.device.binding(l.Address())
		if err == nil {
			err = l.device.remove(binding)
		}
		if err != nil {
			return l.reopen(ctx, err)
		}
		l.device.unbound = true
		l.bus.SetDown(bus.Unbound)
		return nil
	})
}

// bindable refuses a transport that no kernel driver is behind.
func (l *engineLink) bindable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown.kernels {
		return nil
	}
	return bus.NotBindable(l.shown.path)
}

// A bus is Degraded when stuckWrites writes in a row have failed, or all of them for stuckTime.
// A write that is not acknowledged is not counted: it tells of the responder and not of the bus.
const (
	stuckWrites = 4
	stuckTime   = time.Second // after the end of the first, which takes about 1 s itself
)

// watched is a transport whose reads and writes tell the state of the bus.
type watched struct {
	i2c.Transport
	bus     *bus.Bus
	reading bool      // the engine reads from one goroutine
	stuck   int       // failed writes in a row; the engine makes one at a time
	since   time.Time // when the first of them ended
	told    bool      // the bus is Degraded because of them
}

// watchTransport makes a transport watched. A DirectWriter stays one.
func watchTransport(t i2c.Transport, b *bus.Bus) i2c.Transport {
	w := &watched{Transport: t, bus: b}
	if direct, ok := t.(i2c.DirectWriter); ok {
		return &watchedDirect{w, direct}
	}
	return w
}

// watchedDirect is a watched transport that can write without a wait.
type watchedDirect struct {
	*watched
	direct i2c.DirectWriter
}

// TryWriteFrame implements i2c.DirectWriter.
func (w *watchedDirect) TryWriteFrame(frame []byte) (done bool, err error) {
	done, err = w.direct.TryWriteFrame(frame)
	if done {
		w.wrote(err)
	}
	return done, err
}

// ReadFrames implements i2c.Transport. The engine runs when it is called, and its error is the
// end of the transport.
func (w *watched) ReadFrames(b *i2c.Batch) error {
	if !w.reading {
		w.reading = true
		w.bus.Serving("")
	}
	err := w.Transport.ReadFrames(b)
	if err != nil {
		w.bus.SetEnding()
	}
	return err
}

// WriteFrame implements i2c.Transport.
func (w *watched) WriteFrame(frame []byte) error {
	err := w.Transport.WriteFrame(frame)
	w.wrote(err)
	return err
}

// wrote judges the bus by the outcome of a write.
func (w *watched) wrote(err error) {
	switch {
	case errors.Is(err, i2c.ErrClosed):
		w.bus.SetEnding()
	case errors.Is(err, i2c.ErrStuck):
		if w.stuck == 0 {
			w.since = time.Now()
		}
		w.stuck++
		if w.stuck >= stuckWrites || time.Since(w.since) >= stuckTime {
			w.told = true
			w.bus.SetFailing(err.Error())
		}
	default:
		if w.told {
			w.bus.SetFailing("")
		}
		w.stuck, w.told = 0, false
	}
}
