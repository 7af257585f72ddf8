// Package sim is a simulated I2C bus for tests and demonstrations: a Bus in the process,
// Faults that an Injector puts between a writer and any transport, and a Listener, the other
// end of the transport seqpacket.
package sim

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"ipmbd/i2c"
)

const (
	// maxFrame is the longest frame that a Bus carries, in bytes. It is the limit of the transport
	// seqpacket, in whose place tests use the Bus.
	maxFrame = i2c.SeqpacketMaxFrame
	// queueLength is the number of frames that wait at a node, as in the kernel's driver
	// (drivers/char/ipmi/ipmb_dev_int.c).
	queueLength = i2c.MaxBatch
)

// Bus is an I2C bus in the process. It does no I/O and starts no goroutine.
//
// A frame goes to the node at its destination address. A frame to 00h (the general call) goes
// to all nodes but its sender. A frame that no node receives is not acknowledged. A node does
// not receive its own frames.
type Bus struct {
	nodes [128]atomic.Pointer[node] // by addr7
}

// node has an address on a Bus.
type node struct{ receive func(frame []byte) }

// NewBus makes a bus without nodes.
func NewBus() *Bus { return new(Bus) }

// Attach makes a node at an address and returns its transport. The node is on the bus until the
// transport's Close. It holds 256 frames that were not read yet. When it is full, it acknowledges
// and drops new frames, as the kernel does. An address that is odd, 00h or taken is an error.
func (b *Bus) Attach(addr uint8) (i2c.Transport, error) {
	s := &station{bus: b, addr7: addr >> 1}
	s.node.receive = s.receive
	s.arrived.L = &s.mu
	if err := b.join(addr, &s.node); err != nil {
		return nil, err
	}
	return s, nil
}

// Respond makes f the node at an address. The goroutine that writes a frame calls f with it, so
// calls may overlap. The frame is valid until f returns. reply sends a frame from the node, at
// once or later, from any goroutine; a frame that is not acknowledged is lost. An address that
// is odd, 00h or taken is an error.
func (b *Bus) Respond(addr uint8, f func(frame []byte, reply func(frame []byte))) error {
	n := new(node)
	reply := func(frame []byte) { _ = b.send(n, frame) }
	n.receive = func(frame []byte) { f(frame, reply) }
	return b.join(addr, n)
}

func (b *Bus) join(addr uint8, n *node) error {
	if addr == 0 || addr&1 != 0 {
		return fmt.Errorf("address %02Xh cannot be a node's", addr)
	}
	if !b.nodes[addr>>1].CompareAndSwap(nil, n) {
		return fmt.Errorf("address %02Xh is taken", addr)
	}
	return nil
}

// send carries a frame from one node to its destination.
func (b *Bus) send(from *node, frame []byte) error {
	if err := busLimits.Check(frame); err != nil {
		return err
	}
	if frame[0] == 0 {
		return b.sendAll(from, frame)
	}
	to := b.nodes[frame[0]>>1].Load()
	if to == nil || to == from || frame[0]&1 != 0 {
		return i2c.ErrAddressNotAcknowledged
	}
	to.receive(frame)
	return nil
}

func (b *Bus) sendAll(from *node, frame []byte) error {
	err := i2c.ErrAddressNotAcknowledged
	for i := range b.nodes {
		if to := b.nodes[i].Load(); to != nil && to != from {
			to.receive(frame)
			err = nil
		}
	}
	return err
}

// busLimits are the limits of every node.
var busLimits = i2c.Limits{MaxFrame: maxFrame, GeneralCall: true, CopyTime: i2c.NoCopies}

// station is a node with a queue. Its lock is held while a frame is copied, and not while a
// reader waits.
type station struct {
	bus   *Bus
	addr7 uint8
	node  node

	mu       sync.Mutex
	arrived  sync.Cond
	closed   bool
	overflow uint64
	// The queue: count frames from the one at first on, in a ring.
	first, count int
	lengths      [queueLength]int
	frames       [queueLength][maxFrame]byte
}

// receive queues a frame.
func (s *station) receive(frame []byte) {
	s.mu.Lock()
	if s.count == queueLength {
		s.overflow++
		s.mu.Unlock()
		return
	}
	last := (s.first + s.count) % queueLength
	s.lengths[last] = copy(s.frames[last][:], frame)
	s.count++
	wake := s.count == 1
	s.mu.Unlock()
	if wake {
		s.arrived.Signal()
	}
}

// ReadFrames implements i2c.Transport.
func (s *station) ReadFrames(b *i2c.Batch) error {
	b.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.count == 0 && !s.closed {
		s.arrived.Wait()
	}
	if s.closed {
		return i2c.ErrClosed
	}
	for ; s.count > 0; s.count-- {
		room := b.Room()
		if room == nil {
			break
		}
		b.Add(0, copy(room, s.frames[s.first][:s.lengths[s.first]]))
		s.first = (s.first + 1) % queueLength
	}
	return nil
}

// WriteFrame implements i2c.Transport. It returns after the function of Respond that it calls.
func (s *station) WriteFrame(frame []byte) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return i2c.ErrClosed
	}
	return s.bus.send(&s.node, frame)
}

// Limits implements i2c.Transport.
func (s *station) Limits() i2c.Limits { return busLimits }

// Counters implements i2c.Counter.
func (s *station) Counters() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]uint64{"dropped-queue-full": s.overflow}
}

// Close implements i2c.Transport. It frees the address.
func (s *station) Close() error {
	s.bus.nodes[s.addr7].CompareAndSwap(&s.node, nil)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.arrived.Broadcast()
	return nil
}

// Listener is the other end of i2c.OpenSeqpacket: the socket at which simulated responders wait
// for connections. It returns the errors of package net.
type Listener struct{ *net.UnixListener }

// Listen makes a SOCK_SEQPACKET socket at path, or at the abstract address that follows an @.
func Listen(path string) (*Listener, error) {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	return &Listener{l}, err
}

// Accept waits for a connection and returns its near end. Close does not close it.
func (l *Listener) Accept() (i2c.Transport, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return i2c.NewSeqpacket(l.Addr().String(), conn)
}
