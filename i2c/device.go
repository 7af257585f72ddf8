package i2c

import (
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/internal/counters"
)

// device is the common part of the kernel's drivers. In both directions one system call carries
// one frame, in the driver's framing: a packet.
//
// Quirks of ipmb-dev and ipmb-device:
//   - The queue of received frames is a stack: frames that wait come out newest first. A batch is
//     reversed, which restores the order of all frames but those that arrive during the read.
//   - When 256 frames wait, the driver drops further ones and reports nothing.
//   - At the end of each transfer, also of one that reads, the driver queues a frame. After a read
//     transfer that is the frame before it once more.
//   - A write returns the adapter's error, EAGAIN for lost arbitration among them, and blocks for
//     the whole transfer in spite of O_NONBLOCK. Only some adapters distinguish a NACK of the
//     address byte from other NACKs.
type device struct {
	path      string
	writePath string // of the device that is written to
	file      *chardev.Device
	isStack   bool // the queue of received frames is a stack
	// tellsAddress: the adapter returns ENXIO for a NACK of the address byte alone.
	tellsAddress bool
	drain        *drain
	write        func(fd int, b []byte) (int, error)
	send         func(fd int) error // sends packet
	packet       []byte             // of the write in progress
	counts       counters.Set[counter]
}

// openDevice opens the node at path, unless another driver than the transport's serves it.
func (s system) openDevice(path, transport string) (*chardev.Device, error) {
	if err := s.checkDriver(path, transport); err != nil {
		return nil, err
	}
	file, err := chardev.Open(path)
	if err != nil {
		return nil, &OpError{Op: "open", Device: path, Err: err}
	}
	return file, nil
}

// newDevice makes the device of ipmb-dev or ipmb-device. droppedName is the name of the counter of
// packets that frame drops; see drain for frame.
func newDevice(path string, file *chardev.Device, droppedName string,
	frame func(packet []byte) (skip int, err error)) *device {
	d := &device{path: path, writePath: path, file: file, isStack: true, write: unix.Write}
	d.counts = counters.New[counter]([]string{droppedPackets: droppedName, fullQueues: "receive-queue-full"})
	d.drain = newDrain(unix.Read, func(_ int, packet []byte) (int, error) {
		if len(packet) == 0 {
			return 0, io.EOF
		}
		return frame(packet)
	})
	d.send = func(fd int) error { return chardev.WriteMessage(d.write, fd, d.packet) }
	return d
}

// dropPacket is the result of frame for a packet that is no frame.
func (d *device) dropPacket() (skip int, err error) {
	d.counts.Count(droppedPackets)
	return 0, errDropped
}

// ReadFrames implements Transport. It returns io.EOF when the device has ended: after an empty
// read, and when the node or its driver has gone.
func (d *device) ReadFrames(b *Batch) error {
	if err := d.drain.fill(b, d.file.Read); err != nil {
		return readError(d.path, err)
	}
	if d.isStack {
		if len(b.Frames()) == MaxBatch {
			d.counts.Count(fullQueues)
		}
		b.Reverse()
	}
	return nil
}

// readError is the error of ReadFrames for one of drain.fill.
func readError(path string, err error) error {
	switch {
	case err == io.EOF, hungUp(err):
		return io.EOF
	case errors.Is(err, os.ErrClosed), errors.Is(err, net.ErrClosed):
		return ErrClosed
	}
	return systemError("read", path, err)
}

// writePacket makes the one system call that sends d.packet.
func (d *device) writePacket() error {
	err := d.file.Control(d.send)
	return controlError("write", d.writePath, transferError(err, d.tellsAddress), err)
}

// controlError is the error of an operation for an error of chardev.Device.Control. kind is the
// Kind of an error that the system returned.
func controlError(op, path string, kind, err error) error {
	switch err {
	case nil:
		return nil
	case io.EOF:
		return &OpError{Op: op, Device: path, Kind: ErrClosed, Err: unix.ENODEV}
	case os.ErrClosed:
		return ErrClosed
	}
	return &OpError{Op: op, Device: path, Kind: kind, Err: err}
}

// transferError returns the meaning of an adapter's error. Documentation/i2c/fault-codes.rst and
// the adapters' drivers define the errnos. An adapter that does not distinguish the address byte
// returns ENXIO for any byte. EREMOTEIO may mean any byte on every adapter.
func transferError(err error, tellsAddress bool) error {
	switch err {
	case unix.EAGAIN:
		return ErrArbitrationLost
	case unix.ENXIO:
		if tellsAddress {
			return ErrAddressNotAcknowledged
		}
		return ErrNotAcknowledged
	case unix.EREMOTEIO:
		return ErrNotAcknowledged
	}
	return ErrStuck
}

// Counters implements Counter.
func (d *device) Counters() map[string]uint64 { return d.counts.Statistics() }

// Close implements Transport.
func (d *device) Close() error { return d.file.Close() }
