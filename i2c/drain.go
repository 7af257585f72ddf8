package i2c

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errDropped: a packet that was read is no frame. It was counted.
var errDropped = errors.New("packet dropped")

// drain takes what a non-blocking descriptor has ready, one packet for each
// system call, into a batch.
type drain struct {
	// read reads a packet. EAGAIN is that none is left, errDropped that one
	// was lost.
	read func(fd int, b []byte) (int, error)
	// frame says at which byte of a packet its frame begins. It is asked about
	// an empty read, too. Its error is errDropped or ends the drain.
	frame func(fd int, packet []byte) (skip int, err error)
	// onReady is ready as a value, made once and not for each fill.
	onReady func(fd uintptr) (done bool)

	batch  *Batch
	err    error
	waited bool // for the first packet of the batch
}

func newDrain(read func(int, []byte) (int, error), frame func(int, []byte) (int, error)) *drain {
	d := &drain{read: read, frame: frame}
	d.onReady = d.ready
	return d
}

// fill waits until there is a frame, and takes what else is ready. wait calls
// a function with the descriptor until that says that it is done, as the Read
// of a syscall.RawConn does.
//
// An error that comes after a frame is left to the next call, which meets it
// again: the system repeats the end of a file.
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

// ready reads until nothing is left or the batch is full. A frame that was waited for is
// alone as a rule: to look for others is left to the next call, which saves a system call
// for each frame. It makes at most MaxBatch reads, so that a flood of packets that are
// dropped cannot hold off Close.
func (d *drain) ready(fd uintptr) (done bool) {
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
