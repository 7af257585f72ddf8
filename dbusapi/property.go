package dbusapi

import (
	"context"
	"maps"
	"slices"

	"github.com/godbus/dbus/v5"

	"ipmbd/xml"
)

// property is one row of the table of an interface's properties.
type property struct {
	name, signature string
	get             func(view) any
	// set takes a value of the signature's type; nil: read-only. Only buses have
	// properties that can be written.
	set func(context.Context, *BusObject, any) error
	// silent: a change is told by no signal.
	silent bool
}

// properties is the table of an interface; one without properties has none.
func properties(iface string) []property {
	switch iface {
	case xml.BusInterface:
		return busProperties()
	case xml.RouterInterface:
		return routerProperties()
	case xml.HandlerInterface:
		return handlerProperties()
	case xml.HostInterface:
		return hostProperties()
	}
	return nil
}

// view is an object at one moment: what is read from one view fits together.
type view struct {
	object *object
	bus    Properties     // of the object of a bus
	host   HostProperties // of that of a host interface
}

func (o *object) view() view {
	v := view{object: o}
	if o.bus != nil {
		v.bus = o.bus.bus.Properties()
	}
	if o.host != nil {
		v.host = o.host.host.Properties()
	}
	return v
}

// variants is all properties of an interface.
func (v view) variants(iface string) map[string]dbus.Variant {
	all := make(map[string]dbus.Variant)
	for _, p := range properties(iface) {
		all[p.name] = dbus.MakeVariant(p.get(v))
	}
	return all
}

// changedProperties is the properties of a table that differ and are told of.
func changedProperties(table []property, before, now view) map[string]dbus.Variant {
	changed := make(map[string]dbus.Variant)
	for _, p := range table {
		if p.silent {
			continue
		}
		if value := p.get(now); value != p.get(before) {
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
	return []any{dbus.MakeVariant(p.get(c.object.view()))}, nil
}

// getAllProperties serves org.freedesktop.DBus.Properties.GetAll. The empty
// interface name means all interfaces.
func getAllProperties(_ context.Context, c *call) ([]any, error) {
	iface := c.args[0].(string)
	if err := c.checkInterface(iface); err != nil {
		return nil, err
	}
	all, v := make(map[string]dbus.Variant), c.object.view()
	for _, of := range c.object.interfaces {
		if iface == "" || iface == of {
			maps.Copy(all, v.variants(of))
		}
	}
	return []any{all}, nil
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
	for _, of := range c.object.interfaces {
		if iface != "" && iface != of {
			continue
		}
		table := properties(of)
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
