package dbusapi

import (
	"context"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// property is one row of the table of an interface's properties.
type property struct {
	name, signature string
	get             func(view) any
	// set takes a value of the signature's type; nil makes the property read-only. Only buses have
	// properties that can be written.
	set func(context.Context, *BusObject, any) error
	// silent: no signal announces a change.
	silent bool
}

// properties is the table of an interface; one without properties has none.
func properties(iface string) []property {
	switch iface {
	case xml.BusInterface:
		return []property{
			{name: "Bus", signature: "s", get: func(v view) any { return v.bus.Name }},
			{name: "Device", signature: "s", get: func(v view) any { return v.bus.Device }},
			{name: "Transport", signature: "s", get: func(v view) any { return v.bus.Transport }},
			{name: "Channel", signature: "y", get: func(v view) any { return byte(v.bus.Channel) }},
			{name: "Index", signature: "y", get: func(v view) any { return v.bus.Index }},
			{name: "OwnAddress", signature: "y", get: func(v view) any { return byte(v.bus.OwnAddress) },
				set: func(ctx context.Context, o *BusObject, value any) error {
					return o.bus.SetOwnAddress(ctx, ipmi.Address(value.(byte)))
				}},
			{name: "RemoteAddress", signature: "y", get: func(v view) any { return byte(v.bus.RemoteAddress) }},
			{name: "State", signature: "s", get: func(v view) any { return string(v.bus.State) }},
			{name: "StateReason", signature: "s", get: func(v view) any { return v.bus.Reason }},
			{name: "Handler", signature: "s", get: func(v view) any { return v.bus.Handler }},
			{name: "TimeoutMs", signature: "u", set: ofPolicy(setTimeout),
				get: func(v view) any { return uint32(v.bus.Policy.Or(ipmb.RetryPolicy{}).Timeout.Milliseconds()) }},
			{name: "Tries", signature: "u", set: ofPolicy(setTries),
				get: func(v view) any { return uint32(v.bus.Policy.Or(ipmb.RetryPolicy{}).Tries) }},
			{name: "IgnoreNack", signature: "b", get: func(v view) any { return v.bus.IgnoreNACK },
				set: func(_ context.Context, o *BusObject, value any) error { return o.bus.SetIgnoreNACK(value.(bool)) }},
			{name: "VerifyHeaderChecksum", signature: "b", get: func(v view) any { return v.bus.VerifyChecksum },
				set: func(_ context.Context, o *BusObject, value any) error { return o.bus.SetVerifyChecksum(value.(bool)) }},
		}
	case xml.HostInterface:
		return []property{
			{name: "Name", signature: "s", get: func(v view) any { return v.host.Name }},
			{name: "Type", signature: "s", get: func(v view) any { return v.host.Type }},
			{name: "Path", signature: "s", get: func(v view) any { return v.host.Path }},
			{name: "Channel", signature: "y", get: func(v view) any { return byte(v.host.Channel) }},
			{name: "Handler", signature: "s", get: func(v view) any { return v.host.Handler }},
			{name: "State", signature: "s", get: func(v view) any { return string(v.host.State) }},
			{name: "StateReason", signature: "s", get: func(v view) any { return v.host.Reason }},
		}
	case xml.RouterInterface:
		return []property{
			{name: "Handlers", signature: "a(soyyuu)", get: func(v view) any { return handlerRows(v.object.server.router.listHandlers()) }},
		}
	case xml.ManagerInterface:
		return []property{
			{name: "Faults", signature: "as", get: func(v view) any { return v.object.server.faults() }},
		}
	case xml.HandlerInterface:
		return []property{
			{name: "Owner", signature: "s", get: func(v view) any { return v.object.handler.destination }, silent: true},
			{name: "Path", signature: "o", get: func(v view) any { return dbus.ObjectPath(v.object.handler.path) }, silent: true},
			{name: "Commands", signature: "a(yyuu)", get: func(v view) any { return commandRows(v.object.handler.patterns) }, silent: true},
		}
	}
	return nil
}

// ofPolicy is the setter of a part of the retry policy.
func ofPolicy(set func(*ipmb.RetryPolicy, uint32) error) func(context.Context, *BusObject, any) error {
	return func(_ context.Context, o *BusObject, value any) error {
		o.policy.Lock()
		defer o.policy.Unlock()
		policy := o.bus.RetryPolicy()
		if err := set(&policy, value.(uint32)); err != nil {
			return err
		}
		if err := checkRequest(ipmb.Request{RetryPolicy: policy}); err != nil {
			return err
		}
		o.bus.SetRetryPolicy(policy)
		return nil
	}
}

// view is an object at one moment: values of one view fit together.
type view struct {
	object *object
	bus    bus.Properties // of the object of a bus
	host   HostProperties // of the object of a host interface
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

// addVariants adds all properties of an interface.
func (v view) addVariants(all map[string]dbus.Variant, iface string) {
	for _, p := range properties(iface) {
		all[p.name] = dbus.MakeVariant(p.get(v))
	}
}

// propertyMaps is the properties of an object by interface, as ObjectManager gives them.
type propertyMaps = map[string]map[string]dbus.Variant

// propertyMaps is empty for an object that only leads to others.
func (o *object) propertyMaps() propertyMaps {
	maps, v := make(propertyMaps), o.view()
	for _, name := range o.managed() {
		maps[name] = make(map[string]dbus.Variant)
		v.addVariants(maps[name], name)
	}
	return maps
}

// handlerRow is (soyyuu), an element of the property Handlers.
type handlerRow struct {
	Owner           string
	Path            dbus.ObjectPath
	NetFn, Command  byte
	Group, Channels uint32
}

func handlerRows(handlers []*remoteHandler) []handlerRow {
	rows := []handlerRow{}
	for _, h := range handlers {
		for _, c := range commandRows(h.patterns) {
			rows = append(rows, handlerRow{h.destination, dbus.ObjectPath(h.path), c.NetFn, c.Command, c.Group, c.Channels})
		}
	}
	return rows
}

// commandRow is (yyuu), a pattern of commands as it is registered.
type commandRow struct {
	NetFn, Command  byte
	Group, Channels uint32
}

func commandRows(patterns []ipmi.Pattern) []commandRow {
	rows := []commandRow{}
	for _, p := range patterns {
		rows = append(rows, commandRow{byte(p.NetFn), byte(p.Command), p.Group, uint32(p.Channels)})
	}
	return rows
}
