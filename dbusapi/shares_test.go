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
type place func(one *caller) bool

// limited is something of which programs have shares.
type limited struct {
	// open makes it, with all places free.
	open func(*testing.T) place
	// How many places one connection gets, a program with many, all programs of a user, a
	// program of another user beside these, and all programs of root.
	connection, program, user, other, root int
}

// limits is all that programs share on D-Bus. There are 20 programs of each user.
func limits() map[string]limited {
	const programs = 20
	return map[string]limited{
		"calls to two buses":              {openCalls(2 * 256), 128, 256, 256, 256, programs * 256},
		"calls to a bus of few":           {openCalls(4), 128, 128, 128, 128, programs * 128},
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

// No program gets more by more connections, no user but root by more programs, and another
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
					one := &caller{name: fmt.Sprint(":1.", last)}
					one.client.Identify(bus.Process{PID: pid, UID: uid})
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

// openCalls is calls to buses that have so many places.
func openCalls(places int) func(*testing.T) place {
	return func(t *testing.T) place {
		s := &Server{callers: newCallers(t.Context(), defaultMaxCallsPerSender)}
		s.callers.addPlaces(places)
		return func(one *caller) bool {
			if one.uses == 0 {
				s.callers.names[one.name] = one
				s.callers.idlers++
			}
			_, _, err := s.callers.enterCall([]byte(one.name), &busCall{server: s}, true)
			return err == nil
		}
	}
}

// openHandlers is handlers of so many commands.
func openHandlers(commands int) func(*testing.T) place {
	return func(*testing.T) place {
		r, last := newRouter(nil), 0
		return func(one *caller) bool {
			last++
			h := &remoteHandler{client: &one.client, target: target{destination: one.name, path: fmt.Sprint("/", last)},
				patterns: make([]ipmi.Pattern, commands)}
			if r.admit(h) != nil {
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
	return func(one *caller) bool {
		before := len(s.events.subscribers)
		_, err := subscribe(t.Context(), &call{server: s, sender: one.name, caller: one})
		return err == nil && len(s.events.subscribers) > before
	}
}

// openBacklog is calls that wait, of so many bytes, which nobody serves.
func openBacklog(bytes int) func(*testing.T) place {
	return func(t *testing.T) place {
		return openBacklogOf(t, newBacklogs(&Server{callers: newCallers(t.Context(), 1)}), bytes)
	}
}

func openBacklogOf(t *testing.T, b *backlogs, bytes int) place {
	b.actors.limit, b.readers.limit = 0, 0
	raw := encodeCall(t, binary.LittleEndian, ":1.5")
	m, _ := dbuswire.Parse(raw)
	if bytes > 0 {
		m.Raw = append(raw, make([]byte, bytes-callOverhead-len(raw))...)
	}
	m.Owned = true
	objects := newObjects()
	return func(one *caller) bool { return b.queue(one, dbuswire.ReplyTo{}, &objects, &m) }
}

// openLine is requests in line for handlers, which are not called.
func openLine(*testing.T) place {
	q := newCallQueue()
	return func(one *caller) bool {
		return q.enqueue(&one.client, &handlerCall{execution: execution{req: fromME()}, queue: q})
	}
}

// openHandlerCalls is calls to handlers that have answered so many calls that they get as
// many as there are, and answer no more.
func openHandlerCalls(t *testing.T) place {
	r := newQueueRig(t)
	return func(one *caller) bool {
		process, _ := one.client.Process()
		if r.programs[process] == nil {
			r.joined(&one.client)
			r.programs[process].window = xml.MaxExecutes
		}
		before := r.calls.Used()
		r.clients[one.name] = &one.client
		r.ask(one.name)
		return r.calls.Used() > before
	}
}

// fillWith gives a program all places that it gets.
func fillWith(take place, p bus.Process) {
	one := &caller{name: fmt.Sprint(":2.", p.PID)}
	one.client.Identify(p)
	for take(one) {
	}
}

// Calls that wait until their sender is known are bounded, and leave room to the next.
func TestUnknownSendersAreBounded(t *testing.T) {
	s := &Server{callers: newCallers(t.Context(), 10000)}
	data := make([]byte, 1<<10)
	call := func(one *caller) bool {
		s.callers.names[one.name] = one
		_, _, err := s.callers.enterCall([]byte(one.name), &busCall{server: s, request: ipmb.Request{Data: data}}, true)
		return err == nil
	}
	b := newBacklogs(s)
	wait := openBacklogOf(t, b, 1<<10)
	for name, tt := range map[string]struct {
		take  place
		held  *int
		limit int
	}{"calls to buses": {call, &s.callers.held, maxHeld}, "other calls": {wait, &b.unsure, maxUnsure}} {
		fillWith(tt.take, bus.Process{PID: 1})
		if *tt.held > 0 {
			t.Errorf("%s: %d bytes of a known sender are held", name, *tt.held)
		}
		var taken []int
		for i := range 100 {
			one := &caller{name: fmt.Sprint(":1.", i)}
			n := 0
			for tt.take(one) {
				n++
			}
			taken = append(taken, n)
		}
		if *tt.held > tt.limit || *tt.held < tt.limit*9/10 || taken[0] < 100 || taken[1] < 50 || taken[5] == 0 {
			t.Errorf("%s: %d bytes are held, calls of each: %v", name, *tt.held, taken)
		}
	}
}

// hideSenders has nobody identified until show is called.
func (r *rig) hideSenders() (show func()) {
	l := &r.server.lookups
	l.mu.Lock()
	defer l.mu.Unlock()
	conn := l.conn
	l.conn = nil
	return func() { l.start(conn) }
}

// programs is which programs connections are of, by their names; others are each one of
// its own.
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

// Beside a program that has all the calls it gets, those of new connections wait until it is
// known whose they are: they are sent, or refused if it is that program's.
func TestCallsOfUnknownSendersWait(t *testing.T) {
	p := new(programs)
	r := newRig(t, Config{MaxCallsPerSender: 4, programOf: p.of})
	r.server.callers.addPlaces(-r.object.places) // A program has four calls then.
	hog := dial(t, r.bus, dbuswire.Config{})
	for range 4 {
		r.block(t, hog)
	}
	show := r.hideSenders()
	other, again, leaver := newCrowd(t, r), newCrowd(t, r), newCrowd(t, r)
	p.same(hog, again.conn)
	toOther, toAgain := other.sendThree(), again.sendThree()
	leaver.sendThree()
	for held := 0; held < 9; {
		r.roundTrip(t)
		held = r.server.callers.countHeld()
	}
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
	r.soon(t, func() bool { return r.server.callers.countHeld() == 0 })
}

func TestCloseEndsCallsOfUnknownSenders(t *testing.T) {
	r := newStoppedRig(t, Config{MaxCallsPerSender: 4})
	r.server.callers.addPlaces(-r.object.places)
	hog := dial(t, r.bus, dbuswire.Config{})
	for range 4 {
		r.block(t, hog)
	}
	r.hideSenders()
	newCrowd(t, r).sendThree()
	r.soon(t, func() bool { return r.server.callers.countHeld() == 3 })
	_ = r.server.Close()
	if n := r.fake.countRequests(); n != 4 {
		t.Errorf("%d requests were sent", n)
	}
}

// countHeld is how many calls wait for their sender to be identified.
func (c *callers) countHeld() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.names {
		n += len(one.held)
	}
	return n
}

// countRequests is how many requests the bus was sent.
func (b *fakeBus) countRequests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.requests)
}

func TestCallsOfUnknownSendersKeepTheirOrder(t *testing.T) {
	engine := newEngineBus(t, answer)
	r := newEngineRig(t, engine)
	hog := new(bus.Client)
	hog.Identify(bus.Process{PID: 1 << 20})
	r.server.callers.mu.Lock()
	for r.server.callers.shares.Enter(hog, 1) == bus.Admitted {
	}
	r.server.callers.mu.Unlock()
	show := r.hideSenders()
	c := newCrowd(t, r)
	const each = 30 // There are 64 numbers.
	var want []byte
	send := func(first byte) {
		for n := range byte(each) {
			c.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(0x30), byte(0), byte(1), []byte{first + n})
			want = append(want, first+n)
		}
		c.send()
	}
	send(0)
	r.soon(t, func() bool { return r.server.callers.countHeld() == each })
	show()
	send(each) // while the others are being sent, or after
	for range 2 * each {
		if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply {
			t.Fatalf("%v", msg)
		}
	}
	if got := engine.written(); !slices.Equal(got, want) {
		t.Errorf("they went out as %v", got)
	}
}

// A program that has all the calls that may wait gets no more by new connections. Another
// one is served before it is known that it is another.
func TestBacklogOfUnknownSenders(t *testing.T) {
	m, p := newSlowManager(), new(programs)
	r := newRig(t, Config{Manager: m, programOf: p.of})
	hog, again := newCrowd(t, r), newCrowd(t, r)
	p.same(hog.conn, again.conn)
	reload := func(c *crowd, more int) {
		c.add(0, BasePath, xml.ManagerInterface, "Reload")
		for range more {
			c.add(0, bus4, xml.IntrospectableInterface, "Introspect")
		}
		c.send()
		<-m.began
	}
	reload(hog, maxBacklog-1)
	r.soon(t, func() bool { return r.server.backlogs.countArrived() == maxBacklog })
	show := r.hideSenders()
	const more = 10
	reload(again, more)
	if _, err := dial(t, r.bus, dbuswire.Config{}).Call(t.Context(), dbuswire.Method{Destination: xml.ServiceName, Path: bus4, Interface: xml.IntrospectableInterface, Member: "Introspect"}); err != nil {
		t.Errorf("another program: %v", err)
	}
	show()
	for range more {
		if _, msg := again.reply(); msg.Headers[dbus.FieldErrorName].Value() != xml.ErrorLimits {
			t.Fatalf("%v", msg)
		}
	}
	close(m.free)
	for c, replies := range map[*crowd]int{hog: maxBacklog, again: 1} {
		for range replies {
			if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply {
				t.Errorf("%v", msg)
			}
		}
	}
	r.soon(t, func() bool {
		placed, unsure := r.server.backlogs.waitingBytes()
		return placed+unsure == 0
	})
	reload(again, more)
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
	r.soon(t, func() bool { return r.server.backlogs.countArrived() == 2 })
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
