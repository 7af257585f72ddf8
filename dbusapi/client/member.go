package client

import (
	"context"
	"fmt"
	"slices"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Endpoint is a bus or a host interface: one of the fields is not nil.
type Endpoint struct {
	Bus  *Bus
	Host *Host
}

// Host is a host interface as the service shows it.
type Host struct {
	Name    string // as in the configuration
	Type    string // "vm", "bt", "kcs" or "ssif"
	Path    string // of the device or socket
	Channel ipmi.Channel
	Handler string // "host", "bmc" or "none"
	State   bus.State
	Reason  string // of State, a sentence; "" when Up
	// Object is the path of the interface's object.
	Object dbus.ObjectPath
	// Statistics are the interface's counters by name.
	Statistics map[string]uint64
}

// Name is the member's name.
func (m Endpoint) Name() string {
	if m.Host != nil {
		return m.Host.Name
	}
	return m.Bus.Name
}

// Device is the path of the member's device or socket.
func (m Endpoint) Device() string {
	if m.Host != nil {
		return m.Host.Path
	}
	return m.Bus.Device
}

// Endpoints are the buses and the host interfaces, by name with numbers in order.
func (c *Client) Endpoints(ctx context.Context) ([]Endpoint, error) {
	objects, err := c.managedObjects(ctx)
	if err != nil {
		return nil, err
	}
	var members []Endpoint
	for path, interfaces := range objects {
		if properties, ok := interfaces[xml.BusInterface]; ok {
			members = append(members, Endpoint{Bus: new(newBus(path, properties))})
		}
		if properties, ok := interfaces[xml.HostInterface]; ok {
			members = append(members, Endpoint{Host: new(newHost(path, properties))})
		}
	}
	slices.SortFunc(members, func(a, b Endpoint) int { return compareNames(a.Name(), b.Name()) })
	return members, nil
}

// Endpoint is the bus or the host interface of a name. The error is an
// *UnknownEndpointError when there is none.
func (c *Client) Endpoint(ctx context.Context, name string) (Endpoint, error) {
	members, err := c.Endpoints(ctx)
	if err != nil {
		return Endpoint{}, err
	}
	unknown := &UnknownEndpointError{Name: name}
	for _, m := range members {
		if m.Name() == name {
			return m, nil
		}
		unknown.Known = append(unknown.Known, m.Name())
	}
	return Endpoint{}, unknown
}

// newHost reads the properties of a host interface, as newBus does.
func newHost(path dbus.ObjectPath, properties map[string]dbus.Variant) Host {
	return Host{
		Name:       propertyOf[string](properties, "Name"),
		Type:       propertyOf[string](properties, "Type"),
		Path:       propertyOf[string](properties, "Path"),
		Channel:    ipmi.Channel(propertyOf[uint8](properties, "Channel")),
		Handler:    propertyOf[string](properties, "Handler"),
		State:      bus.State(propertyOf[string](properties, "State")),
		Reason:     propertyOf[string](properties, "StateReason"),
		Object:     path,
		Statistics: propertyOf[map[string]uint64](properties, "Statistics"),
	}
}

// UnknownEndpointError says that there is no bus and no host interface of a name.
type UnknownEndpointError struct {
	Name  string
	Known []string // the names there are
}

// Error implements error.
func (e *UnknownEndpointError) Error() string {
	return fmt.Sprintf("no bus and no host interface %q", e.Name)
}
