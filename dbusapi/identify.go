package dbusapi

import (
	"sync"

	"ipmbd/bus"
)

// maxLookups is how many callers are looked for at a time. With maxExecutes they are no more
// than the replies that the message bus lets a connection wait for.
const maxLookups = 16

// lookups finds the processes of callers, for their shares of the buses.
type lookups struct {
	server *Server

	mu      sync.Mutex
	running int
	waiting []*caller
}

// lookup is the call that asks the message bus for a caller's process.
type lookup struct {
	lookups *lookups
	caller  *caller
}

// identify has the process of a caller looked for, once. It does not block.
func (l *lookups) identify(one *caller) {
	if one.asked.Load() || one.asked.Swap(true) {
		return
	}
	l.mu.Lock()
	if l.running >= maxLookups {
		l.waiting = append(l.waiting, one)
		l.mu.Unlock()
		return
	}
	l.running++
	l.mu.Unlock()
	l.begin(one)
}

// begin asks the message bus.
func (l *lookups) begin(one *caller) {
	stream := l.server.conn.stream
	serial := stream.serials.GetSerial()
	look := &lookup{l, one}
	if !stream.pending.addLookup(serial, look) {
		look.end(bus.Unknown)
		return
	}
	if stream.send(credentialsCall(serial, one.name)) != nil && stream.pending.remove(serial) != nil {
		look.end(bus.Unknown)
	}
}

// replied implements awaited. An error says that the caller has left.
func (l *lookup) replied(m wireMessage) {
	process, ok := parseCredentials(&m)
	if !ok {
		process = bus.Unknown
	}
	l.end(process)
}

// lost implements awaited.
func (l *lookup) lost() { l.end(bus.Unknown) }

// end says which process the caller is, and begins the next lookup.
func (l *lookup) end(process bus.Process) {
	l.caller.client.Identify(process)
	all := l.lookups
	all.mu.Lock()
	if len(all.waiting) == 0 {
		all.running--
		all.mu.Unlock()
		return
	}
	next := all.waiting[0]
	all.waiting = all.waiting[1:]
	all.mu.Unlock()
	all.begin(next)
}

// credentialsCall is a call of GetConnectionCredentials of the message bus.
func credentialsCall(serial uint32, name string) []byte {
	h := wireHeader{
		kind:        wireCall,
		serial:      serial,
		path:        string(busPath),
		iface:       busInterface,
		member:      "GetConnectionCredentials",
		destination: busName,
		signature:   "s",
	}
	return finish(appendString(h.marshal(len(name)+8), name))
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
