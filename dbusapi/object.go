package dbusapi

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
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

// object is the object at a path.
type object struct {
	server     *Server
	within     *objects // from objects.add on
	path       dbus.ObjectPath
	interfaces []string // in the order of introspection

	endpoint *endpoint      // of a bus or a host interface
	bus      *BusObject     // of a bus
	host     *HostObject    // of a host interface
	handler  *remoteHandler // of a registered handler
	sms      SMS            // of the object on the connection of a host interface
	hostIPMI *HostIPMI      // of org.openbmc.HostIpmi
}

// newObject makes an object with these interfaces and those that every object has.
func newObject(s *Server, path dbus.ObjectPath, interfaces ...string) *object {
	return &object{
		server:     s,
		path:       path,
		interfaces: append(interfaces, xml.IntrospectableInterface, xml.PeerInterface, xml.PropertiesInterface),
	}
}

// managed returns the interfaces in ObjectManager's signals: those special to the object.
func (o *object) managed() []string {
	var names []string
	for _, name := range o.interfaces {
		if !strings.HasPrefix(name, dbuswire.BusInterface+".") {
			names = append(names, name)
		}
	}
	return names
}

// objects is all objects of a connection by path, and its buses by channel index.
type objects struct {
	mu       sync.RWMutex
	paths    map[dbus.ObjectPath]*object
	channels bus.Directory[*BusObject]

	methods map[string]map[string]*method // of all interfaces
}

func newObjects() objects {
	return objects{paths: make(map[dbus.ObjectPath]*object), methods: methodsByName()}
}

// objectAt is the object at a path, nil when there is none.
func (o *objects) objectAt(path []byte) *object {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.paths[dbus.ObjectPath(path)]
}

// addObject puts an object at its path, if the path is free. If several buses share an index, the
// first one has it.
func (o *objects) addObject(added *object) bool {
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

// addWithAncestors adds an object, and those on the paths that lead to it.
func (o *objects) addWithAncestors(added *object) {
	for i := 1; i < len(added.path); i++ {
		if added.path[i] == '/' {
			o.addObject(newObject(added.server, added.path[:i]))
		}
	}
	o.addObject(newObject(added.server, rootPath))
	o.addObject(added)
}

func (o *objects) removeObject(path dbus.ObjectPath) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.paths, path)
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

// endpoint is a bus or a host interface, as an object of the service.
type endpoint struct {
	server *Server
	name   string
	path   dbus.ObjectPath
	object *object // while it is exported

	dirty  atomic.Bool   // properties may have changed since the last signal
	told   view          // of the emitting loop, once exported
	unsent atomic.Uint64 // signals for which there was no room
}

// initEndpoint makes the endpoint one of a kind with a name.
func (e *endpoint) initEndpoint(s *Server, kind, name string) error {
	path := dbus.ObjectPath(xml.ObjectPath(name))
	switch {
	case name == "" || strings.Contains(name, "/") || !path.IsValid():
		return fmt.Errorf("%s name %q: only letters, digits, - and _ can be in an object path", kind, name)
	case path == handlersPath:
		return fmt.Errorf("%s name %q: its object path is the parent of registered handlers", kind, name)
	}
	e.server, e.name, e.path = s, name, path
	return nil
}

// Path is where the object is exported: BasePath and the name in the configuration, "-"
// replaced by "_".
func (e *endpoint) Path() dbus.ObjectPath { return e.path }

// Changed says that properties may have changed; a signal names those that did. It does not block.
// One signal may stand for several quick changes.
func (e *endpoint) Changed() {
	e.dirty.Store(true)
	e.server.wakeEmitter()
}

// exportObject exports the object. A path that is taken is an error.
func (e *endpoint) exportObject(o *object) error {
	o.endpoint = e
	e.told = o.view()
	if !e.server.objects.addObject(o) {
		return fmt.Errorf("%s: there is an object at %s already", e.name, e.path)
	}
	e.object = o
	e.server.emitAdded(o)
	return nil
}

// Withdraw takes the object of the service away, if it is exported.
func (e *endpoint) Withdraw() {
	if e.object != nil {
		e.server.objects.removeObject(e.path)
		e.server.emitRemoved(e.object)
		e.object = nil
	}
}

// emitSignal sends a signal of the endpoint, or counts that there was no room. It does not block.
func (e *endpoint) emitSignal(signal []byte) bool {
	s := e.server
	if !s.signals.enter() {
		e.unsent.Add(1)
		return false
	}
	_ = s.conn.Send(dbuswire.Finish(signal), &s.signals) // If the connection is lost, Run ends.
	return true
}
