package ipmb_test

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// node is a node at an address of the bus. It is given each frame that is
// written to the address and says how the write ends. It runs in the write:
// while it sleeps, the write blocks.
type node func(b *bus, frame []byte) error

// bus is a scripted i2c.Transport that lives in virtual time. Writes to an
// address where no node sits are not acknowledged.
type bus struct {
	t      testing.TB
	epoch  time.Time
	limits i2c.Limits
	// byteTime is how long one byte takes on the wire.
	byteTime time.Duration

	wake      chan struct{} // something to read
	closed    chan struct{}
	closeOnce sync.Once
	wire      chan struct{} // held by the write that is in progress
	writing   atomic.Bool

	mu      sync.Mutex
	nodes   map[ipmi.Address]node
	inbox   [][]byte
	failure error // of the next read
	forget  bool  // do not record the writes
	written []transmission
}

// transmission is one frame that was written to the bus.
type transmission struct {
	at    time.Duration // when the write began, since the epoch
	bytes []byte
	ended bool
	err   error
}

// oneByte is how long a byte and its acknowledge take at 100 kHz.
const oneByte = 90 * time.Microsecond

func newBus(t testing.TB, limits i2c.Limits) *bus {
	return &bus{
		t:      t,
		epoch:  time.Now(),
		limits: limits,
		wake:   make(chan struct{}, 1),
		closed: make(chan struct{}),
		wire:   make(chan struct{}, 1),
		nodes:  make(map[ipmi.Address]node),
	}
}

func (b *bus) Limits() i2c.Limits { return b.limits }

func (b *bus) Close() error {
	b.closeOnce.Do(func() { close(b.closed) })
	b.wire <- struct{}{}
	<-b.wire
	return nil
}

func (b *bus) isClosed() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}

func (b *bus) ReadFrames(batch *i2c.Batch) error {
	for {
		if b.isClosed() {
			return i2c.ErrClosed
		}
		if n, err := b.drain(batch); n > 0 || err != nil {
			return err
		}
		select {
		case <-b.wake:
		case <-b.closed:
		}
	}
}

func (b *bus) drain(batch *i2c.Batch) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure != nil {
		return 0, b.failure
	}
	batch.Reset()
	for len(b.inbox) > 0 {
		room := batch.Room()
		if room == nil {
			break
		}
		batch.Add(0, copy(room, b.inbox[0]))
		b.inbox = b.inbox[1:]
	}
	return len(batch.Frames()), nil
}

func (b *bus) WriteFrame(frame []byte) error {
	if !b.writing.CompareAndSwap(false, true) {
		b.t.Error("two writes at a time")
	}
	defer b.writing.Store(false)
	if b.isClosed() {
		return i2c.ErrClosed
	}
	b.wire <- struct{}{}
	defer func() { <-b.wire }()

	frame = bytes.Clone(frame)
	if len(frame) == 0 || len(frame) > b.limits.MaxFrame {
		b.t.Errorf("a frame of %d bytes was written, the limit is %d", len(frame), b.limits.MaxFrame)
		return i2c.ErrTooLong
	}
	done := b.record(frame)
	if b.byteTime > 0 {
		time.Sleep(time.Duration(len(frame)) * b.byteTime)
	}
	err := b.nodeAt(ipmi.Address(frame[0]))(b, frame)
	done(err)
	return err
}

func (b *bus) record(frame []byte) (done func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forget {
		return func(error) {}
	}
	i := len(b.written)
	b.written = append(b.written, transmission{at: time.Since(b.epoch), bytes: frame})
	return func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.written[i].ended, b.written[i].err = true, err
	}
}

func (b *bus) nodeAt(a ipmi.Address) node {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.nodes[a]; n != nil {
		return n
	}
	return nack
}

// place puts a node at an address, in place of the one there.
func (b *bus) place(a ipmi.Address, n node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes[a] = n
}

// forgetWrites stops the record, for stories of many frames.
func (b *bus) forgetWrites() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget, b.written = true, nil
}

// deliver puts frames into the engine's receive queue, together.
func (b *bus) deliver(frames ...[]byte) {
	b.mu.Lock()
	for _, frame := range frames {
		b.inbox = append(b.inbox, bytes.Clone(frame))
	}
	b.mu.Unlock()
	b.alert()
}

// deliverAfter delivers when d has passed; for d = 0, before it returns.
func (b *bus) deliverAfter(d time.Duration, frames ...[]byte) {
	if d == 0 {
		b.deliver(frames...)
		return
	}
	time.AfterFunc(d, func() { b.deliver(frames...) })
}

// fail ends reading with err.
func (b *bus) fail(err error) {
	b.mu.Lock()
	b.failure = err
	b.mu.Unlock()
	b.alert()
}

func (b *bus) alert() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// writes are the transmissions to an address so far.
func (b *bus) writes(to ipmi.Address) []transmission {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []transmission
	for _, w := range b.written {
		if w.bytes[0] == byte(to) {
			found = append(found, w)
		}
	}
	return found
}

// allWrites are all transmissions so far.
func (b *bus) allWrites() []transmission {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]transmission(nil), b.written...)
}

// frame decodes a written frame.
func (w transmission) frame(t testing.TB) ipmb.Frame {
	t.Helper()
	f, err := ipmb.Decode(w.bytes)
	if err != nil {
		t.Fatalf("the engine wrote % X: %v", w.bytes, err)
	}
	return f
}
