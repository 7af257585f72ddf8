package dbusapi

import (
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/xml"
)

// The paths that are served.
const (
	rootPath = dbus.ObjectPath("/")
	// BasePath is the object of the whole service; buses are its children.
	BasePath = dbus.ObjectPath(xml.BasePath)
	// handlersPath is the parent of registered handlers.
	handlersPath = BasePath + "/handlers"
)

// object is what lives at a path.
type object struct {
	server     *Server
	within     *objects // from objects.add on
	path       dbus.ObjectPath
	interfaces []string // in the order of introspection
	sets       map[string]methodSet
	bus        *BusObject     // of the object of a bus
	handler    *remoteHandler // of that of a registered handler
	host       *HostObject    // of that of a host interface
	sms        SMS            // of that on a connection of its own
	hostIPMI   *HostIPMI      // of that of org.openbmc.HostIpmi
}

// newObject makes an object with these interfaces and those that every object
// has.
func newObject(s *Server, path dbus.ObjectPath, interfaces ...string) *object {
	o := &object{
		server:     s,
		path:       path,
		interfaces: append(interfaces, xml.IntrospectableInterface, xml.PeerInterface, xml.PropertiesInterface),
		sets:       make(map[string]methodSet),
	}
	for _, name := range o.interfaces {
		o.sets[name] = make(methodSet)
	}
	for _, m := range methods() {
		if set, ok := o.sets[m.iface]; ok {
			set[m.member] = &boundMethod{method: m, object: o}
		}
	}
	return o
}

// methodSet is the methods of an interface by member.
type methodSet map[string]*boundMethod

// anyMethod finds a member for a call that names no interface, in the first of the
// object's interfaces that has it. Manager must be named: the rules that a message bus
// has for an interface do not hold for such a call.
func (o *object) anyMethod(member []byte) *boundMethod {
	for _, name := range o.interfaces {
		if m := o.sets[name][string(member)]; m != nil && name != xml.ManagerInterface {
			return m
		}
	}
	return nil
}

// objects is all objects of a connection by path, and its buses by channel
// index.
type objects struct {
	mu       sync.RWMutex
	paths    map[dbus.ObjectPath]*object
	channels bus.Directory[*BusObject]

	peer methodSet // of all paths
}

func newObjects() objects {
	return objects{paths: make(map[dbus.ObjectPath]*object), peer: newPeer()}
}

func newPeer() methodSet {
	peer := make(methodSet)
	for _, m := range methods() {
		if m.iface == xml.PeerInterface {
			peer[m.member] = &boundMethod{method: m}
		}
	}
	return peer
}

// at is the object at a path, nil when there is none.
func (o *objects) at(path []byte) *object {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.paths[dbus.ObjectPath(path)]
}

// add puts an object at its path, if that is free. Of buses that share an
// index the first has it.
func (o *objects) add(added *object) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, taken := o.paths[added.path]; taken {
		return false
	}
	o.paths[added.path] = added
	added.within = o
	if added.bus != nil {
		o.channels.Add(added.bus)
	}
	return true
}

func (o *objects) remove(path dbus.ObjectPath) *object {
	o.mu.Lock()
	defer o.mu.Unlock()
	removed := o.paths[path]
	delete(o.paths, path)
	return removed
}

// below is the objects under a path, without the one at it, in order.
func (o *objects) below(path dbus.ObjectPath) []*object {
	prefix := strings.TrimSuffix(string(path), "/") + "/"
	o.mu.RLock()
	defer o.mu.RUnlock()
	var found []*object
	for p, one := range o.paths {
		if p != path && strings.HasPrefix(string(p), prefix) {
			found = append(found, one)
		}
	}
	slices.SortFunc(found, func(a, b *object) int { return strings.Compare(string(a.path), string(b.path)) })
	return found
}

// buses is all buses in order of their paths.
func (o *objects) buses() []*BusObject {
	var buses []*BusObject
	for _, one := range o.below(BasePath) {
		if one.bus != nil {
			buses = append(buses, one.bus)
		}
	}
	return buses
}

// hosts is all host interfaces in order of their paths.
func (o *objects) hosts() []*HostObject {
	var hosts []*HostObject
	for _, one := range o.below(BasePath) {
		if one.host != nil {
			hosts = append(hosts, one.host)
		}
	}
	return hosts
}

// ancestors is the paths between the root and path, both left out.
func ancestors(path dbus.ObjectPath) []dbus.ObjectPath {
	var paths []dbus.ObjectPath
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			paths = append(paths, path[:i])
		}
	}
	return paths
}
