package i2c

import (
	"fmt"
	"sync"
	"sync/atomic"
)

const (
	// memMaxFrame is that of a seqpacket bus, which mem stands in for.
	memMaxFrame = seqpacketMaxFrame
	// memQueue is how many frames wait at a node, as in the kernel's driver
	// (drivers/char/ipmi/ipmb_dev_int.c).
	memQueue = MaxBatch
)

// Bus is an I2C bus in the process, for tests and simulated responders. It
// does no I/O and starts no goroutine.
//
// A frame goes to the node at its destination address, one to 00h (the general
// call) to all but the sender, and is not acknowledged when there is none. A
// node does not hear itself.
type Bus struct {
	nodes [128]atomic.Pointer[memNode] // by addr7
}

// memNode is a node that has an address on a Bus.
type memNode struct{ receive func(frame []byte) }

// NewBus makes a bus without nodes.
func NewBus() *Bus { return new(Bus) }

// Attach makes a node at an address, to be used as a transport until Close
// takes it off the bus. It holds 256 frames that were not read yet; the newest
// is dropped when it is full, in spite of its acknowledge, as the kernel does.
// An address that is odd, 00h or taken is an error.
func (b *Bus) Attach(addr uint8) (Transport, error) {
	s := &memStation{bus: b, addr7: addr >> 1}
	s.node.receive = s.receive
	s.arrived.L = &s.mu
	if err := b.join(addr, &s.node); err != nil {
		return nil, err
	}
	return s, nil
}

// Respond makes a function the node at an address. It is called with each
// frame in the goroutine that writes it, so calls may overlap; the frame
// is valid until it returns. reply sends a frame from the node, then or at any
// time later, from any goroutine; what nobody acknowledges is lost. An address
// that is odd, 00h or taken is an error.
func (b *Bus) Respond(addr uint8, f func(frame []byte, reply func(frame []byte))) error {
	n := new(memNode)
	reply := func(frame []byte) { _ = b.send(n, frame) }
	n.receive = func(frame []byte) { f(frame, reply) }
	return b.join(addr, n)
}

func (b *Bus) join(addr uint8, n *memNode) error {
	if addr == 0 || addr&1 != 0 {
		return fmt.Errorf("address %02Xh is no node's", addr)
	}
	if !b.nodes[addr>>1].CompareAndSwap(nil, n) {
		return fmt.Errorf("address %02Xh is taken", addr)
	}
	return nil
}

// send carries a frame from one node to its destination.
func (b *Bus) send(from *memNode, frame []byte) error {
	if err := checkLength(frame, memMaxFrame); err != nil {
		return err
	}
	if frame[0] == 0 {
		return b.sendAll(from, frame)
	}
	to := b.nodes[frame[0]>>1].Load()
	if to == nil || to == from || frame[0]&1 != 0 {
		return ErrAddressNotAcknowledged
	}
	to.receive(frame)
	return nil
}

func (b *Bus) sendAll(from *memNode, frame []byte) error {
	err := ErrAddressNotAcknowledged
	for i := range b.nodes {
		if to := b.nodes[i].Load(); to != nil && to != from {
			to.receive(frame)
			err = nil
		}
	}
	return err
}

// memStation is a node with a queue. Its lock is held to copy frames, never
// while somebody waits.
type memStation struct {
	bus   *Bus
	addr7 uint8
	node  memNode

	mu       sync.Mutex
	arrived  sync.Cond
	closed   bool
	overflow uint64
	// The queue: count frames from the one at first on, in a ring.
	first, count int
	lengths      [memQueue]int
	frames       [memQueue][memMaxFrame]byte
}

// receive queues a frame.
func (s *memStation) receive(frame []byte) {
	s.mu.Lock()
	if s.count == memQueue {
		s.overflow++
		s.mu.Unlock()
		return
	}
	last := (s.first + s.count) % memQueue
	s.lengths[last] = copy(s.frames[last][:], frame)
	s.count++
	wake := s.count == 1
	s.mu.Unlock()
	if wake {
		s.arrived.Signal()
	}
}

// ReadFrames implements Transport.
func (s *memStation) ReadFrames(b *Batch) error {
	b.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.count == 0 && !s.closed {
		s.arrived.Wait()
	}
	if s.closed {
		return ErrClosed
	}
	for ; s.count > 0; s.count-- {
		room := b.Room()
		if room == nil {
			break
		}
		b.Add(0, copy(room, s.frames[s.first][:s.lengths[s.first]]))
		s.first = (s.first + 1) % memQueue
	}
	return nil
}

// WriteFrame implements Transport. A function at the other end has run when it
// returns.
func (s *memStation) WriteFrame(frame []byte) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return s.bus.send(&s.node, frame)
}

// Limits implements Transport.
func (s *memStation) Limits() Limits {
	return Limits{MaxFrame: memMaxFrame, GeneralCall: true, CopyTime: NoCopies}
}

// Counters implements Counter.
func (s *memStation) Counters() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]uint64{"dropped-queue-full": s.overflow}
}

// Close implements Transport. It frees the address.
func (s *memStation) Close() error {
	s.bus.nodes[s.addr7].CompareAndSwap(&s.node, nil)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.arrived.Broadcast()
	return nil
}
