package frames

import (
	"bytes"
	"context"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestResponseIsTheClientsOwn(t *testing.T) {
	r := newRig(t, Config{})
	r.addBus(t, 1)
	c := r.connect(t)
	c.send(t, []byte{1, 0x2C, 0xC1, 0x13, 0x81, 0xB6, 0x41, 0xCA, 0xFE, 0xC0})
	want := []byte{1, 0, 0x81, 0xC6, 0xB9, 0x2C, 0xB5, 0x41, 0x00, 0xCA, 0xFE, 0x16}
	if got := c.receive(t); !bytes.Equal(got, want) {
		t.Errorf("got % X, want % X", got, want)
	}
}

// A failure names its request as the client sent it.
func TestFailureNamesItsRequest(t *testing.T) {
	r := newRig(t, Config{})
	r.addBus(t, 1)
	c := r.connect(t)
	for _, tt := range []struct{ packet, want []byte }{
		{[]byte{1, 0x30, 0xC1, 0x0F, 0x81, 0xB6, 0x41, 0xCA, 0xFE, 0xC0}, []byte{1, 4, 0x30, 0xC1, 0x0F, 0x81, 0xB6, 0x41}},
		{[]byte{9, 0x30, 0xC1, 0x0F, 0x81, 0xB6, 0x41, 0xCA, 0xFE, 0xC0}, []byte{9, 2, 0x30, 0xC1, 0x0F, 0x81, 0xB6, 0x41}},
		{[]byte{1, 0xDE, 0xAD, 0xBE}, []byte{1, 2, 0xDE, 0xAD, 0xBE}},
		{[]byte{1}, []byte{1, 2}},
	} {
		c.send(t, tt.packet)
		if got := c.receive(t); !bytes.Equal(got, tt.want) {
			t.Errorf("got % X, want % X", got, tt.want)
		}
	}
}

func TestStatuses(t *testing.T) {
	r := newRig(t, Config{})
	r.addBus(t, 4)
	r.buses.Store(uint8(8), newTestBus(t, 1)) // is down
	full := r.addLimitedBus(t, 12, 1)
	full.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MaxTimeout})
	r.connect(t).send(t, packet(12, request(quiet, 1)))
	eventually(t, "the only place to be taken", func() bool { return full.InProgress() == 1 })
	good := packet(4, request(echoes, 1, 1, 2, 3))
	with := func(index int, value byte) []byte {
		b := bytes.Clone(good)
		b[index] ^= value
		return b
	}
	longest := request(echoes, 1, make([]byte, 264-ipmb.MinRequest-1)...) // its response is one byte longer
	odd := request(echoes, 1, 9)
	odd.NetFn++
	tests := []struct {
		name   string
		packet []byte
		want   []byte
	}{
		{"good", good, answerPacket(4, request(echoes, 1, 1, 2, 3))},
		{"without data", packet(4, request(echoes, 2)), answerPacket(4, request(echoes, 2))},
		{"longest frame", packet(4, longest), answerPacket(4, longest)},
		{"too long for the bus", packet(4, request(echoes, 1, make([]byte, 258)...)), []byte{4, 1}},
		{"longest packet", packet(4, request(echoes, 1, make([]byte, MaxFrame-ipmb.MinRequest)...)), []byte{4, 1}},
		{"longer than any frame", packet(4, request(echoes, 1, make([]byte, MaxFrame)...)), []byte{4, 1}},
		{"much longer", append([]byte{4}, make([]byte, 100_000)...), []byte{4, 1}},
		{"empty", nil, []byte{0, 2}},
		{"index only", []byte{4}, []byte{4, 2}},
		{"6-byte frame", good[:7], []byte{4, 2}},
		{"cut short", good[:len(good)-1], []byte{4, 2}},
		{"header checksum", with(3, 1), []byte{4, 2}},
		{"body checksum", with(len(good)-1, 1), []byte{4, 2}},
		{"response", packet(4, answerTo(request(echoes, 1, 1, 2, 3))), []byte{4, 2}},
		{"odd network function", packet(4, odd), []byte{4, 2}},
		{"odd responder", packet(4, request(0x2D, 1)), []byte{4, 2}},
		{"general call", packet(4, request(0, 1)), []byte{4, 2}},
		{"no bus with the index", packet(5, request(echoes, 1)), []byte{5, 2}},
		{"over the limit of the bus", packet(12, request(echoes, 1)), []byte{12, 3}},
		{"silent responder", packet(4, request(quiet, 1)), []byte{4, 4}},
		{"absent responder", packet(4, request(absent, 1)), []byte{4, 4}},
		{"bus down", packet(8, request(echoes, 1)), []byte{8, 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := r.connect(t)
			// The request before and after shows that there is one packet for each.
			c.send(t, good)
			first := c.receive(t)
			c.send(t, tt.packet)
			got := c.receive(t)
			c.send(t, good)
			if last := c.receive(t); !bytes.Equal(first, last) {
				t.Errorf("another answer: % X", last)
			}
			want := tt.want
			if len(want) == answerHead {
				want = append(want, tt.packet[min(len(tt.packet), 1):min(len(tt.packet), 1+headBytes)]...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got % X, want % X", got, want)
			}
		})
	}
	for name, want := range map[string]uint64{"frame-requests": 1 + 3*uint64(len(tests)), "frame-requests-invalid": 13, "frame-requests-refused": 0} {
		if got := r.Statistics()[name]; got != want {
			t.Errorf("%s %d, want %d", name, got, want)
		}
	}
}

func TestNumbersMayBeUsedTwice(t *testing.T) {
	r := newRig(t, Config{})
	r.addBus(t, 0)
	c := r.connect(t)
	var want, got [][]byte
	for i := range byte(40) {
		f := request(echoes, 7, i)
		c.send(t, packet(0, f))
		want = append(want, answerPacket(0, f))
	}
	for range want {
		got = append(got, c.receive(t))
	}
	slices.SortFunc(got, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("got % X\nwant % X", got, want)
	}
}

func TestRequestsInProgressAreLimited(t *testing.T) {
	r := newRig(t, Config{MaxCalls: 3})
	bus := r.addBus(t, 0)
	bus.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MaxTimeout})
	release := bus.hold(t)
	c := r.connect(t)
	send := func(n int) {
		for range n {
			c.send(t, packet(0, request(held, 1)))
		}
	}
	expect := func(statuses ...byte) {
		t.Helper()
		for _, want := range statuses {
			if got := c.receive(t); got[1] != want {
				t.Errorf("got % X, want status %d", got, want)
			}
		}
	}
	send(5)
	expect(3, 3)
	for range 3 {
		release <- struct{}{}
	}
	expect(0, 0, 0)
	r.SetMaxCalls(1)
	send(3)
	expect(3, 3)
	release <- struct{}{}
	expect(0)
	if got := r.Statistics()["frame-requests-refused"]; got != 4 {
		t.Errorf("frame-requests-refused %d", got)
	}
}

// held answers when the test releases it.
const held ipmi.Address = 0x36

// hold makes the responder held; each value sent lets it answer a request.
func (b *testBus) hold(t *testing.T) chan<- struct{} {
	t.Helper()
	release := make(chan struct{})
	err := b.wire.Respond(uint8(held), func(b []byte, reply func([]byte)) {
		answer := answerTo(must(ipmb.Decode(bytes.Clone(b)))).Append(nil)
		go func() {
			<-release
			reply(answer)
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	r := newRig(t, Config{})
	bus := r.addBus(t, 0)
	deaf, other := r.connect(t), r.connect(t)
	// A few answers that are not read do no harm.
	for i := range 100 {
		deaf.send(t, packet(0, request(echoes, uint8(i))))
	}
	for i := range 5000 {
		if _, err := deaf.Write(packet(0, request(echoes, 0, numbered(i)...))); err != nil {
			break
		}
		if i%10 == 0 {
			f := request(echoes, 1, numbered(i)...)
			other.send(t, packet(0, f))
			got := other.receive(t)
			for got != nil && got[1] == 3 { // The deaf one's requests have all the numbers.
				other.send(t, packet(0, f))
				got = other.receive(t)
			}
			if !bytes.Equal(got, answerPacket(0, f)) {
				t.Fatalf("another client got % X", got)
			}
		}
	}
	h := awaited(t, "a client to be cut off", r.hungUp)
	if h.why != ErrUnread || h.who.PID != int32(os.Getpid()) || h.who.UID != uint32(os.Getuid()) {
		t.Errorf("hung up on %+v", h)
	}
	read := 0
	for deaf.receive(t) != nil {
		read++
	}
	if read == 0 {
		t.Error("what was written before is lost")
	}
	if got := r.Statistics()["frame-clients-cut-off"]; got != 1 {
		t.Errorf("frame-clients-cut-off %d", got)
	}
	eventually(t, "its requests to end", func() bool { return bus.InProgress() == 0 })
}

// A client that goes on sending does not delay the server that disconnects it.
func TestNothingIsTakenAfterHangingUp(t *testing.T) {
	var r *rig
	var taken atomic.Int32
	sent, hungUp := make(chan struct{}), make(chan struct{})
	hangUp := func(uint8) *bus.Bus {
		if taken.Add(1) > 1 {
			return nil
		}
		<-sent
		for _, p := range r.refuseClients(false) {
			go func() {
				p.hangUp()
				close(hungUp)
			}()
			eventually(t, "the client to be gone", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.gone
			})
		}
		return nil
	}
	r = newRig(t, Config{Bus: hangUp})
	client := r.connect(t)
	for i := range 3 {
		client.send(t, packet(0, request(echoes, uint8(i))))
	}
	close(sent)
	<-hungUp
	if n := taken.Load(); n != 1 {
		t.Errorf("%d requests were taken", n)
	}
}

func TestClientThatReadsLateGetsAll(t *testing.T) {
	r := newRig(t, Config{})
	r.addBus(t, 0)
	c := r.connect(t)
	// More than the socket holds, less than makes a client be cut off.
	long := make([]byte, 200)
	const requests = 900
	want := make(map[string]int)
	for i := range requests {
		f := request(echoes, 0, append(numbered(i), long...)...)
		c.send(t, packet(0, f))
		want[string(answerPacket(0, f))]++
		eventually(t, "the request to be taken", func() bool { return r.Statistics()["frame-requests"] == uint64(i+1) })
	}
	refused := 0
	for range requests {
		got := c.receive(t)
		if got[1] == 3 {
			refused++
			continue
		}
		if want[string(got)] != 1 {
			t.Fatalf("got % X", got)
		}
		delete(want, string(got))
	}
	if len(want) != refused {
		t.Errorf("%d refused, %d not answered", refused, len(want))
	}
}

func TestRequestsEndWithTheirClient(t *testing.T) {
	r := newRig(t, Config{})
	bus := r.addBus(t, 0)
	bus.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MaxTimeout})
	c := r.connect(t)
	const requests = 47 // with more in doubt, calls of a kind go one at a time
	for i := range requests {
		c.send(t, packet(0, request(quiet, uint8(i))))
	}
	eventually(t, "the requests to be sent", func() bool { return bus.count("frames-sent") >= requests })
	c.Close()
	eventually(t, "the requests to end", func() bool { return bus.count("calls-cancelled") == requests })
	if n := bus.InProgress(); n != 0 {
		t.Errorf("%d requests are counted still", n)
	}
	other := r.connect(t)
	other.send(t, packet(0, request(echoes, 1)))
	if got := other.receive(t); got[1] != 0 {
		t.Errorf("another client got % X", got)
	}
}

func TestClientsAreLimited(t *testing.T) {
	inAll := 3
	if os.Geteuid() != 0 {
		inAll *= 2 // a user may have half of them
	}
	for name, config := range map[string]Config{"in all": {MaxClients: inAll}, "of a process": {MaxPerProcess: 3}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, config)
			r.addBus(t, 0)
			var clients []raw
			for range 3 {
				c := r.connect(t)
				c.send(t, packet(0, request(echoes, 1)))
				if got := c.receive(t); got == nil || got[1] != 0 {
					t.Fatalf("got % X", got)
				}
				clients = append(clients, c)
			}
			if got := r.connect(t).receive(t); got != nil {
				t.Errorf("got % X", got)
			}
			if h := awaited(t, "the refusal", r.hungUp); h.why != ErrTooMany || h.who.PID != int32(os.Getpid()) {
				t.Errorf("hung up on %+v", h)
			}
			if got := r.Statistics()["frame-clients-refused"]; got != 1 {
				t.Errorf("frame-clients-refused %d", got)
			}
			clients[1].Close()
			eventually(t, "a place", func() bool {
				c := r.connect(t)
				defer c.Close()
				if _, err := c.Write(packet(0, request(echoes, 1))); err != nil {
					return false
				}
				got := c.receive(t)
				return got != nil && got[1] == 0
			})
		})
	}
}

func TestDrain(t *testing.T) {
	r := newRig(t, Config{})
	bus := r.addBus(t, 0)
	release := bus.hold(t)
	bus.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MaxTimeout})
	c, deaf := r.connect(t), r.connect(t)
	f := request(held, 1, 5)
	c.send(t, packet(0, f))
	deaf.send(t, packet(0, request(quiet, 1)))
	eventually(t, "the requests to be sent", func() bool { return bus.InProgress() == 2 })

	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		r.Drain(ctx)
	}()
	eventually(t, "the drain to begin", func() bool { return r.stopping.Load() })
	c.send(t, packet(0, request(echoes, 2)))
	if got := c.receive(t); !bytes.Equal(got, failurePacket(0, ipmb.StatusFailed, request(echoes, 2))) {
		t.Errorf("a request at the stop: % X", got)
	}
	close(release)
	if got := c.receive(t); !bytes.Equal(got, answerPacket(0, f)) {
		t.Errorf("a request before it: % X", got)
	}
	select {
	case <-drained:
		t.Error("a request in progress was not waited for")
	default:
	}
	cancel()
	awaited(t, "the end of the drain", drained)
	r.stop()
	for _, client := range []raw{c, deaf} {
		if got := client.receive(t); got != nil {
			t.Errorf("got % X", got)
		}
	}
}

func TestDrainWithNothingToDo(t *testing.T) {
	r := newRig(t, Config{})
	c := r.connect(t)
	c.send(t, nil)
	c.receive(t)
	r.Drain(t.Context())
}

func must(f ipmb.Frame, err error) ipmb.Frame {
	if err != nil {
		panic(err)
	}
	return f
}

// The client's and the responder's parts allocate nothing, so all allocations are the server's and
// the engine's.
func TestRequestAllocatesNothing(t *testing.T) {
	r := newRig(t, Config{})
	bus := r.addBus(t, 0)
	const frugal = 0x36
	var out []byte
	err := bus.wire.Respond(frugal, func(b []byte, reply func([]byte)) {
		out = answerTo(must(ipmb.Decode(b))).Append(out[:0])
		reply(out)
	})
	if err != nil {
		t.Fatal(err)
	}
	file, err := r.connect(t).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd()) // blocks
	sent, in := packet(0, request(frugal, 1, 2)), make([]byte, 64)
	roundTrip := func() {
		if _, err := unix.Write(fd, sent); err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Read(fd, in); err != nil || n < 3 {
			t.Fatalf("%v, % X", err, in[:max(n, 0)])
		}
	}
	if n := testing.AllocsPerRun(1000, roundTrip); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
