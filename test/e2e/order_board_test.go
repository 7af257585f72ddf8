package e2e

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// orderBoard is a daemon with everything that messages can come from and go to.
type orderBoard struct {
	placement placement
	bursts    uint64 // so far

	client client
	cork   *cork // of the client's connection

	satellite *node         // at 2Ch and, for broadcasts, at 00h
	asked     <-chan packet // of the satellite
	packets   net.Conn      // a client of the frame socket

	machine *machine

	events, toHost, toHandler    *node
	number                       byte // the last sequence number of a node's request
	host, handler                *hostd.Daemon
	platform, received, observed <-chan *dbus.Signal
}

// Names and indexes of the board's buses.
const (
	satelliteIndex = 1 // devIndex 0, type me
	eventsBus      = "bus6"
	toHostBus      = "bus7"
)

func newOrderBoard(t *testing.T, p placement) *orderBoard {
	t.Helper()
	bus := bustest.Start(t)
	o := &orderBoard{
		placement: p, satellite: listen(t, "ipmb-5"), events: listen(t, "ipmb-6"),
		toHost: listen(t, "ipmb-7"), toHandler: listen(t, "ipmb-8"),
	}
	respond, asked := recorder(silent)
	o.satellite.respond(0x2C, respond)
	o.satellite.respond(0x00, respond)
	o.asked = asked

	host, path := vm(t, "host0", nil)
	config := hosts([]object{host},
		channel(o.satellite, object{"handler": "none", "ipmi-channel": 1, "timeout-ms": 60000, "tries": 1}),
		channel(o.events, object{"type": "ipmb", "handler": "bmc", "ipmi-channel": 0}),
		channel(o.toHost, object{"handler": "host", "ipmi-channel": 2, "devIndex": 1, "handler-timeout-ms": 60000}),
		channel(o.toHandler, object{"handler": "none", "ipmi-channel": 3, "devIndex": 2, "handler-timeout-ms": 60000}))
	config, framesPath := withFrames(t, config)
	p.start(t, bus.Address, config)

	o.client, o.cork = connectCorked(t, bus.Address)
	o.host = hostd.Start(t, bus.Address, hostd.Print)
	o.handler = hostd.Start(t, bus.Address, hostd.Print, hostd.Register+"48,255,32776") // all of netFn 30h on channels 3 and 15
	listener := connect(t, bus.Address)
	o.received, o.observed = listener.signals(t, "ReceivedMessage"), listener.signals(t, "receiveBroadcast")
	o.platform = listener.subscribe(t)

	packets, err := net.Dial("unixpacket", framesPath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	o.packets = packets
	o.machine = boot(t, "unix", path, noAttention)
	for _, n := range []*node{o.satellite, o.events, o.toHost, o.toHandler} {
		eventually(t, "a connection to "+n.path, func() bool { return n.connections() == 1 })
	}
	return o
}

// ways are all ways through the board's daemon.
func (o *orderBoard) ways() []way {
	return []way{
		{"calls on D-Bus", 64, o.calls},
		{"packets of the frame socket", 64, o.framePackets},
		{"Send Message of a machine", 12, o.sendMessages},
		{"events", 48, o.platformEvents},
		{"requests to the host daemon", 48, o.hostRequests},
		{"requests to a handler", 48, o.handlerRequests},
		{"requests to the receive queue", 12, o.queuedRequests},
		{"requests of a machine", 12, o.machineRequests},
	}
}

// arrived takes the requests of a burst from the satellite: it returns their order of arrival
// there, and each request by its place.
func (o *orderBoard) arrived(t testing.TB, b *burst) (order []int, requests map[int]packet) {
	t.Helper()
	requests = make(map[int]packet)
	for range b.size {
		p := receive(t, "a request of the burst on the bus", o.asked)
		place := b.place(p.data)
		order = append(order, place)
		requests[place] = p
	}
	return order, requests
}

// answers has the satellite answer requests in another order, which it returns. A broadcast gets
// no answer.
func (o *orderBoard) answers(b *burst, requests map[int]packet) (order []int) {
	for _, place := range b.shuffled() {
		if p, ok := requests[place]; ok && p.to != 0 {
			order = append(order, place)
		}
	}
	for i, place := range order {
		if i > 0 {
			spin(b.gap)
		}
		o.satellite.write(requests[place].answer(0, requests[place].data...).bytes())
	}
	return order
}

// places collects the places that a burst's messages have, in the order in which next
// hands out their data. Messages of other bursts are passed over.
func (b *burst) places(n int, next func() []byte) (order []int) {
	for len(order) < n {
		if place := b.place(next()); place >= 0 {
			order = append(order, place)
		}
	}
	return order
}

// asks sends a burst of requests from a node; request makes the i-th, which gets a
// sequence number of its own. It returns the place of each number.
func (o *orderBoard) asks(b *burst, n *node, request func(i int) packet) map[byte]int {
	places := make(map[byte]int)
	b.each(func(i int) {
		o.number = (o.number + 1) & 63
		places[o.number] = i
		p := request(i)
		p.number = o.number
		n.write(p.bytes())
	})
	return places
}

// answersTo takes the answers to a burst of a node's requests from the bus, which
// carry netFn: the order of the requests that they answer.
func (o *orderBoard) answersTo(t testing.TB, b *burst, n *node, netFn byte, places map[byte]int) (order []int) {
	t.Helper()
	for len(order) < b.size {
		p := mustUnpack(t, n.next(t))
		if p.netFn != netFn {
			continue
		}
		if code := p.data[0]; code != 0 {
			t.Fatalf("a request of the burst was answered %02Xh", code)
		}
		order = append(order, places[p.number])
	}
	return order
}

// cork is a connection that can hold back writes, so that many messages are
// one write.
type cork struct {
	net.Conn
	mu   sync.Mutex
	held *bytes.Buffer // nil: nothing is held back
}

// Write implements io.Writer.
func (c *cork) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		return c.held.Write(b)
	}
	return c.Conn.Write(b)
}

// together makes one write of all the writes in do.
func (c *cork) together(t testing.TB, do func()) {
	t.Helper()
	c.mu.Lock()
	c.held = new(bytes.Buffer)
	c.mu.Unlock()
	do()
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := io.Copy(c.Conn, c.held)
	c.held = nil
	if err != nil {
		t.Fatal(err)
	}
}

// connectCorked is connect with a cork.
func connectCorked(t testing.TB, address string) (client, *cork) {
	t.Helper()
	path, _, _ := strings.Cut(strings.TrimPrefix(address, "unix:path="), ",")
	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := &cork{Conn: sock}
	conn, err := dbus.NewConn(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Auth(nil); err != nil {
		t.Fatal(err)
	}
	if err := conn.Hello(); err != nil {
		t.Fatal(err)
	}
	return client{conn}, c
}

// response is the next message that the machine hears, commands passed over: the
// sequence number, and completion code with data.
func (m *machine) response() (seq byte, data []byte) {
	m.t.Helper()
	message, err := nextAnswer(m.conn)
	if err != nil {
		m.t.Fatalf("heard % X, %v", message, err)
	}
	return message[0], message[3 : len(message)-1] // between header and checksum
}

// answersFrom hears the answers to n requests, which must be good: the order of the
// requests that they answer, the first of which has a sequence number.
func (m *machine) answersFrom(first byte, n int) (order []int) {
	m.t.Helper()
	for range n {
		seq, data := m.response()
		if data[0] != 0 {
			m.t.Fatalf("a request of the machine was answered %02Xh", data[0])
		}
		order = append(order, int(seq-first))
	}
	return order
}

// fetch takes the next message out of the receive queue, when there is one.
func (m *machine) fetch() (message []byte) {
	m.t.Helper()
	const empty = 0x80
	eventually(m.t, "a message in the receive queue", func() bool {
		m.sends(6, getMessage)
		_, message = m.response()
		return message[0] != empty
	})
	if message[0] != 0 {
		m.t.Fatalf("Get Message: % X", message)
	}
	return message
}

// awake sets the deadline of a connection again.
func awake(t testing.TB, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		t.Fatal(err)
	}
}
