package dbusapi

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmb"
)

// property is one row of the table of a bus's properties.
type property struct {
	name, signature string
	get             func(*BusObject, Properties) any
	// set takes a value of the signature's type; nil: read-only.
	set func(context.Context, *BusObject, any) error
	// silent: a change is told by no signal.
	silent bool
}

// busProperties is the table of the properties of a bus.
func busProperties() []property {
	return []property{
		{name: "Bus", signature: "s", get: func(_ *BusObject, p Properties) any { return p.Name }},
		{name: "Device", signature: "s", get: func(_ *BusObject, p Properties) any { return p.Device }},
		{name: "Transport", signature: "s", get: func(_ *BusObject, p Properties) any { return p.Transport }},
		{name: "Channel", signature: "y", get: func(_ *BusObject, p Properties) any { return byte(p.Channel) }},
		{name: "Index", signature: "y", get: func(_ *BusObject, p Properties) any { return p.Index }},
		{name: "OwnAddress", signature: "y", get: func(_ *BusObject, p Properties) any { return byte(p.OwnAddress) }, set: setOwnAddress},
		{name: "RemoteAddress", signature: "y", get: func(_ *BusObject, p Properties) any { return byte(p.RemoteAddress) }},
		{name: "State", signature: "s", get: func(_ *BusObject, p Properties) any { return string(p.State) }},
		{name: "StateReason", signature: "s", get: func(_ *BusObject, p Properties) any { return p.Reason }},
		{name: "TimeoutMs", signature: "u", get: getTimeout, set: ofPolicy(setTimeout)},
		{name: "Tries", signature: "u", get: getTries, set: ofPolicy(setTries)},
		{name: "IgnoreNack", signature: "b", get: func(_ *BusObject, p Properties) any { return p.IgnoreNACK }, set: setIgnoreNACK},
		{name: "VerifyHeaderChecksum", signature: "b", get: func(_ *BusObject, p Properties) any { return p.VerifyChecksum }, set: setVerifyChecksum},
		{name: "Statistics", signature: "a{st}", get: func(o *BusObject, _ Properties) any { return o.statistics() }, silent: true},
	}
}

func getTimeout(_ *BusObject, p Properties) any {
	return uint32(p.Policy.Or(ipmb.Policy{}).Timeout.Milliseconds())
}

func getTries(_ *BusObject, p Properties) any {
	return uint32(p.Policy.Or(ipmb.Policy{}).Tries)
}

// ofPolicy is the setter of a part of the policy.
func ofPolicy(set func(*ipmb.Policy, any) error) func(context.Context, *BusObject, any) error {
	return func(_ context.Context, o *BusObject, value any) error {
		return o.changePolicy(func(p *ipmb.Policy) error { return set(p, value) })
	}
}

// setTimeout takes milliseconds, uint32.
func setTimeout(p *ipmb.Policy, value any) error {
	timeout := time.Duration(value.(uint32)) * time.Millisecond
	if timeout < ipmb.MinTimeout || timeout > ipmb.MaxTimeout {
		return fmt.Errorf("%w: time-out of %v: it must be %v to %v", ipmb.ErrInvalid, timeout, ipmb.MinTimeout, ipmb.MaxTimeout)
	}
	p.Timeout = timeout
	return nil
}

// setTries takes a number, uint32.
func setTries(p *ipmb.Policy, value any) error {
	tries := value.(uint32)
	if tries < 1 || tries > ipmb.MaxTries {
		return fmt.Errorf("%w: %d tries: they must be 1 to %d", ipmb.ErrInvalid, tries, ipmb.MaxTries)
	}
	p.Tries = int(tries)
	return nil
}

// variants is all properties of a bus.
func (o *BusObject) variants() map[string]dbus.Variant {
	now := o.bus.Properties()
	all := make(map[string]dbus.Variant)
	for _, p := range busProperties() {
		all[p.name] = dbus.MakeVariant(p.get(o, now))
	}
	return all
}

// changes is the properties that differ and are told of.
func (o *BusObject) changes(before, now Properties) map[string]dbus.Variant {
	changed := make(map[string]dbus.Variant)
	for _, p := range busProperties() {
		if p.silent {
			continue
		}
		if value := p.get(o, now); value != p.get(o, before) {
			changed[p.name] = dbus.MakeVariant(value)
		}
	}
	return changed
}

// getProperty serves org.freedesktop.DBus.Properties.Get.
func getProperty(_ context.Context, c *call) ([]any, error) {
	p, err := c.property()
	if err != nil {
		return nil, err
	}
	return []any{dbus.MakeVariant(p.get(c.object.bus, c.object.bus.bus.Properties()))}, nil
}

// getAllProperties serves org.freedesktop.DBus.Properties.GetAll. The empty
// interface name means all interfaces.
func getAllProperties(_ context.Context, c *call) ([]any, error) {
	iface := c.args[0].(string)
	if err := c.checkInterface(iface); err != nil {
		return nil, err
	}
	if c.object.bus == nil || iface != "" && iface != busObjectInterface {
		return []any{map[string]dbus.Variant{}}, nil
	}
	return []any{c.object.bus.variants()}, nil
}

// setProperty serves org.freedesktop.DBus.Properties.Set.
func setProperty(ctx context.Context, c *call) ([]any, error) {
	p, err := c.property()
	if err != nil {
		return nil, err
	}
	if p.set == nil {
		return nil, &dbus.Error{Name: "org.freedesktop.DBus.Error.PropertyReadOnly", Body: []any{p.name + " cannot be written"}}
	}
	value := c.args[2].(dbus.Variant)
	if value.Signature().String() != p.signature {
		return nil, &dbus.Error{
			Name: "org.freedesktop.DBus.Error.InvalidArgs",
			Body: []any{p.name + " is of type '" + p.signature + "', not '" + value.Signature().String() + "'"},
		}
	}
	o := c.object.bus
	if err := p.set(ctx, o, value.Value()); err != nil {
		return nil, err
	}
	o.server.Changed(o)
	return nil, nil
}

// property finds what the first two arguments name.
func (c *call) property() (property, error) {
	iface, name := c.args[0].(string), c.args[1].(string)
	if err := c.checkInterface(iface); err != nil {
		return property{}, err
	}
	if c.object.bus != nil && (iface == "" || iface == busObjectInterface) {
		table := busProperties()
		if i := slices.IndexFunc(table, func(p property) bool { return p.name == name }); i >= 0 {
			return table[i], nil
		}
	}
	return property{}, &dbus.Error{Name: "org.freedesktop.DBus.Error.UnknownProperty", Body: []any{"there is no property " + name}}
}

func (c *call) checkInterface(name string) error {
	if name == "" || slices.Contains(c.object.interfaces, name) {
		return nil
	}
	return &dbus.Error{Name: "org.freedesktop.DBus.Error.UnknownInterface", Body: []any{string(c.object.path) + " has no interface " + name}}
}
