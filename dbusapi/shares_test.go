package dbusapi

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// place takes one place for a connection, or reports that there is none.
type place func(one *client) bool

// limited is a resource that programs share.
type limited struct {
	// open makes it, with all places free.
	open func(*testing.T) place
	// How many places one connection gets, a program with many, all programs of a user, a
	// program of another user beside these, and all programs of root.
	connection, program, user, other, root int
}

// limits has all resources that programs share on D-Bus. There are 20 programs of each user.
func limits() map[string]limited {
	const programs = 20
	return map[string]limited{
		"handlers":                        {openHandlers(1), 64, 64, 256, 64, 512},
		"commands, 256 for each handler":  {openHandlers(256), 8, 8, 8, 8, 16},
		"subscribers":                     {openSubscribers, 1, 32, 32, 32, 64},
		"calls that wait to be served":    {openBacklog(0), 128, 128, programs * 128, 128, programs * 128},
		"16 KiB of such calls":            {openBacklog(16 << 10), 64, 64, 64, 32, 128},
		"requests that wait for handlers": {openLine, 256, 256, 1024, 256, 2048},
		// Beyond 44 calls each program has one: three have 44, 17 have one.
		"calls to handlers": {openHandlerCalls, 16, 16, 32, 44 - 32, 44 + 17},
	}
}

// No program gets more by more connections, no user other than root by more programs, and another
// one always finds places.
func TestSharesOfPrograms(t *testing.T) {
	const programs, connections = 20, 10
	for name, tt := range limits() {
		t.Run(name, func(t *testing.T) {
			var take place
			last := 0
			fill := func(pid int32, uid uint32, connections int) (taken int) {
				for range connections {
					last++
					one := &client{name: fmt.Sprint(":1.", last)}
					one.Identify(bus.Process{PID: pid, UID: uid})
					for take(one) {
						taken++
					}
				}
				return taken
			}
			fillUser := func(uid uint32) (taken int) {
				for pid := range int32(programs) {
					taken += fill(100+pid, uid, connections)
				}
				return taken
			}
			check := func(what string, got, want int) {
				t.Helper()
				if got != want {
					t.Errorf("%s: %d places, want %d", what, got, want)
				}
			}
			take = tt.open(t)
			check("one connection", fill(1, 1000, 1), tt.connection)
			take = tt.open(t)
			check("one program with many connections", fill(1, 1000, 4*connections), tt.program)
			check("another program of root", min(fill(2, 0, 4*connections), tt.other), tt.other)
			take = tt.open(t)
			check("many programs of one user", fillUser(1000), tt.user)
			check("another user", fill(1, 1001, 4*connections), tt.other)
			take = tt.open(t)
			check("many programs of root", fillUser(0), tt.root)
		})
	}
}

// openHandlers is the resource of handlers with this many commands.
func openHandlers(commands int) func(*testing.T) place {
	return func(*testing.T) place {
		r, last := newRouter(new(ipmi.Mux)), 0
		return func(one *client) bool {
			last++
			h := &remoteHandler{client: &one.Client, target: target{destination: one.name, path: fmt.Sprint("/", last)},
				patterns: make([]ipmi.Pattern, commands)}
			if r.admitHandler(h) != nil {
				return false
			}
			r.handlers = append(r.handlers, h)
			return true
		}
	}
}

func openSubscribers(t *testing.T) place {
	s := new(Server)
	s.events.shares = bus.NewShares(bus.Halves(maxSubscribers))
	return func(one *client) bool {
		before := len(s.events.subscribers)
		_, err := subscribe(t.Context(), &call{server: s, sender: one.name, client: one})
		return err == nil && len(s.events.subscribers) > before
	}
}

// openBacklog is the resource of waiting calls, of this many bytes, that are never served.
func openBacklog(bytes int) func(*testing.T) place {
	return func(t *testing.T) place {
		return openBacklogOf(t, newClients(1, func(string) {}), bytes)
	}
}

func openBacklogOf(t *testing.T, c *clients, bytes int) place {
	raw := encodeCall(t, binary.LittleEndian, ":1.5")
	m, _ := dbuswire.Parse(raw)
	if bytes > 0 {
		m.Raw = append(raw, make([]byte, bytes-callOverhead-len(raw))...)
	}
	objects := newObjects()
	return func(one *client) bool { return c.queueWaiting(one, &waitingCall{objects: &objects, raw: m.Raw}, true) }
}

// openLine is requests in line for handlers, which are not called.
func openLine(*testing.T) place {
	q := newCallQueue()
	return func(one *client) bool {
		return q.enterLine(&one.Client, &handlerCall{execution: execution{req: fromME()}, queue: q})
	}
}

// openHandlerCalls is calls to handlers that have answered so many calls that they get as
// many as there are, and answer no more.
func openHandlerCalls(t *testing.T) place {
	r := newQueueRig(t)
	return func(one *client) bool {
		process, _ := one.Process()
		if r.programs[process] == nil {
			r.countHandlers(&one.Client, 1)
			r.programs[process].window = xml.MaxExecutes
		}
		before := r.calls.Used()
		r.clients[one.name] = &one.Client
		r.ask(one.name)
		return r.calls.Used() > before
	}
}

// fillWith gives a program all places that it gets.
func fillWith(take place, p bus.Process) {
	one := &client{name: fmt.Sprint(":2.", p.PID)}
	one.Identify(p)
	for take(one) {
	}
}

// Calls of clients that are not identified are bounded, and leave room to the next.
func TestUnknownSendersAreBounded(t *testing.T) {
	data := make([]byte, 1<<10)
	for name, open := range map[string]func(*clients) place{
		"calls to buses": func(c *clients) place {
			return func(one *client) bool {
				c.known[one.name] = one
				return c.beginCall([]byte(one.name), &busCall{request: ipmb.Request{Data: data}}) == nil
			}
		},
		"other calls": func(c *clients) place {
			take := openBacklogOf(t, c, 1<<10)
			fillWith(take, bus.Process{PID: 1}) // so that the others are not sure of a place
			return take
		},
	} {
		c := newClients(10000, func(string) {})
		take := open(c)
		var taken []int
		for i := range 100 {
			one, n := &client{name: fmt.Sprint(":1.", i)}, 0
			for n < maxBacklog && take(one) {
				n++
			}
			taken = append(taken, n)
		}
		if c.unknown > maxUnknown || c.unknown < maxUnknown*9/10 || taken[0] < 100 || taken[1] < 50 || taken[5] == 0 {
			t.Errorf("%s: %d bytes of unknown clients, calls of each: %v", name, c.unknown, taken)
		}
	}
}

// hideSenders keeps all clients from being identified until show is called.
func (r *rig) hideSenders() (show func()) {
	c := r.server.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.conn
	c.conn = nil
	return func() { c.lookUpBy(conn) }
}

// programs has the programs of connections by name; every other connection is its own program.
type programs struct{ known sync.Map }

func (p *programs) of(name string, found bus.Process) bus.Process {
	if process, ok := p.known.Load(name); ok {
		return process.(bus.Process)
	}
	return ownProgram(name, found)
}

// same makes a connection one of the program of another.
func (p *programs) same(a, b *dbuswire.Conn) {
	p.known.Store(b.Name(), ownProgram(a.Name(), bus.Process{}))
}

// sendThree makes three calls to bus4.
func (c *crowd) sendThree() (serials []uint32) {
	for i := range byte(3) {
		serials = append(serials, c.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(6), byte(0), byte(1), []byte{i}))
	}
	c.send()
	return serials
}

// wantStatus wants replies to these calls, of a status.
func (c *crowd) wantStatus(serials []uint32, want ipmb.Status) {
	c.t.Helper()
	for range serials {
		got, msg := c.reply()
		if !slices.Contains(serials, got) || msg.Body[0].([]any)[0] != int32(want) {
			c.t.Fatalf("%v, want status %d of %v", msg, want, serials)
		}
	}
}

// newHogRig is a rig whose bus gives a program so many places, all of which one program has. Its
// senders are hidden until show is called.
func newHogRig(t *testing.T, config Config, places int) (r *rig, hog *dbuswire.Conn, show func()) {
	t.Helper()
	r = newStoppedRigOf(t, config, newLimitedFakeBus("bus4", 0, 2*places))
	hog = dial(t, r.bus, dbuswire.Config{})
	for range places {
		r.block(t, hog)
	}
	r.soon(t, func() bool { return r.server.clients.countUnknown() == 0 })
	return r, hog, r.hideSenders()
}

// countUnknown is how many clients are not identified.
func (c *clients) countUnknown() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.known {
		if !one.identified {
			n++
		}
	}
	return n
}

// countServed is how many calls are in progress.
func (c *clients) countServed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.served
}

// Beside a program that has all the calls it gets, calls of new connections wait until their
// program is known: then they are sent, or refused if it is that program.
func TestCallsOfUnknownSendersWait(t *testing.T) {
	p := new(programs)
	r, hog, show := newHogRig(t, Config{programOf: p.of}, 4)
	other, again, leaver := newCrowd(t, r), newCrowd(t, r), newCrowd(t, r)
	p.same(hog, again.conn)
	toOther, toAgain := other.sendThree(), again.sendThree()
	leaver.sendThree()
	r.soon(t, func() bool { return r.server.clients.countServed() == 4+9 })
	leaver.leave()
	r.leave(t, leaver.conn)
	before := r.fake.countRequests()
	show()
	other.wantStatus(toOther, ipmb.StatusOK)
	again.wantStatus(toAgain, ipmb.StatusBusy)
	other.wantStatus(other.sendThree(), ipmb.StatusOK)
	if n := r.fake.countRequests() - before; n != 6 {
		t.Errorf("%d requests were sent", n)
	}
	r.soon(t, func() bool { return r.server.clients.countServed() == 4 })
}

func TestCloseEndsCallsOfUnknownSenders(t *testing.T) {
	r, _, _ := newHogRig(t, Config{}, 4)
	newCrowd(t, r).sendThree()
	r.soon(t, func() bool { return r.server.clients.countServed() == 4+3 })
	_ = r.server.Close()
	if n := r.fake.countRequests(); n != 4 {
		t.Errorf("%d requests were sent", n)
	}
}

// countRequests is how many requests the bus was sent.
func (b *fakeBus) countRequests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.requests)
}

func TestCallsOfUnknownSendersKeepTheirOrder(t *testing.T) {
	const each, hogs = 30, 80
	r, _, show := newHogRig(t, Config{}, hogs)
	c := newCrowd(t, r)
	var want []byte
	send := func(first byte) {
		for n := range byte(each) {
			c.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(0x30), byte(0), byte(1), []byte{first + n})
			want = append(want, first+n)
		}
		c.send()
	}
	send(0)
	r.soon(t, func() bool { return r.server.clients.countServed() == hogs+each })
	show()
	send(each) // while the others are being sent, or after
	for range 2 * each {
		if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply {
			t.Fatalf("%v", msg)
		}
	}
	var got []byte
	for _, req := range r.fake.requests[hogs:] {
		got = append(got, req.Data...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("they went out as %v", got)
	}
}

// A program that has all the calls that may wait gets no more by new connections. Another
// one is served before it is known that it is another.
func TestBacklogOfUnknownSenders(t *testing.T) {
	p := new(programs)
	r := newRig(t, Config{programOf: p.of})
	began, free := make(chan struct{}), make(chan struct{})
	r.fake.binding = func() {
		began <- struct{}{}
		<-free
	}
	hog, again := newCrowd(t, r), newCrowd(t, r)
	p.same(hog.conn, again.conn)
	bind := func(c *crowd, more int) {
		c.add(0, bus4, xml.BusInterface, "bind")
		for range more {
			c.add(0, bus4, xml.IntrospectableInterface, "Introspect")
		}
		c.send()
		<-began
	}
	bind(hog, maxBacklog-1)
	r.soon(t, func() bool { return r.server.clients.arrived.Load() == maxBacklog })
	show := r.hideSenders()
	const more = 10
	bind(again, more)
	if _, err := dial(t, r.bus, dbuswire.Config{}).Call(t.Context(), dbuswire.Method{Destination: xml.ServiceName, Path: bus4, Interface: xml.IntrospectableInterface, Member: "Introspect"}); err != nil {
		t.Errorf("another program: %v", err)
	}
	show()
	for range more {
		if _, msg := again.reply(); msg.Headers[dbus.FieldErrorName].Value() != xml.ErrorLimits {
			t.Fatalf("%v", msg)
		}
	}
	close(free)
	for c, replies := range map[*crowd]int{hog: maxBacklog, again: 1} {
		for range replies {
			if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply {
				t.Errorf("%v", msg)
			}
		}
	}
	r.soon(t, func() bool {
		placed, unsure := r.server.clients.waitingBytes()
		return placed+unsure == 0
	})
	bind(again, more)
	for range more + 1 {
		if _, msg := again.reply(); msg.Type != dbus.TypeMethodReply {
			t.Errorf("%v", msg)
		}
	}
}

// A program that registers or subscribes is identified first. No other waits for that.
func TestRegistrationWaitsForItsSender(t *testing.T) {
	r := newRouterRig(t)
	show := r.hideSenders()
	p, l := r.program(t, answerWith(1)), r.listener(t)
	done := make(chan *dbus.Call, 2)
	router := func(c *dbuswire.Conn, member string, args ...any) {
		c.Object(xml.ServiceName, BasePath).Go(xml.RouterInterface+"."+member, 0, done, args...)
	}
	router(p.conn, "RegisterHandler", dbus.ObjectPath("/handler"), []commandRow{appCommand(1)})
	router(l.conn, "Subscribe")
	r.soon(t, func() bool { return r.server.clients.arrived.Load() == 2 })
	if got := r.legacy(t, 0, 6, 0, 1); got[0] != int32(ipmb.StatusOK) {
		t.Errorf("another call: %v", got)
	}
	if n := len(r.mux.Registrations()) + len(r.server.events.names()) + len(done); n > 0 {
		t.Errorf("%d were served", n)
	}
	show()
	for range 2 {
		if call := <-done; call.Err != nil {
			t.Error(call.Err)
		}
	}
	if n := len(r.mux.Registrations()) + len(r.server.events.names()); n != 2 {
		t.Errorf("%d are registered", n)
	}
}
