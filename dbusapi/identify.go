package dbusapi

import (
	"context"
	"sync"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
)

// maxLookups is how many callers are looked for at a time. With maxExecutes they are no more
// than the replies that the message bus lets a connection wait for.
const maxLookups = 16

// allLookups is more places than lookups can take beside all other calls.
const allLookups = reserved + 2*maxLookups

// lookups finds the processes of callers, for their shares of the buses and of all else
// that programs share.
type lookups struct {
	server *Server
	// programOf is which program a process is taken for; nil but in tests, whose
	// connections would all be of one.
	programOf func(name string, found bus.Process) bus.Process

	mu      sync.Mutex
	conn    *dbuswire.Conn // nil before start
	running int
	waiting []*caller
}

// lookup is the call that asks the message bus for a caller's process.
type lookup struct {
	lookups *lookups
	caller  *caller
}

// identify has the process of a caller looked for that is in use, once. It does not block.
func (l *lookups) identify(one *caller) {
	if one.asked.Load() || one.asked.Swap(true) {
		return
	}
	l.server.callers.useAgain(one)
	l.mu.Lock()
	l.waiting = append(l.waiting, one)
	l.mu.Unlock()
	l.next()
}

// start begins the lookups that were asked for so far. Calls come before Open has ended.
func (l *lookups) start(conn *dbuswire.Conn) {
	l.mu.Lock()
	l.conn = conn
	l.mu.Unlock()
	l.next()
}

// next begins lookups as long as there is room.
func (l *lookups) next() {
	for one, conn := l.take(); one != nil; one, conn = l.take() {
		l.begin(one, conn)
	}
}

// take is the next caller to be looked for, if there is one and room.
func (l *lookups) take() (*caller, *dbuswire.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil || l.running >= maxLookups || len(l.waiting) == 0 {
		return nil, nil
	}
	l.running++
	one := l.waiting[0]
	l.waiting = l.waiting[1:]
	return one, l.conn
}

// await returns when a caller that is in use is identified, or ctx ends. The connection's
// reader must not call it.
func (l *lookups) await(ctx context.Context, one *caller) {
	known := make(chan struct{})
	if !one.client.Await(func() { close(known) }) {
		return
	}
	l.identify(one)
	select {
	case <-known:
	case <-ctx.Done():
	}
}

// begin asks the message bus.
func (l *lookups) begin(one *caller, conn *dbuswire.Conn) {
	look := &lookup{l, one}
	if conn.StartBusCall("GetConnectionCredentials", one.name, look, dbuswire.Place{Extra: allLookups}) != nil {
		look.identified(bus.Unknown)
	}
}

// Replied implements dbuswire.Call. An error says that the caller has left.
func (l *lookup) Replied(m *dbuswire.Message) {
	process, ok := parseCredentials(m)
	if !ok {
		process = bus.Unknown
	}
	l.identified(process)
	l.lookups.next()
}

// Lost implements dbuswire.Call.
func (l *lookup) Lost() {
	l.identified(bus.Unknown)
	l.lookups.next()
}

// identified ends the lookup.
func (l *lookup) identified(process bus.Process) {
	all := l.lookups
	if all.programOf != nil {
		process = all.programOf(l.caller.name, process)
	}
	l.caller.client.Identify(process)
	all.server.callers.unuse(l.caller)
	all.mu.Lock()
	defer all.mu.Unlock()
	all.running--
}

// parseCredentials reads ProcessID and UnixUserID of a reply to GetConnectionCredentials,
// a{sv} (D-Bus specification, "org.freedesktop.DBus.GetConnectionCredentials"). A process
// of another namespace may have no ID: it is 0.
func parseCredentials(m *dbuswire.Message) (p bus.Process, ok bool) {
	if m.Type != dbuswire.TypeReturn || string(m.Signature) != "a{sv}" {
		return p, false
	}
	r := m.Arguments()
	_ = r.Dictionary(func(key, signature string) error {
		switch {
		case key == "ProcessID" && signature == "u":
			p.PID = int32(r.Uint32())
		case key == "UnixUserID" && signature == "u":
			p.UID, ok = r.Uint32(), true
		default:
			r.Skip(signature)
		}
		return nil
	})
	return p, ok && r.OK()
}
