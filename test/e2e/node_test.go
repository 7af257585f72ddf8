package e2e

import (
	"path/filepath"
	"sync"
	"testing"

	"ipmbd/i2c"
	"ipmbd/i2c/sim"
)

// maxInbox is how many frames may arrive at a node without a test that asks
// for them; more are a fault of the test.
const maxInbox = 1 << 16

// node is the far end of one bus, a socket to which the daemon connects: the
// responders at some addresses, and the frames that a test sends and receives. It
// serves one connection at a time and any number in turn.
type node struct {
	path  string
	inbox chan []byte // frames that no responder took

	gate chan struct{} // holds a token, but while the node is not to read

	hangsUp bool // as soon as a daemon is connected

	mu         sync.Mutex
	responders map[byte]responder
	faults     *sim.Faults
	listener   *sim.Listener
	link       i2c.Transport // nil while no daemon is connected
	raw        i2c.Transport // the same without faults
	connected  int           // times that a daemon was connected

	writer sync.Mutex // there is one at a time
}

// responder gets each valid request to its address and answers with one frame
// or any other number, then or later, from any goroutine.
type responder func(asked packet, send func(packet))

// newNode makes a node that does not listen yet. name is the last part of its
// path.
func newNode(t testing.TB, name string) *node {
	t.Helper()
	n := &node{
		path:       filepath.Join(socketDir(t), name),
		inbox:      make(chan []byte, maxInbox),
		gate:       make(chan struct{}, 1),
		responders: make(map[byte]responder),
	}
	n.resume()
	t.Cleanup(n.stop)
	return n
}

// listen makes a node that waits to be connected to.
func listen(t testing.TB, name string) *node {
	t.Helper()
	n := newNode(t, name)
	n.start(t)
	return n
}

// start begins to listen, for the first time or again after stop.
func (n *node) start(t testing.TB) {
	t.Helper()
	listener, err := sim.Listen(n.path)
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.listener = listener
	n.mu.Unlock()
	go n.accept(listener)
}

func (n *node) accept(listener *sim.Listener) {
	for {
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		raw = &oneWriter{Transport: raw}
		n.mu.Lock()
		link := raw
		if n.faults != nil {
			link = sim.Inject(raw, *n.faults)
		}
		n.link, n.raw = link, raw
		n.connected++
		n.mu.Unlock()
		if !n.hangsUp {
			n.serve(raw)
		}
		n.mu.Lock()
		if n.link == link || n.link == raw {
			n.link = nil
		}
		n.mu.Unlock()
		link.Close()
	}
}

// oneWriter is a transport to which a node and late frames of its faults write.
type oneWriter struct {
	i2c.Transport
	mu sync.Mutex
}

func (w *oneWriter) WriteFrame(frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Transport.WriteFrame(frame)
}

// serve reads until the connection ends.
func (n *node) serve(raw i2c.Transport) {
	var batch i2c.Batch
	for {
		n.pause()
		n.resume()
		if raw.ReadFrames(&batch) != nil {
			return
		}
		for _, b := range batch.Frames() {
			n.take(append([]byte(nil), b...))
		}
	}
}

func (n *node) take(b []byte) {
	p, ok := unpack(b)
	n.mu.Lock()
	respond := n.responders[p.to]
	n.mu.Unlock()
	if !ok || p.isResponse() || respond == nil {
		n.inbox <- b
		return
	}
	respond(p, func(answer packet) { n.write(answer.bytes()) })
}

// pause makes the node read no more than the frame that it waits for.
func (n *node) pause() { <-n.gate }

// resume makes it read again.
func (n *node) resume() { n.gate <- struct{}{} }

// respond makes f the responder at an address.
func (n *node) respond(address byte, f responder) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.responders[address] = f
}

// send puts bytes on the bus, when the daemon is connected.
func (n *node) send(t testing.TB, b []byte) {
	t.Helper()
	eventually(t, "a connection to "+filepath.Base(n.path), func() bool { return n.write(b) })
}

// write is send, but without a connection the frame is lost.
func (n *node) write(b []byte) bool {
	n.mu.Lock()
	link := n.link
	n.mu.Unlock()
	if link == nil {
		return false
	}
	n.writer.Lock()
	defer n.writer.Unlock()
	return link.WriteFrame(b) == nil
}

// next is the next frame that no responder took.
func (n *node) next(t testing.TB) []byte {
	t.Helper()
	return receive(t, "a frame on the bus "+filepath.Base(n.path), n.inbox)
}

// ask sends a request and returns the next frame, which is the answer to it or
// fails the test.
func (n *node) ask(t testing.TB, request packet) packet {
	t.Helper()
	n.send(t, request.bytes())
	return n.answerTo(t, request)
}

// answerTo is the next frame, which is the answer to a request or fails the
// test.
func (n *node) answerTo(t testing.TB, request packet) packet {
	t.Helper()
	got := mustUnpack(t, n.next(t))
	want := request.answer(0)
	want.data = got.data
	if string(want.bytes()) != string(got.bytes()) || len(got.data) == 0 {
		t.Fatalf("asked % X, got % X", request.bytes(), got.bytes())
	}
	return got
}

// askAtDeadline asks for a response that the daemon gives at its deadline, and returns how often it
// asked. A daemon that is late by a second drops the response and counts it; then the node asks
// again, as a requester does.
func (n *node) askAtDeadline(t testing.TB, c client, bus string, request packet) (got packet, times uint64) {
	t.Helper()
	lost := func() uint64 { return c.statistics(t, bus)["answers-lost"] }
	for before := lost(); len(n.inbox) == 0; {
		n.send(t, request.bytes())
		times++
		eventually(t, "a response, or its loss", func() bool { return len(n.inbox) > 0 || lost() == before+times })
	}
	return n.answerTo(t, request), times
}

// heal ends the faults.
func (n *node) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link = n.raw
}

// hangUp closes the connection; the node goes on listening.
func (n *node) hangUp() {
	n.mu.Lock()
	link := n.link
	n.link = nil
	n.mu.Unlock()
	if link != nil {
		link.Close()
	}
}

// stop closes the connection and removes the socket.
func (n *node) stop() {
	n.mu.Lock()
	listener := n.listener
	n.listener = nil
	n.mu.Unlock()
	if listener != nil {
		listener.Close()
	}
	n.hangUp()
}

// connections is how often the daemon has connected.
func (n *node) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.connected
}

// Responders that many tests have.

// deviceID answers every request as Get Device ID.
func deviceID(asked packet, send func(packet)) {
	send(asked.answer(0, 0x50, 0x01, 0x04, 0x00, 0x02, 0x21, 0x57, 0x01, 0x00, 0x0B, 0x0B))
}

// echo answers with the data of the request.
func echo(asked packet, send func(packet)) { send(asked.answer(0, asked.data...)) }

// silent takes requests and does not answer.
func silent(packet, func(packet)) {}

// recorder hands on each request that comes to it, and lets next answer.
func recorder(next responder) (responder, <-chan packet) {
	asked := make(chan packet, maxInbox)
	return func(p packet, send func(packet)) {
		asked <- p
		next(p, send)
	}, asked
}
