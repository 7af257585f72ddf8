package openipmi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/internal/chardev"
	"ipmbd/internal/counters"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Transport is the name of the transport in Properties.
const Transport = "openipmi"

// defaultPolicy is the policy of requests without a policy of their own. It is longer than the 5 s
// after which the driver gives its own controller up, and the driver's clock, which ticks once a
// second, can measure it.
var defaultPolicy = ipmb.RetryPolicy{Tries: 3, Timeout: 2 * time.Second}

// Config describes a bus on a device of the driver.
type Config struct {
	bus.Config // except RemoteAddress, which is the controller's
	// Engine is the configuration of the engine that serves the requests from the channel: the
	// driver passes on the Commands in any case, and those that programs have registered at Mux.
	// New sets the engine's policy and the functions by which it reports to the bus.
	Engine   ipmb.Config
	Mux      *ipmi.Mux
	Commands []ipmi.Commands
	Path     string // of the device
	// Report logs an event of the controller, and returns when the log has it.
	Report func(ctx context.Context, e ipmi.Event) error
	// Trouble is called, for logs, with a problem with events and how many events are lost for
	// good.
	Trouble func(what string, lost int, err error)

	open func(counters.Set[counter]) (device, error)
	// look looks at Path, and returns a function that watches it for changes since.
	look func() (watch func() (bus.Watch, error))
}

// device has the methods of a Device that a bus needs.
type device interface {
	Send(c *call) error
	Cancel(owner *bus.Call)
	Receive() (req ipmi.Request, event []byte, err error)
	Respond(req *ipmi.Request, response []byte) error
	Register(c ipmi.Commands, on bool) error
	SetEvents(on bool) error
	Address() (ipmi.Address, error)
	SetAddress(a ipmi.Address) error
	Direct() bool
	MaxData() int
	Close() error
}

// link is the driver as the link of a bus. An engine serves the requests from the channel, each
// once.
//
// The engine's address is the one from which the controller sends and at which it receives.
type link struct {
	bus.EngineLink
	bus.Fixed
	config Config
	bus    *bus.Bus
	events *events
	counts counters.Set[counter]     // of all devices
	watch  func() (bus.Watch, error) // see Config.look; of the goroutine that runs the bus

	mu     sync.Mutex
	device device // nil while it is not open
}

// New makes a bus. It opens the device, and again whenever a new device appears at its path.
func New(config Config) *bus.Bus {
	if config.open == nil {
		config.open = func(counts counters.Set[counter]) (device, error) {
			return Open(config.Path, config.Channel, counts)
		}
		config.look = func() func() (bus.Watch, error) {
			seen := chardev.Look(config.Path)
			return func() (bus.Watch, error) { return chardev.OpenWatch(config.Path, seen) }
		}
	}
	l := &link{Fixed: bus.Fixed{Path: config.Path}, config: config, counts: counters.New[counter](counterNames)}
	l.events = &events{config: config, counts: l.counts, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	l.bus = bus.New(config.Config, l)
	config.Engine.RetryPolicy = defaultPolicy
	config.Engine.Reading, config.Engine.Stalled = l.bus.Reading, l.bus.Stalled
	l.Engine = ipmb.New(config.Engine)
	l.bus.SetRemoteAddress(l.Address())
	return l.bus
}

func (l *link) Connect(context.Context) error {
	l.watch = l.config.look()
	d, err := l.config.open(l.counts)
	if err != nil {
		return err
	}
	own, err := d.Address()
	if err != nil {
		d.Close()
		return err
	}
	l.setAddress(own)
	l.setDevice(d)
	return nil
}

func (l *link) setAddress(own ipmi.Address) {
	l.SetAddress(own)
	l.bus.SetRemoteAddress(own)
}

func (l *link) setDevice(d device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.device = d
}

func (l *link) Serve(ctx context.Context) error {
	d := l.opened()
	running, stop := context.WithCancel(ctx)
	var loops sync.WaitGroup
	loops.Go(l.followHandlers(running, d))
	loops.Go(func() { l.events.reportUntilEnd(running, d) })
	err := l.Run(running, &transport{device: d, link: l})
	stop()
	loops.Wait()
	l.setDevice(nil)
	if errors.Is(err, io.EOF) {
		return errors.New(l.config.Path + ": the device has gone")
	}
	return err
}

// Close implements bus.Device. It first reports the events for which the log has room.
func (l *link) Close(ctx context.Context) {
	if d := l.opened(); d != nil {
		d.Close()
		l.setDevice(nil)
	}
	l.events.end(ctx)
}

func (l *link) Watch() (bus.Watch, error) { return l.watch() }

func (l *link) opened() device {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.device
}

// Drain implements bus.Link, also for events on their way to the log.
func (l *link) Drain(ctx context.Context) {
	var draining sync.WaitGroup
	draining.Go(func() { l.Engine.Drain(ctx) })
	draining.Go(func() { l.events.drain(ctx) })
	draining.Wait()
}

func (l *link) Describe(p *bus.Properties) {
	l.EngineLink.Describe(p)
	p.Device, p.Transport = l.config.Path, Transport
}

// Statistics implements bus.Link: the calls are the driver's, the requests the engine's.
func (l *link) Statistics() map[string]uint64 {
	statistics := l.Engine.Statistics()
	l.counts.AddTo(statistics)
	return statistics
}

// SetOwnAddress implements bus.Link: the controller's address, for all programs of the driver.
func (l *link) SetOwnAddress(_ context.Context, a ipmi.Address) error {
	if !a.IsSlave() {
		return fmt.Errorf("%w: own address %v: it must be even, and not 00h", ipmb.ErrInvalid, a)
	}
	d := l.opened()
	switch {
	case d == nil:
		return ipmb.ErrClosed
	case d.Direct():
		return fmt.Errorf("%w: %s is on the bus itself, at an address of the kernel's", bus.ErrFixed, l.config.Path)
	}
	if err := d.SetAddress(a); err != nil {
		return asBusError(err)
	}
	l.setAddress(a)
	l.bus.Changed()
	return nil
}

func (l *link) SetRetryPolicy(p ipmb.RetryPolicy) { l.Engine.SetRetryPolicy(p.Or(defaultPolicy)) }

// StartBroadcast implements bus.Link: the driver sends nothing without awaiting a response.
func (l *link) StartBroadcast(func(error), ipmi.NetFn, ipmi.LUN, ipmi.Command, []byte) error {
	return ipmb.ErrUnsupported
}

// StartRespond implements bus.Link: messages are not bridged to the bus.
func (l *link) StartRespond([]byte, func(error)) error { return ipmb.ErrUnsupported }

// Send implements bus.Link. Our own address is the controller itself.
func (l *link) Send(b *bus.Call, req *ipmb.Request) error {
	if err := req.Check(); err != nil {
		return err
	}
	d := l.opened()
	if d == nil {
		return ipmb.ErrClosed
	}
	c := &call{owner: b, request: *req, done: func(res ipmi.Response, err error) { b.End(res, asBusError(err)) }}
	r := &c.request
	r.RetryPolicy = req.RetryPolicy.Or(l.RetryPolicy())
	switch {
	case req.Responder == l.Address():
		r.Responder = 0
	case len(req.Data) > d.MaxData():
		return fmt.Errorf("%w: %d bytes of data, %d are possible", ipmb.ErrTooLong, len(req.Data), d.MaxData())
	case req.FailFast: // The driver retries a request that is not acknowledged.
		r.RetryPolicy.Tries = 1
	}
	return asBusError(d.Send(c))
}

func (l *link) Cancel(b *bus.Call) {
	if d := l.opened(); d != nil {
		d.Cancel(b)
	}
}

// busErrors maps the errors of a device to errors of a bus.
var busErrors = []struct{ err, is error }{
	{unix.EAGAIN, ipmb.ErrBusy}, // no number is free
	{unix.EBUSY, ipmb.ErrBusy},  // a program has too many requests
	{unix.ENOMEM, ipmb.ErrBusy},
	{unix.EMSGSIZE, ipmb.ErrTooLong},
	{unix.EINVAL, ipmb.ErrUnsupported}, // the channel is no IPMB
	{unix.EAFNOSUPPORT, ipmb.ErrUnsupported},
	{unix.ENODEV, ipmb.ErrClosed},
	{io.EOF, ipmb.ErrClosed},
	{os.ErrClosed, ipmb.ErrClosed},
}

// asBusError is an error of a device as one of a bus. An error in no row stays as it is.
func asBusError(err error) error {
	for _, row := range busErrors {
		if errors.Is(err, row.err) {
			return fmt.Errorf("%w: %w", row.is, err)
		}
	}
	return err
}

// respond answers a request on the device that is open now: it may have come back meanwhile.
func (l *link) respond(to *ipmi.Request, response []byte) error {
	d := l.opened()
	if d == nil {
		return ipmb.ErrClosed
	}
	return asBusError(d.Respond(to, response))
}

// transport is a device as the transport of the engine that serves its requests. It has no frames:
// ReadFrames submits the requests, which the driver has decoded.
type transport struct {
	device
	link *link
}

// ReadFrames implements i2c.Transport.
func (t *transport) ReadFrames(*i2c.Batch) error {
	for {
		req, event, err := t.Receive()
		switch {
		case err != nil:
			return err
		case event != nil:
			t.link.events.takeRecord(event)
		default:
			to := req
			to.Data = nil
			t.link.Submit(&req, func(response []byte) error { return t.link.respond(&to, response) })
		}
	}
}

// WriteFrame implements i2c.Transport. It is not called.
func (t *transport) WriteFrame([]byte) error { return i2c.ErrStuck }

// Limits implements i2c.Transport. The device counts the completion code as data.
func (t *transport) Limits() i2c.Limits {
	return i2c.Limits{MaxFrame: ipmb.MinRequest + t.MaxData()}
}
