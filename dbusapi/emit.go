package dbusapi

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// The signals, by interface and member.
const (
	receiveBroadcast  = xml.LegacyInterface + ".receiveBroadcast"
	receivedMessage   = xml.BusInterface + ".ReceivedMessage"
	watchdogExpired   = xml.HostInterface + ".WatchdogExpired"
	platformEvent     = xml.RouterInterface + ".PlatformEvent"
	hostIPMIMessage   = xml.HostIPMIInterface + ".ReceivedMessage"
	propertiesChanged = xml.PropertiesInterface + ".PropertiesChanged"
	interfacesAdded   = xml.ObjectManagerInterface + ".InterfacesAdded"
	interfacesRemoved = xml.ObjectManagerInterface + ".InterfacesRemoved"
)

// maxSignals is how many signals, or rows of them, wait to be written. Further ones are dropped
// and counted.
const maxSignals = 1024

// beginSignal begins a signal, named by interface and member, to one connection, or to all that
// ask for it. The caller appends the body, of about room bytes.
func beginSignal(c *dbuswire.Conn, to string, path dbus.ObjectPath, name, signature string, room int) []byte {
	dot := strings.LastIndexByte(name, '.')
	h := dbuswire.Header{
		Type:        dbuswire.TypeSignal,
		Flags:       dbuswire.FlagNoReply,
		Serial:      c.NewSerial(),
		Path:        string(path),
		Interface:   name[:dot],
		Member:      name[dot+1:],
		Destination: to,
		Signature:   signature,
	}
	return h.Begin(room)
}

// signals counts the signals that wait to be written. It implements dbuswire.Receipt.
type signals struct {
	waiting atomic.Int32
	hasRoom func() // called when there is room again; must not block
}

// enter reports whether there is room for one more.
func (s *signals) enter() bool {
	if s.waiting.Add(1) > maxSignals {
		s.waiting.Add(-1)
		return false
	}
	return true
}

func (s *signals) Leaving() {}

func (s *signals) Left() {
	if s.waiting.Add(-1) == maxSignals-1 {
		s.hasRoom()
	}
}

// wakeEmitter makes the emitting loop look for changes.
func (s *Server) wakeEmitter() {
	select {
	case s.changed <- struct{}{}:
	default: // It has been woken already.
	}
}

// emitAllChanges announces changes until ctx ends.
func (s *Server) emitAllChanges(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			s.emitChanges()
			s.emitHandlers()
			s.emitFaults()
			s.sendEvents()
		}
	}
}

// emitChanges announces the properties of buses and host interfaces that have changed since they
// were announced last.
func (s *Server) emitChanges() {
	for _, o := range s.objects.below(BasePath) {
		e := o.endpoint
		if e == nil || !e.dirty.Swap(false) {
			continue
		}
		changed, now := make(map[string]dbus.Variant), o.view()
		for _, p := range properties(o.interfaces[0]) {
			if p.silent {
				continue
			}
			if value := p.get(now); value != p.get(e.told) {
				changed[p.name] = dbus.MakeVariant(value)
			}
		}
		e.told = now
		s.emitPropertiesChanged(o.path, o.interfaces[0], changed)
	}
}

func (s *Server) emitPropertiesChanged(path dbus.ObjectPath, iface string, changed map[string]dbus.Variant) {
	if len(changed) > 0 {
		_ = s.conn.Emit(path, propertiesChanged, iface, changed, []string{})
	}
}

// emitByManagers emits a signal of each object that tells of added and removed objects.
func (s *Server) emitByManagers(signal string, values ...any) {
	_ = s.conn.Emit(rootPath, signal, values...)
	_ = s.conn.Emit(BasePath, signal, values...)
}

// emitAdded announces a new object.
func (s *Server) emitAdded(o *object) { s.emitByManagers(interfacesAdded, o.path, o.propertyMaps()) }

// emitRemoved says that an object has gone.
func (s *Server) emitRemoved(o *object) { s.emitByManagers(interfacesRemoved, o.path, o.managed()) }
