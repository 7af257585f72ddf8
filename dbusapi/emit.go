package dbusapi

import (
	"context"

	"github.com/godbus/dbus/v5"
)

// maxSignals is how many signals wait to be sent; what comes then is dropped
// and counted.
const maxSignals = 1024

// signal is a signal to be sent.
type signal struct {
	path dbus.ObjectPath
	name string // interface and member
	body []any
}

// emit queues a signal and does not block. It reports whether there was room.
func (o *BusObject) emit(path dbus.ObjectPath, name string, body ...any) bool {
	select {
	case o.server.outgoing <- signal{path, name, body}:
		return true
	default:
		o.unsent.Add(1)
		return false
	}
}

// Changed says that properties of a bus may have changed; what did is told by
// a signal. It does not block. Changes in quick succession may be told as one.
func (s *Server) Changed(o *BusObject) {
	o.dirty.Store(true)
	select {
	case s.changed <- struct{}{}:
	default: // The loop has been woken already.
	}
}

// emitSignals sends what is queued, and changes, until ctx ends.
func (s *Server) emitSignals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			s.emitChanges()
		case out := <-s.outgoing:
			// An error is that of a lost connection, which ends Run.
			_ = s.conn.Emit(out.path, out.name, out.body...)
		}
	}
}

// emitChanges tells of the properties that differ from what was told last.
func (s *Server) emitChanges() {
	for _, o := range s.objects.buses() {
		if !o.dirty.Swap(false) {
			continue
		}
		now := o.bus.Properties()
		changed := o.changes(o.told, now)
		o.told = now
		if len(changed) > 0 {
			_ = s.conn.Emit(o.path, propertiesChanged, busObjectInterface, changed, []string{})
		}
	}
}
