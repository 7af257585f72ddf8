package dbusapi

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Properties is what a bus shows of itself.
type Properties = bus.Properties

// State is whether a bus, or a host interface, works.
type State = bus.State

// States of a bus.
const (
	Up       = bus.Up
	Degraded = bus.Degraded
	Down     = bus.Down
)

// Unbound is the Reason of a bus that is Down since Unbind.
const Unbound = bus.Unbound

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
	bus    *bus.Bus // from AddBus on
	places int      // of the bus

	refused atomic.Uint64 // calls beyond the limits of the bus
	unsent  atomic.Uint64

	policy sync.Mutex  // one change of the policy at a time
	dirty  atomic.Bool // properties may have changed since they were told
	told   Properties  // of the emitting loop, once exported

	answered atomic.Bool // by way of signals
	waiting  waiting     // for sendResponse
}

// Path is where the object is exported: BasePath and the name of the bus, "-"
// replaced by "_", which D-Bus allows.
func (o *BusObject) Path() dbus.ObjectPath { return o.path }

// Index is that of the bus, devIndex<<2 | type.
func (o *BusObject) Index() uint8 { return o.index }

// Leaving reports whether the bus is on its way out.
func (o *BusObject) Leaving() bool { return o.bus.Leaving() }

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

// start sends the request or broadcast of a D-Bus client.
func (o *BusObject) start(x *busCall) error {
	err := x.begin()
	if err == nil {
		err = x.method.send(x)
	}
	if err != nil {
		return err
	}
	x.begun()
	return nil
}

// sendRequestOf and sendBroadcastOf send what a call asks for.
func sendRequestOf(x *busCall) error {
	x.request.Responder = x.object.bus.Responder(x.request.Responder)
	return x.object.bus.Send(x.call, &x.request)
}

func sendBroadcastOf(x *busCall) error {
	req := &x.request
	return x.object.bus.StartBroadcast(&x.caller.client, x.broadcastDone, req.NetFn, req.RequesterLUN, req.Command, req.Data)
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
func (o *BusObject) changePolicy(change func(*ipmb.RetryPolicy) error) error {
	o.policy.Lock()
	defer o.policy.Unlock()
	policy := o.bus.RetryPolicy()
	if err := change(&policy); err != nil {
		return err
	}
	o.bus.SetRetryPolicy(policy)
	return nil
}

// statistics is the counters of the bus and of its object.
func (o *BusObject) statistics() map[string]uint64 {
	all := o.bus.Statistics()
	all["dbus-calls-refused"] = o.refused.Load()
	all["dbus-signals-dropped"] = o.unsent.Load()
	return all
}
