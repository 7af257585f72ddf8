package systemd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// errForeign: an answer is not that to the request.
var errForeign = errors.New("another request's answer")

// tally counts how requests of a kind have ended, those that have failed by why.
type tally struct {
	answered, foreign, failed atomic.Uint32

	mu   sync.Mutex
	whys map[string]int
}

func (c *tally) count(err error) {
	switch {
	case err == nil:
		c.answered.Add(1)
		return
	case errors.Is(err, errForeign):
		c.foreign.Add(1)
	case strings.HasPrefix(err.Error(), notActivated):
		// It has not reached the service, and is in the text only.
	default:
		c.failed.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whys == nil {
		c.whys = make(map[string]int)
	}
	c.whys[err.Error()]++
}

// String implements fmt.Stringer.
func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d answered, %d with another's answer, %d failed: %v", c.answered.Load(), c.foreign.Load(), c.failed.Load(), c.whys)
}

// notActivated is dbus-broker's error for a call that comes when the service has died and
// systemd does not know yet.
const notActivated = "Could not activate remote peer"

// load is clients that ask until they are told to end.
type load struct {
	t       testing.TB
	parts   []*loadPart
	tags    atomic.Uint32
	ending  chan struct{}
	clients sync.WaitGroup
	leave   []func()
}

// loadPart is the clients of a kind.
type loadPart struct {
	name    string
	clients uint32
	tally   tally
}

// load is all sorts of clients.
func (l *lab) load() *load {
	l.t.Helper()
	a := &load{t: l.t, ending: make(chan struct{})}
	var asks []func(tag []byte) error
	for range 4 {
		conn := l.dial("sender")
		a.leave = append(a.leave, func() { conn.Close() })
		asks = append(asks, func(tag []byte) error { return call(conn.Object(name, bus0), tag) })
	}
	a.add("D-Bus callers", asks...)
	asks = nil
	for range 4 {
		client := l.client()
		a.leave = append(a.leave, client.Close)
		asks = append(asks, func(tag []byte) error { return exchange(l.t.Context(), client, tag...) })
	}
	a.add("frame clients", asks...)
	m := &machineThatComesAgain{path: l.path(vmPath)}
	a.leave = append(a.leave, m.leave)
	a.add("machine", m.ask)
	l.t.Cleanup(a.end)
	return a
}

// add has clients ask, each again and again, with a tag that no other request has.
func (a *load) add(name string, asks ...func(tag []byte) error) {
	p := &loadPart{name: name, clients: uint32(len(asks))}
	a.parts = append(a.parts, p)
	for _, ask := range asks {
		a.clients.Go(func() {
			for !a.isEnding() {
				p.tally.count(ask(binary.BigEndian.AppendUint32(nil, a.tags.Add(1))))
			}
		})
	}
}

func (a *load) isEnding() bool {
	select {
	case <-a.ending:
		return true
	default:
		return false
	}
}

// goesOn waits until requests of each kind are answered.
func (a *load) goesOn() {
	a.t.Helper()
	for _, p := range a.parts {
		enough := p.tally.answered.Load() + 3*p.clients
		eventually(a.t, p.name+" are answered", func() bool { return p.tally.answered.Load() > enough })
	}
}

// end waits until the last requests have ended, and has the clients leave.
func (a *load) end() {
	if a.isEnding() {
		return
	}
	close(a.ending)
	a.clients.Wait()
	for _, leave := range a.leave {
		leave()
	}
}

// machineThatComesAgain is a machine that connects whenever it is not connected.
type machineThatComesAgain struct {
	path   string
	conn   net.Conn
	reader *bufio.Reader
	number byte
}

// ask asks for the device ID.
func (m *machineThatComesAgain) ask([]byte) error {
	if m.conn == nil {
		conn, err := net.Dial("unix", m.path)
		if err != nil {
			return err
		}
		m.conn, m.reader = conn, bufio.NewReader(conn)
		if _, err := conn.Write([]byte{0xFF, 0x01, 0xA1, 0x08, 0x3F, 0xA1}); err != nil {
			return m.lost(err)
		}
	}
	// A number, and a checksum, that need no escape.
	m.number = (m.number + 1) % 0x30
	request := []byte{m.number, 0x18, 0x01, -(m.number + 0x18 + 0x01), 0xA0}
	if _, err := m.conn.Write(request); err != nil {
		return m.lost(err)
	}
	answer, err := m.hear()
	switch {
	case err != nil:
		return m.lost(err)
	case !bytes.HasPrefix(answer, []byte{m.number, 0x1C, 0x01, 0x00}):
		return errForeign
	}
	return nil
}

// hear is the next message that is none about the connection: those end with A1h.
func (m *machineThatComesAgain) hear() ([]byte, error) {
	if err := m.conn.SetReadDeadline(time.Now().Add(timeLimit)); err != nil {
		return nil, err
	}
	for {
		var message []byte
		for len(message) == 0 || message[len(message)-1] != 0xA0 && message[len(message)-1] != 0xA1 {
			b, err := m.reader.ReadByte()
			if err != nil {
				return nil, err
			}
			message = append(message, b)
		}
		if message[len(message)-1] == 0xA0 {
			return message, nil
		}
	}
}

func (m *machineThatComesAgain) lost(err error) error {
	m.leave()
	return err
}

func (m *machineThatComesAgain) leave() {
	if m.conn != nil {
		m.conn.Close()
		m.conn = nil
	}
}

func TestKilledUnderLoad(t *testing.T) {
	for bus, how := range buses {
		t.Run(bus, func(t *testing.T) {
			const kills = 3
			l := startBoard(t, how)
			l.run("systemctl", "start", frameSocket, vmSocket, service)
			l.send()
			descriptors := l.descriptors()
			load := l.load()
			load.goesOn()
			for i := range kills {
				took(t, "from the kill until all are answered again", func() {
					l.run("systemctl", "kill", "-s", "KILL", service)
					l.becomes(service, "NRestarts", fmt.Sprint(i+1))
					load.goesOn()
				})
			}
			load.end() // Every request has ended.
			for _, p := range load.parts {
				t.Logf("%d kills, %d of %s: %v", kills, p.clients, p.name, &p.tally)
				if p.tally.foreign.Load() > 0 {
					t.Errorf("%s: answers to other requests", p.name)
				}
				// Calls that are in progress when the service dies fail.
				if p.tally.failed.Load() > kills*p.clients {
					t.Errorf("%s: more have failed than were in progress", p.name)
				}
			}
			l.serves(fmt.Sprint(kills))
			eventually(t, "as many descriptors as before", func() bool { return l.descriptors() == descriptors })
			l.becomes(service, "StatusText", allUp)
		})
	}
}
