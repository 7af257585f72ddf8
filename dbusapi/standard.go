package dbusapi

import (
	"context"
	"strings"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// Signals of the standard interfaces.
const (
	propertiesChanged = xml.PropertiesInterface + ".PropertiesChanged"
	interfacesAdded   = xml.ObjectManagerInterface + ".InterfacesAdded"
	interfacesRemoved = xml.ObjectManagerInterface + ".InterfacesRemoved"
)

// introspect serves org.freedesktop.DBus.Introspectable.Introspect.
func introspect(_ context.Context, c *call) ([]any, error) {
	prefix := strings.TrimSuffix(string(c.object.path), "/") + "/"
	var children []string
	for _, one := range c.object.within.below(c.object.path) {
		if child := string(one.path[len(prefix):]); !strings.Contains(child, "/") {
			children = append(children, child)
		}
	}
	text, err := xml.Node(c.object.interfaces, children)
	return []any{text}, err
}

// propertyMaps is the properties of an object by interface, as ObjectManager
// gives them.
type propertyMaps = map[string]map[string]dbus.Variant

// getManagedObjects serves org.freedesktop.DBus.ObjectManager.
func getManagedObjects(_ context.Context, c *call) ([]any, error) {
	managed := make(map[dbus.ObjectPath]propertyMaps)
	for _, one := range c.object.within.below(c.object.path) {
		if maps := one.propertyMaps(); len(maps) > 0 {
			managed[one.path] = maps
		}
	}
	return []any{managed}, nil
}

// propertyMaps is empty for an object that only leads to others.
func (o *object) propertyMaps() propertyMaps {
	maps, v := make(propertyMaps), o.view()
	for _, name := range o.managed() {
		maps[name] = v.variants(name)
	}
	return maps
}

// managed is the interfaces that ObjectManager tells of: not those that say
// nothing of what the object is.
func (o *object) managed() []string {
	var names []string
	for _, name := range o.interfaces {
		if !strings.HasPrefix(name, dbuswire.BusInterface+".") {
			names = append(names, name)
		}
	}
	return names
}

// managers is the paths of the objects that tell of added and removed objects.
func managers() []dbus.ObjectPath { return []dbus.ObjectPath{rootPath, BasePath} }

// emitAdded says that an object has come.
func (s *Server) emitAdded(o *object) {
	maps := o.propertyMaps()
	for _, manager := range managers() {
		_ = s.conn.Emit(manager, interfacesAdded, o.path, maps)
	}
}

// emitRemoved says that an object has gone.
func (s *Server) emitRemoved(o *object) {
	for _, manager := range managers() {
		_ = s.conn.Emit(manager, interfacesRemoved, o.path, o.managed())
	}
}
