package dbusapi

import (
	"context"
	"sync"

	"ipmbd/bus"
)

// maxLookups is how many callers are looked for at a time. With maxExecutes they are no more
// than the replies that the message bus lets a connection wait for.
const maxLookups = 16

// lookups finds the processes of callers, for their shares of the buses and of all else
// that programs share.
type lookups struct {
	server *Server
	// programOf is which program a process is taken for; nil but in tests, whose
	// connections would all be of one.
	programOf func(name string, found bus.Process) bus.Process

	mu      sync.Mutex
	stream  *stream // nil before start
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
func (l *lookups) start(stream *stream) {
	l.mu.Lock()
	l.stream = stream
	l.mu.Unlock()
	l.next()
}

// next begins lookups as long as there is room.
func (l *lookups) next() {
	for one, stream := l.take(); one != nil; one, stream = l.take() {
		l.begin(one, stream)
	}
}

// take is the next caller to be looked for, if there is one and room.
func (l *lookups) take() (*caller, *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream == nil || l.running >= maxLookups || len(l.waiting) == 0 {
		return nil, nil
	}
	l.running++
	one := l.waiting[0]
	l.waiting = l.waiting[1:]
	return one, l.stream
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
func (l *lookups) begin(one *caller, stream *stream) {
	serial := stream.serials.GetSerial()
	look := &lookup{l, one}
	if !stream.pending.addLookup(serial, look) ||
		stream.send(busNameCall(serial, "GetConnectionCredentials", one.name)) != nil && stream.pending.remove(serial) != nil {
		look.identified(bus.Unknown)
	}
}

// replied implements awaited. An error says that the caller has left.
func (l *lookup) replied(m wireMessage) {
	process, ok := parseCredentials(&m)
	if !ok {
		process = bus.Unknown
	}
	l.identified(process)
	l.lookups.next()
}

// lost implements awaited.
func (l *lookup) lost() {
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
func parseCredentials(m *wireMessage) (p bus.Process, ok bool) {
	if m.kind != wireReturn || string(m.signature) != "a{sv}" {
		return p, false
	}
	r := wireReader{order: m.order, b: m.body}
	r.uint32() // The array is all there is.
	for len(r.b) > 0 && !r.failed {
		r.align(8)
		name, signature := string(r.string()), string(r.signature())
		switch {
		case name == "ProcessID" && signature == "u":
			p.PID = int32(r.uint32())
		case name == "UnixUserID" && signature == "u":
			p.UID, ok = r.uint32(), true
		default:
			r.skip(signature)
		}
	}
	return p, ok && !r.failed
}

// skip passes over a value of a type that credentials have.
func (r *wireReader) skip(signature string) {
	switch signature {
	case "u", "h":
		r.uint32()
	case "s":
		r.string()
	case "ay", "au":
		length := r.uint32()
		r.take(int(min(uint64(length), uint64(len(r.b)+1))))
	default:
		r.failed = true
	}
}
