package i2c

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// MaxBatch is the largest number of frames that one ReadFrames delivers: the length of the
	// deepest kernel queue (256 in drivers/char/ipmi/ipmb_dev_int.c).
	MaxBatch = 256
	// batchRoom is kept free for one read: no driver delivers more.
	batchRoom = 1024
	// batchSlab holds a full queue of the longest frames, 258 bytes, so that a LIFO driver's queue
	// is read in one go.
	batchSlab = MaxBatch*258 + batchRoom
)

// Batch holds the frames of one ReadFrames, in one piece of memory that is used again and again.
// The zero value is ready.
type Batch struct {
	slab   []byte
	used   int
	frames [][]byte
}

// Frames returns the frames in order of arrival, valid until the next Reset.
func (b *Batch) Frames() [][]byte { return b.frames }

// Reset empties the batch.
func (b *Batch) Reset() {
	b.used = 0
	b.frames = b.frames[:0]
}

// Room returns the memory for the next frame, nil when the batch is full.
func (b *Batch) Room() []byte {
	if b.slab == nil {
		b.slab = make([]byte, batchSlab)
		b.frames = make([][]byte, 0, MaxBatch)
	}
	if len(b.frames) == MaxBatch || len(b.slab)-b.used < batchRoom {
		return nil
	}
	return b.slab[b.used : b.used+batchRoom]
}

// Add makes a frame of the bytes from skip to n of the last Room.
func (b *Batch) Add(skip, n int) {
	b.frames = append(b.frames, b.slab[b.used+skip:b.used+n:b.used+n])
	b.used += n
}

// Reverse reverses the order, for drivers that deliver the newest frame first.
func (b *Batch) Reverse() { slices.Reverse(b.frames) }

// counter is one of a transport's counters.
type counter int

const (
	droppedPackets counter = 0 // packets that are no frames
	fullQueues     counter = 1 // reads of a queue that was full, of device
	droppedEmpty   counter = 1 // empty packets, of seqpacket
)

// errDropped: a packet that was read is no frame. It was counted.
var errDropped = errors.New("packet dropped")

// drain reads the packets that a non-blocking descriptor has ready, one for each system call, into
// a batch.
type drain struct {
	// read reads a packet. EAGAIN means that no packet is left, errDropped that one was lost.
	read func(fd int, b []byte) (int, error)
	// frame returns at which byte of a packet its frame begins. It is called for an empty read,
	// too. Its error is errDropped or ends the drain.
	frame func(fd int, packet []byte) (skip int, err error)
	// onReady is readReady as a value, made once.
	onReady func(fd uintptr) (done bool)

	batch  *Batch
	err    error
	waited bool // for the first packet of the batch
}

func newDrain(read func(int, []byte) (int, error), frame func(int, []byte) (int, error)) *drain {
	d := &drain{read: read, frame: frame}
	d.onReady = d.readReady
	return d
}

// fill waits until there is a frame, and reads all others that are ready. wait calls a function
// with the descriptor until the function returns true, as the Read of a syscall.RawConn does.
//
// If an error comes after a frame, fill leaves it to the next call, which gets it again: the
// system repeats the end of a file.
func (d *drain) fill(b *Batch, wait func(ready func(fd uintptr) (done bool)) error) error {
	b.Reset()
	d.batch, d.err, d.waited = b, nil, false
	for len(b.Frames()) == 0 {
		if err := wait(d.onReady); err != nil {
			return err
		}
		if d.err != nil && len(b.Frames()) == 0 {
			return d.err
		}
	}
	return nil
}

// readReady reads until nothing is left or the batch is full. A frame that was waited for is
// usually alone: readReady leaves the look for others to the next call, which saves a system call
// for each frame. It makes at most MaxBatch reads, so that a flood of packets that are dropped
// cannot delay Close.
func (d *drain) readReady(fd uintptr) (done bool) {
	for range MaxBatch {
		room := d.batch.Room()
		if room == nil {
			return true
		}
		n, err := d.read(int(fd), room)
		switch err {
		case nil:
		case unix.EINTR, errDropped:
			continue
		case unix.EAGAIN:
			d.waited = len(d.batch.Frames()) == 0
			return !d.waited
		default:
			d.err = err
			return true
		}
		skip, err := d.frame(int(fd), room[:n])
		switch err {
		case nil:
			d.batch.Add(skip, n)
			if d.waited {
				return true
			}
		case errDropped:
		default:
			d.err = err
			return true
		}
	}
	return true
}
