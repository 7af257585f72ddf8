package dbusapi

import (
	"context"
	"strings"

	"github.com/godbus/dbus/v5"
)

const (
	// maxSignals is how many signals wait to be sent; what comes then is dropped
	// and counted.
	maxSignals = 1024
	// maxBatch is how many bytes of signals are sent at a time, and what the
	// last of them has more.
	maxBatch = 16 << 10
)

// signal begins a signal, named by interface and member. Its body is to be
// appended: room is about how many bytes that is.
func (s *Server) signal(path dbus.ObjectPath, name, signature string, room int) []byte {
	return s.signalTo("", path, name, signature, room)
}

// signalTo begins a signal that goes to one connection, by its unique name, and
// to nobody else.
func (s *Server) signalTo(destination string, path dbus.ObjectPath, name, signature string, room int) []byte {
	return s.conn.signalTo(destination, path, name, signature, room)
}

func (c *Conn) signalTo(destination string, path dbus.ObjectPath, name, signature string, room int) []byte {
	dot := strings.LastIndexByte(name, '.')
	h := wireHeader{
		kind:        wireSignal,
		flags:       wireNoReply,
		serial:      c.stream.serials.GetSerial(),
		path:        string(path),
		iface:       name[:dot],
		member:      name[dot+1:],
		destination: destination,
		signature:   signature,
	}
	return h.marshal(room)
}

// queue queues signals, one or several in a row, and does not block. It reports
// whether there was room.
func (s *Server) queue(signals []byte) bool {
	select {
	case s.outgoing <- signals:
		return true
	default:
		return false
	}
}

// emit queues a signal of a bus, or counts that there was no room.
func (o *BusObject) emit(signal []byte) bool {
	if o.server.queue(finish(signal)) {
		return true
	}
	o.unsent.Add(1)
	return false
}

// Changed says that properties of a bus may have changed; what did is told by
// a signal. It does not block. Changes in quick succession may be told as one.
func (s *Server) Changed(o *BusObject) {
	o.dirty.Store(true)
	s.wake()
}

// wake makes the emitting loop look for what has changed.
func (s *Server) wake() {
	select {
	case s.changed <- struct{}{}:
	default: // It has been woken already.
	}
}

// emitSignals sends what is queued, and changes, until ctx ends.
func (s *Server) emitSignals(ctx context.Context) {
	for {
		// Signals wait in their own queue, so that they have their own bound.
		s.conn.stream.out.await(maxBatch)
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			s.emitChanges()
			s.emitHostChanges()
			s.emitHandlers()
		case first := <-s.outgoing:
			// An error is that of a lost connection, which ends Run.
			_ = s.conn.stream.send(s.gather(first))
			// There is room for those that found none.
			s.sendKeptEvents()
		}
	}
}

// gather adds what else is queued to a signal, so that one write sends it all.
func (s *Server) gather(signals []byte) []byte {
	for len(signals) < maxBatch {
		select {
		case next := <-s.outgoing:
			signals = append(signals, next...)
		default:
			return signals
		}
	}
	return signals
}

// emitChanges tells of the properties that differ from what was told last.
func (s *Server) emitChanges() {
	for _, o := range s.objects.buses() {
		if !o.dirty.Swap(false) {
			continue
		}
		now := o.bus.Properties()
		changed := changedProperties(busProperties(), view{bus: o.told}, view{bus: now})
		o.told = now
		if len(changed) > 0 {
			_ = s.conn.Emit(o.path, propertiesChanged, busObjectInterface, changed, []string{})
		}
	}
}
