package dbusapi

import (
	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
)

// routerProperties is the table of the properties of the router.
func routerProperties() []property {
	return []property{
		{name: "Handlers", signature: "a(soyyuu)", get: func(v view) any { return handlerRows(v.object.server.router.list()) }},
		{name: "Statistics", signature: "a{st}", get: func(v view) any { return v.object.server.Statistics() }, silent: true},
	}
}

// handlerProperties is the table of the properties of a registered handler.
func handlerProperties() []property {
	return []property{
		{name: "Owner", signature: "s", get: func(v view) any { return v.object.handler.destination }, silent: true},
		{name: "Path", signature: "o", get: func(v view) any { return dbus.ObjectPath(v.object.handler.path) }, silent: true},
		{name: "Commands", signature: "a(yyuu)", get: func(v view) any { return commandRows(v.object.handler.patterns) }, silent: true},
	}
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

// commandRow is (yyuu), commands as they are registered.
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
