package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// State says whether a bus or a host interface works.
type State = bus.State

// States of a bus or a host interface. Only a host interface can be Waiting: no machine is
// connected to it.
const Up, Waiting, Degraded, Down = bus.Up, bus.Waiting, bus.Degraded, bus.Down

// Unbound is the Reason of a bus that is Down since Unbind.
const Unbound = bus.Unbound

// Bus is a bus with its properties. Names of properties are as in package xml.
type Bus struct {
	bus.Properties
	Path dbus.ObjectPath // of the D-Bus object
}

// Host is a host interface with its properties.
type Host struct {
	Name    string // as in the configuration
	Type    string // "vm", "bt", "kcs" or "ssif"
	Path    string // of the device or socket
	Channel ipmi.Channel
	Handler string // "host", "bmc" or "none"
	State   State
	Reason  string          // of State, a sentence; empty if Up
	Object  dbus.ObjectPath // path of the D-Bus object
}

// Endpoint is a bus or a host interface: one of the pointers is not nil.
type Endpoint struct {
	Name   string
	Device string // path of the device or socket
	Bus    *Bus
	Host   *Host
}

// Endpoints returns the buses and the host interfaces by name, with numbers in order: bus2 before
// bus10.
func (c *Client) Endpoints(ctx context.Context) ([]Endpoint, error) {
	var objects map[dbus.ObjectPath]map[string]properties
	if err := c.call(ctx, xml.BasePath, xml.ObjectManagerInterface, "GetManagedObjects", []any{&objects}); err != nil {
		return nil, err
	}
	var endpoints []Endpoint
	for path, interfaces := range objects {
		if p, ok := interfaces[xml.BusInterface]; ok {
			b := newBus(path, p)
			endpoints = append(endpoints, Endpoint{b.Name, b.Device, &b, nil})
		}
		if p, ok := interfaces[xml.HostInterface]; ok {
			h := newHost(path, p)
			endpoints = append(endpoints, Endpoint{h.Name, h.Path, nil, &h})
		}
	}
	slices.SortFunc(endpoints, func(a, b Endpoint) int { return compareNames(a.Name, b.Name) })
	return endpoints, nil
}

// Endpoint returns the bus or the host interface of a name. If there is none, the error is a
// *NotFoundError.
func (c *Client) Endpoint(ctx context.Context, name string) (Endpoint, error) {
	endpoints, err := c.Endpoints(ctx)
	if err != nil {
		return Endpoint{}, err
	}
	notFound := &NotFoundError{Name: name}
	for _, e := range endpoints {
		if e.Name == name {
			return e, nil
		}
		notFound.Known = append(notFound.Known, e.Name)
	}
	return Endpoint{}, notFound
}

// Statistics returns the counters of a bus or a host interface, by name.
func (c *Client) Statistics(ctx context.Context, e Endpoint) (counters map[string]uint64, err error) {
	if e.Host != nil {
		err = c.call(ctx, e.Host.Object, xml.HostInterface, "GetStatistics", []any{&counters})
	} else {
		err = c.call(ctx, e.Bus.Path, xml.BusInterface, "GetStatistics", []any{&counters})
	}
	return counters, err
}

// Buses returns all buses, in the order of Endpoints.
func (c *Client) Buses(ctx context.Context) ([]Bus, error) {
	endpoints, err := c.Endpoints(ctx)
	var buses []Bus
	for _, e := range endpoints {
		if e.Bus != nil {
			buses = append(buses, *e.Bus)
		}
	}
	return buses, err
}

// Bus returns the bus of a name. If there is none, the error is a *NotFoundError.
func (c *Client) Bus(ctx context.Context, name string) (Bus, error) {
	var p properties
	path, err := c.callBus(ctx, name, xml.PropertiesInterface, "GetAll", []any{&p}, xml.BusInterface)
	return newBus(path, p), err
}

// Bind creates the kernel device of a bus and opens it. An error of ipmbd is a *ServiceError whose
// text says what to do.
func (c *Client) Bind(ctx context.Context, bus string) error {
	_, err := c.callBus(ctx, bus, xml.BusInterface, "bind", nil)
	return err
}

// Unbind closes the kernel device of a bus and deletes it. It returns the errors of Bind.
func (c *Client) Unbind(ctx context.Context, bus string) error {
	_, err := c.callBus(ctx, bus, xml.BusInterface, "unbind", nil)
	return err
}

// callBus calls a method of the object of a bus, and returns the path of the object.
func (c *Client) callBus(
	ctx context.Context, name, iface, member string, results []any, args ...any,
) (dbus.ObjectPath, error) {
	path := dbus.ObjectPath(xml.ObjectPath(name))
	err := ErrOtherService
	if name != "" && !strings.Contains(name, "/") && path.IsValid() {
		err = c.call(ctx, path, iface, member, results, args...)
	}
	if !errors.Is(err, ErrOtherService) {
		return path, err
	}
	// There is no such object, or no such method.
	buses, listErr := c.Buses(ctx)
	if listErr != nil {
		return path, listErr
	}
	notFound := &NotFoundError{Name: name, OnlyBuses: true}
	for _, b := range buses {
		if b.Name == name {
			return path, err
		}
		notFound.Known = append(notFound.Known, b.Name)
	}
	return path, notFound
}

// AddBus adds a bus and returns its name. json is an object as in the list "channels" of the
// configuration file. An error of ipmbd is a *ServiceError whose text has a line for each fault.
func (c *Client) AddBus(ctx context.Context, json string) (name string, err error) {
	return c.addEndpoint(ctx, "AddBus", json)
}

// AddHost adds a host interface, as AddBus adds a bus. json is an object as in the list "hosts".
func (c *Client) AddHost(ctx context.Context, json string) (name string, err error) {
	return c.addEndpoint(ctx, "AddHost", json)
}

func (c *Client) addEndpoint(ctx context.Context, member, json string) (string, error) {
	var path dbus.ObjectPath
	err := c.call(ctx, xml.BasePath, xml.ManagerInterface, member, []any{&path}, json)
	return strings.TrimPrefix(string(path), xml.BasePath+"/"), err
}

// Remove removes the bus or the host interface with a name. If there is none, the error is a
// *NotFoundError.
func (c *Client) Remove(ctx context.Context, name string) error {
	e, err := c.Endpoint(ctx, name)
	if err != nil {
		return err
	}
	if e.Host != nil {
		return c.call(ctx, xml.BasePath, xml.ManagerInterface, "RemoveHost", nil, e.Host.Object)
	}
	return c.call(ctx, xml.BasePath, xml.ManagerInterface, "RemoveBus", nil, e.Bus.Path)
}

// Reload makes ipmbd read its configuration file again. It returns the errors of AddBus.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, xml.BasePath, xml.ManagerInterface, "Reload", nil)
}

// Handler is a handler that a program has registered.
type Handler struct {
	Owner    string          // unique name of the program's connection: ":1.42"
	Process  uint32          // ID of the program's process, 0 if it is not known
	Path     dbus.ObjectPath // of the handler's object
	Patterns []ipmi.Pattern  // the requests that the handler serves
}

// Handlers returns the handlers that programs have registered, in the order of registration.
func (c *Client) Handlers(ctx context.Context) ([]Handler, error) {
	rows, err := c.handlerRows(ctx)
	if err != nil {
		return nil, err
	}
	var handlers []Handler
	for _, r := range rows {
		i := slices.IndexFunc(handlers, func(h Handler) bool { return h.Owner == r.Owner && h.Path == r.Path })
		if i < 0 {
			i = len(handlers)
			var process uint32 // The program may have left by now.
			_ = askBus(ctx, func(ctx context.Context) (err error) {
				process, err = c.conn.CallBusForNumber(ctx, "GetConnectionUnixProcessID", r.Owner)
				return err
			})
			handlers = append(handlers, Handler{Owner: r.Owner, Process: process, Path: r.Path})
		}
		handlers[i].Patterns = append(handlers[i].Patterns, ipmi.Pattern{
			NetFn: ipmi.NetFn(r.NetFn), Command: ipmi.Command(r.Command),
			Group: r.Group, Channels: ipmi.ChannelMask(r.Channels),
		})
	}
	return handlers, nil
}

// handlerRow is (soyyuu), an element of the property Handlers.
type handlerRow struct {
	Owner           string
	Path            dbus.ObjectPath
	NetFn, Command  byte
	Group, Channels uint32
}

// handlerRows reads the property Handlers.
func (c *Client) handlerRows(ctx context.Context) (rows []handlerRow, err error) {
	err = c.call(ctx, xml.BasePath, xml.PropertiesInterface, "Get", []any{&rows}, xml.RouterInterface, "Handlers")
	return rows, err
}

// Faults returns what ipmbd cannot use beside buses and host interfaces, a text for each.
func (c *Client) Faults(ctx context.Context) (faults []string, err error) {
	err = c.call(ctx, xml.BasePath, xml.PropertiesInterface, "Get", []any{&faults}, xml.ManagerInterface, "Faults")
	return faults, err
}

// properties are the properties of an object.
type properties = map[string]dbus.Variant

// property returns a property, or the zero value if it is missing or has another type: not every
// object has all properties.
func property[T any](p properties, name string) T {
	value, _ := p[name].Value().(T)
	return value
}

func newBus(path dbus.ObjectPath, p properties) Bus {
	return Bus{
		Properties: bus.Properties{
			Name:          property[string](p, "Bus"),
			Device:        property[string](p, "Device"),
			Transport:     property[string](p, "Transport"),
			Channel:       ipmi.Channel(property[uint8](p, "Channel")),
			Index:         property[uint8](p, "Index"),
			OwnAddress:    ipmi.Address(property[uint8](p, "OwnAddress")),
			RemoteAddress: ipmi.Address(property[uint8](p, "RemoteAddress")),
			State:         State(property[string](p, "State")),
			Reason:        property[string](p, "StateReason"),
			Handler:       property[string](p, "Handler"),
			Policy: ipmb.RetryPolicy{
				Timeout: time.Duration(property[uint32](p, "TimeoutMs")) * time.Millisecond,
				Tries:   int(property[uint32](p, "Tries")),
			},
			IgnoreNACK:     property[bool](p, "IgnoreNack"),
			VerifyChecksum: property[bool](p, "VerifyHeaderChecksum"),
		},
		Path: path,
	}
}

func newHost(path dbus.ObjectPath, p properties) Host {
	return Host{
		Name:    property[string](p, "Name"),
		Type:    property[string](p, "Type"),
		Path:    property[string](p, "Path"),
		Channel: ipmi.Channel(property[uint8](p, "Channel")),
		Handler: property[string](p, "Handler"),
		State:   State(property[string](p, "State")),
		Reason:  property[string](p, "StateReason"),
		Object:  path,
	}
}

// compareNames orders names that end with a number by the number.
func compareNames(a, b string) int {
	wordA, wordB := strings.TrimRight(a, "0123456789"), strings.TrimRight(b, "0123456789")
	return cmp.Or(cmp.Compare(wordA, wordB), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}
