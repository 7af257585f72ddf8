package dbusapi

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// maxSignals is how many signals, or rows of them, wait to be written; what comes then is
// dropped and counted.
const maxSignals = 1024

// signal begins a signal, named by interface and member. Its body is to be
// appended: room is about how many bytes that is.
func (s *Server) signal(path dbus.ObjectPath, name, signature string, room int) []byte {
	return s.signalTo("", path, name, signature, room)
}

// signalTo begins a signal that goes to one connection, by its unique name, and
// to nobody else.
func (s *Server) signalTo(destination string, path dbus.ObjectPath, name, signature string, room int) []byte {
	return signalTo(s.conn, destination, path, name, signature, room)
}

func signalTo(c *dbuswire.Conn, destination string, path dbus.ObjectPath, name, signature string, room int) []byte {
	dot := strings.LastIndexByte(name, '.')
	h := dbuswire.Header{
		Type:        dbuswire.TypeSignal,
		Flags:       dbuswire.FlagNoReply,
		Serial:      c.NewSerial(),
		Path:        string(path),
		Interface:   name[:dot],
		Member:      name[dot+1:],
		Destination: destination,
		Signature:   signature,
	}
	return h.Begin(room)
}

// signals counts the signals that wait to be written. It implements dbuswire.Receipt.
type signals struct {
	waiting atomic.Int32
	hasRoom func() // told when there is room again; must not block
}

// enter reports whether there is room for one more.
func (s *signals) enter() bool {
	if s.waiting.Add(1) > maxSignals {
		s.waiting.Add(-1)
		return false
	}
	return true
}

// Leaving implements dbuswire.Receipt.
func (s *signals) Leaving() {}

// Left implements dbuswire.Receipt.
func (s *signals) Left() {
	if s.waiting.Add(-1) == maxSignals-1 {
		s.hasRoom()
	}
}

// queue sends signals, one or several in a row, and does not block. It reports
// whether there was room.
func (s *Server) queue(signals []byte) bool {
	if !s.signals.enter() {
		return false
	}
	// An error is that of a lost connection, which ends Run.
	_ = s.conn.Send(signals, &s.signals)
	return true
}

// emit queues a signal of a bus, or counts that there was no room.
func (o *BusObject) emit(signal []byte) bool {
	if o.server.queue(dbuswire.Finish(signal)) {
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

// emitAllChanges tells of what has changed, until ctx ends.
func (s *Server) emitAllChanges(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			s.emitChanges()
			s.emitHostChanges()
			s.emitHandlers()
			s.sendKeptEvents()
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
		changed := changedProperties(busProperties(), view{bus: o.told}, view{bus: now})
		o.told = now
		if len(changed) > 0 {
			_ = s.conn.Emit(o.path, propertiesChanged, xml.BusInterface, changed, []string{})
		}
	}
}
