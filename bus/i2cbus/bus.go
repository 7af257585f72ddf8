package i2cbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Config describes a bus on a transport.
type Config struct {
	bus.Config
	// Engine is the configuration of the engine. New sets the functions by which the engine
	// reports to the bus.
	Engine ipmb.Config
	// Path is the character device, the driver's attribute in sysfs or the socket.
	Path string
	// Transport is a transport of package i2c, or Auto: then the file at the path decides.
	Transport string
	// Unknown is the transport of a character device whose driver is not known. With Auto such a
	// device is not opened.
	Unknown string
	// AutoBind: if the device is missing, the bus binds it, as ipmbbridge does.
	AutoBind bool
	// FollowAddress: our own address is the one at which the kernel has the device.
	FollowAddress bool
	// Switches are set on the driver, if it has switches.
	Switches i2c.Switches
	// Open opens another transport instead of the one at Path; nil opens the real one.
	Open func() (i2c.Transport, error)
}

// Auto is the transport that is found out.
const Auto = "auto"

// link is an engine on the transport of a device, as the link of a bus.
type link struct {
	bus.EngineLink
	bus    *bus.Bus
	device *device // of the goroutine that runs the bus

	followAddress bool // of Config

	mu        sync.Mutex
	transport i2c.Transport // open, nil while it is not
	shown     shown
	switches  i2c.Switches      // wanted
	past      map[string]uint64 // counters of the transports that have ended
}

// New makes a bus. It uses the engine of the bus that was on the path before, if engines has it.
// When the bus has ended, keep leaves the engine to the next one.
func New(c Config, engines *Engines) (b *bus.Bus, keep func()) {
	l := newLink(c, newDevice(c, thisSystem(c)), engines)
	return l.bus, func() { engines.keep(c.Path, l.Engine) }
}

func newLink(c Config, d *device, engines *Engines) *link {
	l := &link{device: d, followAddress: c.FollowAddress, shown: d.shown(), switches: c.Switches, past: make(map[string]uint64)}
	l.bus = bus.New(c.Config, l)
	c.Engine.Reading, c.Engine.Wrote, c.Engine.Stalled = l.bus.Reading, l.bus.Wrote, l.bus.Stalled
	l.Engine = engines.engine(c.Path, c.Engine)
	return l
}

// Engines keeps the engines of buses that have ended, by path: the knowledge of an engine about
// its bus also holds when the bus is served again. The zero value is ready.
type Engines struct {
	mu   sync.Mutex
	idle map[string]idleEngine
}

// idleEngine is an engine, and when its bus ended.
type idleEngine struct {
	engine *ipmb.Engine
	since  time.Time
}

// keepTime is how long an engine is kept. After that the engine keeps no response and holds no
// number, since no duplicate window and no handler's time is longer (MaxWindow of service/config).
const keepTime = time.Minute

func (e *Engines) keep(path string, engine *ipmb.Engine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.idle == nil {
		e.idle = make(map[string]idleEngine)
	}
	maps.DeleteFunc(e.idle, func(_ string, one idleEngine) bool { return time.Since(one.since) > keepTime })
	e.idle[path] = idleEngine{engine, time.Now()}
}

// engine is the engine of the bus that was on a path, or else a new one.
func (e *Engines) engine(path string, c ipmb.Config) *ipmb.Engine {
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
func (l *link) Connect(ctx context.Context) error {
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
	if l.followAddress {
		l.SetAddress(ipmi.Address(l.device.addressOr(uint8(l.Address()))))
	}
	l.bus.SetWarning(warningOf(t, l.device.kind, switches))
	return nil
}

// warningOf is what is wrong with an open transport, which may lack the switches that are wanted.
func warningOf(t i2c.Transport, kind string, wanted i2c.Switches) string {
	if _, ok := t.(i2c.Switcher); !ok && wanted != (i2c.Switches{}) {
		return fmt.Sprintf("ignore-nack and verify-header-checksum are switches of the transport %s; this one is %s",
			i2c.IPMBDevice, kind)
	}
	if warner, ok := t.(i2c.Warner); ok {
		return warner.Warning()
	}
	return ""
}

func (l *link) Serve(ctx context.Context) error {
	t := l.opened()
	err := l.Run(ctx, t)
	l.closed(t)
	if errors.Is(err, io.EOF) {
		return errors.New(l.device.path + ": end of file: the device, or the program that serves it, has gone")
	}
	return err
}

func (l *link) Close(context.Context) {
	if t := l.opened(); t != nil {
		t.Close()
		l.closed(t)
	}
}

func (l *link) Watch() (bus.Watch, error) { return l.device.watch() }

func (l *link) opened() i2c.Transport {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.transport
}

// closed keeps the counters of a transport that is closed.
func (l *link) closed(t i2c.Transport) {
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

// Statistics implements bus.Link: the counters of the engine, and of the transports so far.
func (l *link) Statistics() map[string]uint64 {
	statistics := l.Engine.Statistics()
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

func (l *link) Describe(p *bus.Properties) {
	l.EngineLink.Describe(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	switches := l.switches
	if switcher, ok := l.transport.(i2c.Switcher); ok {
		switches = switcher.Switches()
	} else if l.transport != nil {
		switches = i2c.Switches{}
	}
	p.Device, p.Transport = l.shown.path, l.shown.kind
	p.IgnoreNACK, p.VerifyChecksum = switches.IgnoreNACK, switches.VerifyChecksum
}

func (l *link) SetIgnoreNACK(on bool) error {
	return l.setSwitch(i2c.Switcher.SetIgnoreNACK, &l.switches.IgnoreNACK, on)
}

func (l *link) SetVerifyChecksum(on bool) error {
	return l.setSwitch(i2c.Switcher.SetVerifyChecksum, &l.switches.VerifyChecksum, on)
}

// setSwitch sets a switch of the driver and then, if that worked, of the next device, too.
func (l *link) setSwitch(set func(i2c.Switcher, bool) error, next *bool, on bool) error {
	t := l.opened()
	if t == nil {
		return ipmb.ErrClosed
	}
	switcher, ok := t.(i2c.Switcher)
	if !ok {
		return ipmb.ErrUnsupported
	}
	switch err := set(switcher, on); {
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%w: %w", ipmb.ErrUnsupported, err)
	case errors.Is(err, i2c.ErrClosed):
		return err
	case err != nil:
		return &deviceError{bus.ErrDevice, err, ""}
	}
	l.mu.Lock()
	*next = on
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

func (l *link) SetOwnAddress(ctx context.Context, a ipmi.Address) error {
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
	if err := l.removable(); err != nil {
		return err
	}
	return l.bus.Change(ctx, fmt.Sprintf("changing to own address %v", a), func(ctx context.Context) error {
		return l.moveTo(ctx, a)
	})
}

// moveTo moves the device to another own address. One that is missing is bound there later.
func (l *link) moveTo(ctx context.Context, a ipmi.Address) error {
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

// reopen opens the device after a change that failed or changed nothing, and returns err.
func (l *link) reopen(ctx context.Context, err error) error {
	_ = l.bus.Reopen(ctx) // A failure is in the state.
	return err
}

func (l *link) setAddress(a ipmi.Address) {
	l.SetAddress(a)
	l.bus.Changed()
}

func (l *link) Bind(ctx context.Context) error {
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

func (l *link) Unbind(ctx context.Context) error {
	if err := l.bindable(); err != nil {
		return err
	}
	if err := l.removable(); err != nil {
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

// removable refuses a device that cannot be deleted. So it is not closed for nothing, and the
// requests in progress go on.
func (l *link) removable() error {
	l.mu.Lock()
	path := l.shown.path
	l.mu.Unlock()
	if err := l.device.removable(path); err != nil {
		return explain(err)
	}
	return nil
}

// bindable refuses a transport that no kernel driver is behind.
func (l *link) bindable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown.kernels {
		return nil
	}
	return bus.NotBindable(l.shown.path)
}
