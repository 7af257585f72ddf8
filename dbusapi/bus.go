package dbusapi

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Bus is what a Server needs of an IPMB. All methods may be called from
// several goroutines at once, also while the bus is down.
type Bus interface {
	// Do sends a request and waits for the answer, at most until ctx ends. A
	// responder of 0 is the configured remote address. The errors are those of
	// package ipmb.
	Do(ctx context.Context, req ipmb.Request) (ipmi.Response, error)
	// Broadcast sends a frame to address 0, to which nobody answers.
	Broadcast(ctx context.Context, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error
	// Properties is how the bus is now. It does not block.
	Properties() Properties
	// SetPolicy changes the policy of requests that bring none.
	SetPolicy(p ipmb.Policy) error
	// SetOwnAddress changes our own address on the bus. Where a kernel driver
	// answers at it, that moves along, and calls in progress end with
	// ipmb.ErrClosed. The errors are also ErrNoAdapter, ErrInUse, ErrFixed and
	// ErrDevice.
	SetOwnAddress(ctx context.Context, a ipmi.Address) error
	// Bind makes the kernel device of the bus and opens it; with it open, it
	// does nothing. The errors are those of SetOwnAddress.
	Bind(ctx context.Context) error
	// Unbind closes and deletes the kernel device of the bus, which is Down then
	// until Bind. The errors are those of SetOwnAddress.
	Unbind(ctx context.Context) error
	// SetIgnoreNACK and SetVerifyChecksum set the switches of Properties. The
	// errors are ipmb.ErrUnsupported where the driver has none, ipmb.ErrClosed
	// and ErrDevice.
	SetIgnoreNACK(on bool) error
	SetVerifyChecksum(on bool) error
	// Statistics is the counters by name; the caller may change the map.
	Statistics() map[string]uint64
}

// Sender is a Bus with an engine: it needs no goroutine for each request of
// BusObject.Send. See ipmb.Engine.Send.
type Sender interface {
	Send(c *ipmb.Call, req *ipmb.Request) error
}

// Broadcaster is a Bus with an engine: see ipmb.Engine.StartBroadcast.
type Broadcaster interface {
	StartBroadcast(done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error
}

// Beginner is a Bus that takes no calls yet when it is exported. Requests of D-Bus
// clients wait until Begun is closed.
type Beginner interface {
	Begun() <-chan struct{}
}

// Watcher is a Bus that is told how the requests of Sender that D-Bus clients have
// made ended. It must not block.
type Watcher interface {
	Sent(req *ipmb.Request, res ipmi.Response, err error)
}

// Properties is what a bus shows of itself. It is comparable.
type Properties struct {
	Name      string // as in the configuration
	Device    string // path of the device or socket
	Transport string
	Channel   ipmi.Channel
	Index     uint8 // devIndex<<2 | type

	OwnAddress    ipmi.Address
	RemoteAddress ipmi.Address
	State         State
	Reason        string // of State, a sentence; "" when Up
	Handler       string // "host", "signal", "bmc" or "none"
	Policy        ipmb.Policy

	// IgnoreNACK: frames are sent to their end even if nobody takes them.
	IgnoreNACK bool
	// VerifyChecksum: the driver checks the header checksum of what it receives.
	VerifyChecksum bool
}

// State is whether a bus works.
type State string

// States of a bus.
const (
	Up       State = "Up"
	Degraded State = "Degraded"
	Down     State = "Down"
)

// Unbound is the Reason of a bus that is Down since Unbind.
const Unbound = "unbound"

// Types of channels, the lower two bits of an index (ipmbbridge's
// ipmb-channels.json).
const (
	channelTypeMask = 3
	channelTypeIPMB = 0
)

// BusObject is a bus on D-Bus. Server.NewBus makes it before the bus exists, so
// that the bus can be given its observer and its handler; Server.AddBus exports
// it.
type BusObject struct {
	server *Server
	name   string
	index  uint8
	path   dbus.ObjectPath
	bus    Bus // from AddBus on

	opening    atomic.Pointer[opening] // nil when the bus has begun
	maxCalls   int
	inProgress atomic.Int32
	leaving    atomic.Bool   // no more calls are let in
	left       chan struct{} // has room: told when the last call has ended while leaving
	refused    atomic.Uint64
	unsent     atomic.Uint64

	policy sync.Mutex  // one change of the policy at a time
	dirty  atomic.Bool // properties may have changed since they were told
	told   Properties  // of the emitting loop, once exported

	answered atomic.Bool // by way of signals
	waiting  waiting     // for sendResponse
}

// Path is where the object is exported: BasePath and the name of the bus, "-"
// replaced by "_", which D-Bus allows.
func (o *BusObject) Path() dbus.ObjectPath { return o.path }

// childPath is where what has a name in the configuration is exported.
func childPath(kind, name string) (dbus.ObjectPath, error) {
	path := BasePath + "/" + dbus.ObjectPath(strings.ReplaceAll(name, "-", "_"))
	if name == "" || strings.Contains(name, "/") || !path.IsValid() {
		return "", fmt.Errorf("%s name %q: only letters, digits, - and _ can be in an object path", kind, name)
	}
	if path == handlersPath {
		return "", fmt.Errorf("%s name %q: its object path is the parent of registered handlers", kind, name)
	}
	return path, nil
}

// begin begins a call on the bus.
func (o *BusObject) begin() error {
	n := int(o.inProgress.Add(1))
	switch {
	case o.leaving.Load():
		o.leave()
		return errRemoved
	case n > o.maxCalls:
		o.leave()
		return ErrLimit
	}
	return nil
}

// enter begins a call of a D-Bus client.
func (o *BusObject) enter() error {
	err := o.begin()
	if err == ErrLimit {
		o.refused.Add(1)
	}
	return err
}

func (o *BusObject) leave() {
	if o.inProgress.Add(-1) > 0 || !o.leaving.Load() {
		return
	}
	select {
	case o.left <- struct{}{}:
	default: // It has been told.
	}
}

// Drain lets no more requests to the bus in and waits until those in progress have
// ended, at most until ctx does.
func (o *BusObject) Drain(ctx context.Context) {
	o.leaving.Store(true)
	for o.inProgress.Load() > 0 {
		select {
		case <-o.left:
		case <-ctx.Done():
			return
		}
	}
}

// Send sends a request of a client who is not on D-Bus, within the limit of the
// bus: beyond it the error is ipmb.ErrBusy. Without an error, Ended is to be called
// when the request has ended.
func (o *BusObject) Send(c *ipmb.Call, req *ipmb.Request) error {
	if req.Responder == 0 { // which is the remote address for Do
		return fmt.Errorf("%w: responder 00h", ipmb.ErrInvalid)
	}
	switch err := o.begin(); err {
	case nil:
	case ErrLimit:
		return ipmb.ErrBusy
	default:
		return err
	}
	err := o.send(c, req)
	if err != nil {
		o.leave()
	}
	return err
}

// send sends a request that has begun.
func (o *BusObject) send(c *ipmb.Call, req *ipmb.Request) error {
	if sender, ok := o.bus.(Sender); ok {
		return sender.Send(c, req)
	}
	c.SendBy(o.server.callers.base, req, o.bus.Do)
	return nil
}

// Ended is the end of a request of Send. It does not block.
func (o *BusObject) Ended() { o.leave() }

// start sends the request or broadcast of a D-Bus client within the limit of the bus,
// or keeps it until the bus has begun.
func (o *BusObject) start(x *busCall) error {
	if err := o.enter(); err != nil {
		return err
	}
	if opening := o.opening.Load(); opening != nil && opening.keep(x) {
		return nil
	}
	return o.startNow(x)
}

func (o *BusObject) startNow(x *busCall) error {
	err := x.begin()
	if err == nil {
		err = x.method.send(x)
	}
	if err != nil {
		o.leave()
		return err
	}
	x.begun()
	return nil
}

// sendRequestOf and sendBroadcastOf send what a call asks for.
func sendRequestOf(x *busCall) error { return x.object.send(x.call, &x.request) }

func sendBroadcastOf(x *busCall) error {
	return x.object.sendBroadcast(x.server.callers.base, &x.request, x.broadcastDone)
}

// sendBroadcast sends a broadcast that has begun.
func (o *BusObject) sendBroadcast(ctx context.Context, req *ipmb.Request, done func(error)) error {
	if b, ok := o.bus.(Broadcaster); ok {
		return b.StartBroadcast(done, req.NetFn, req.RequesterLUN, req.Command, req.Data)
	}
	o.waitForBroadcast(ctx, req, done)
	return nil
}

// waitForBroadcast sends a broadcast where there is no engine to do so, or not yet: a
// goroutine waits.
func (o *BusObject) waitForBroadcast(ctx context.Context, req *ipmb.Request, done func(error)) {
	copied := *req
	copied.Data = append([]byte(nil), req.Data...)
	o.server.waits.Go(func() {
		done(o.bus.Broadcast(ctx, copied.NetFn, copied.RequesterLUN, copied.Command, copied.Data))
	})
}

// ended is the end of what start has sent.
func (o *BusObject) ended(x *busCall, r ipmi.Response, err error) {
	o.leave()
	if w, ok := o.bus.(Watcher); ok {
		w.Sent(&x.request, r, err)
	}
}

// startBroadcast sends a broadcast within the limit of the bus. Without an error done
// is told how it has ended.
func (o *BusObject) startBroadcast(ctx context.Context, req *ipmb.Request, done func(error)) error {
	if err := o.enter(); err != nil {
		return err
	}
	ended := func(err error) {
		o.leave()
		done(err)
	}
	if o.opening.Load() != nil {
		o.waitForBroadcast(ctx, req, ended)
		return nil
	}
	err := o.sendBroadcast(ctx, req, ended)
	if err != nil {
		o.leave()
	}
	return err
}

// checkRequest refuses what does not fit its bits in a frame, before it is
// cut off there.
func checkRequest(netFn ipmi.NetFn, responder, requester ipmi.LUN) error {
	switch {
	case netFn > ipmi.MaxNetFn || netFn.IsResponse():
		return fmt.Errorf("%w: network function %02Xh: it must be even and at most 3Eh", ipmb.ErrInvalid, uint8(netFn))
	case responder > ipmi.MaxLUN:
		return fmt.Errorf("%w: LUN %d: it must be 0 to 3", ipmb.ErrInvalid, responder)
	case requester > ipmi.MaxLUN:
		return fmt.Errorf("%w: requester LUN %d: it must be 0 to 3", ipmb.ErrInvalid, requester)
	}
	return nil
}

// changePolicy changes the policy of the bus.
func (o *BusObject) changePolicy(change func(*ipmb.Policy) error) error {
	o.policy.Lock()
	defer o.policy.Unlock()
	policy := o.bus.Properties().Policy
	if err := change(&policy); err != nil {
		return err
	}
	return o.bus.SetPolicy(policy)
}

// statistics is the counters of the bus and of its object.
func (o *BusObject) statistics() map[string]uint64 {
	all := maps.Clone(o.bus.Statistics())
	if all == nil {
		all = make(map[string]uint64)
	}
	all["dbus-calls-refused"] = o.refused.Load()
	all["dbus-signals-dropped"] = o.unsent.Load()
	return all
}
