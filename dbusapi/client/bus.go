package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Bus is a bus as the service shows it.
type Bus struct {
	bus.Properties
	// Path is the bus's object.
	Path dbus.ObjectPath
	// Statistics are the bus's counters by name.
	Statistics map[string]uint64
}

// Buses are all buses, by name with numbers in order: bus2 before bus10.
func (c *Client) Buses(ctx context.Context) ([]Bus, error) {
	objects, err := c.managedObjects(ctx)
	if err != nil {
		return nil, err
	}
	var buses []Bus
	for path, interfaces := range objects {
		if properties, ok := interfaces[xml.BusInterface]; ok {
			buses = append(buses, newBus(path, properties))
		}
	}
	slices.SortFunc(buses, func(a, b Bus) int { return compareNames(a.Name, b.Name) })
	return buses, nil
}

// managedObjects is the properties of all objects of the service.
func (c *Client) managedObjects(ctx context.Context) (map[dbus.ObjectPath]map[string]map[string]dbus.Variant, error) {
	body, err := c.call(ctx, xml.BasePath, xml.ObjectManagerInterface, "GetManagedObjects")
	if err != nil {
		return nil, err
	}
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	if err := dbus.Store(body, &objects); err != nil {
		return nil, fmt.Errorf("%w: GetManagedObjects: %w", ErrOtherService, err)
	}
	return objects, nil
}

// Bus is the bus of a name; the error is an *UnknownBusError when there is
// none.
func (c *Client) Bus(ctx context.Context, name string) (Bus, error) {
	path, err := c.busPath(ctx, name)
	if err != nil {
		return Bus{}, err
	}
	body, err := c.call(ctx, path, xml.PropertiesInterface, "GetAll", xml.BusInterface)
	if err != nil {
		return Bus{}, c.noBus(ctx, name, err)
	}
	var properties map[string]dbus.Variant
	if err := dbus.Store(body, &properties); err != nil {
		return Bus{}, fmt.Errorf("%w: GetAll: %w", ErrOtherService, err)
	}
	return newBus(path, properties), nil
}

// Bind makes the kernel device of a bus, and opens it. The error of the service
// is a *ServiceError with a text that says what to do.
func (c *Client) Bind(ctx context.Context, bus string) error { return c.callBus(ctx, bus, "bind") }

// Unbind closes the kernel device of a bus, and deletes it. The errors are those
// of Bind.
func (c *Client) Unbind(ctx context.Context, bus string) error { return c.callBus(ctx, bus, "unbind") }

// callBus calls a method of a bus that has neither arguments nor results.
func (c *Client) callBus(ctx context.Context, bus, member string) error {
	path, err := c.busPath(ctx, bus)
	if err != nil {
		return err
	}
	if _, err := c.call(ctx, path, xml.BusInterface, member); err != nil {
		return c.noBus(ctx, bus, err)
	}
	return nil
}

// busPath is the path of a bus's object.
func (c *Client) busPath(ctx context.Context, name string) (dbus.ObjectPath, error) {
	path := dbus.ObjectPath(xml.ObjectPath(name))
	if name == "" || strings.Contains(name, "/") || !path.IsValid() {
		return "", c.noBus(ctx, name, ErrOtherService)
	}
	return path, nil
}

// noBus is what err means that came from the object of a bus: when it is that
// there is no such object, and the service is ours, there is no such bus.
func (c *Client) noBus(ctx context.Context, name string, err error) error {
	if !errors.Is(err, ErrOtherService) {
		return err
	}
	buses, listErr := c.Buses(ctx)
	if listErr != nil {
		return listErr
	}
	unknown := &UnknownBusError{Name: name}
	for _, b := range buses {
		if b.Name == name {
			return err // There is one: the service has no such method.
		}
		unknown.Known = append(unknown.Known, b.Name)
	}
	return unknown
}

// newBus reads the properties of a bus. One that is missing or of another
// type leaves its field empty: not every object has all of them.
func newBus(path dbus.ObjectPath, properties map[string]dbus.Variant) Bus {
	return Bus{
		Properties: bus.Properties{
			Name:          propertyOf[string](properties, "Bus"),
			Device:        propertyOf[string](properties, "Device"),
			Transport:     propertyOf[string](properties, "Transport"),
			Channel:       ipmi.Channel(propertyOf[uint8](properties, "Channel")),
			Index:         propertyOf[uint8](properties, "Index"),
			OwnAddress:    ipmi.Address(propertyOf[uint8](properties, "OwnAddress")),
			RemoteAddress: ipmi.Address(propertyOf[uint8](properties, "RemoteAddress")),
			State:         bus.State(propertyOf[string](properties, "State")),
			Reason:        propertyOf[string](properties, "StateReason"),
			Handler:       propertyOf[string](properties, "Handler"),
			Policy: ipmb.RetryPolicy{
				Timeout: time.Duration(propertyOf[uint32](properties, "TimeoutMs")) * time.Millisecond,
				Tries:   int(propertyOf[uint32](properties, "Tries")),
			},
			IgnoreNACK:     propertyOf[bool](properties, "IgnoreNack"),
			VerifyChecksum: propertyOf[bool](properties, "VerifyHeaderChecksum"),
		},
		Path:       path,
		Statistics: propertyOf[map[string]uint64](properties, "Statistics"),
	}
}

func propertyOf[T any](properties map[string]dbus.Variant, name string) T {
	value, _ := properties[name].Value().(T)
	return value
}

// compareNames orders names that end in numbers by the number.
func compareNames(a, b string) int {
	wordA, wordB := strings.TrimRight(a, "0123456789"), strings.TrimRight(b, "0123456789")
	return cmp.Or(
		cmp.Compare(wordA, wordB),
		cmp.Compare(len(a), len(b)),
		cmp.Compare(a, b))
}
