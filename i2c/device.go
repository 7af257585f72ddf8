package i2c

import (
	"errors"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// device is what the character devices of ipmb-dev and ipmb-device share. Both
// directions carry one frame for each system call, in the driver's framing: a
// packet.
//
// Quirks of both drivers:
//   - The queue of received frames is a stack: frames that wait come out newest
//     first. A drained batch is turned round, which puts all right but what
//     arrives while it is being drained.
//   - When 256 frames wait, what arrives is dropped without a word.
//   - A read transfer from the bus makes the driver queue the frame before it
//     once more: the end of any transfer does.
//   - A write returns what the adapter said, EAGAIN for lost arbitration among
//     it, and blocks for the whole transfer in spite of O_NONBLOCK. Only some
//     adapters tell a NACK of the address byte from others.
type device struct {
	path string
	file *chardev.Device
	// tellsAddress: the adapter returns ENXIO for a NACK of the address byte alone.
	tellsAddress bool
	drain        *drain
	write        func(fd int, b []byte) (int, error)
	send         func(fd int) error // sendPacket as a value, made once
	packet       []byte             // of the write that is under way

	full atomic.Uint64
}

// openDevice opens the node at path.
func openDevice(path string) (*chardev.Device, error) {
	file, err := chardev.Open(path)
	if err != nil {
		return nil, &OpError{Op: "open", Device: path, Err: err}
	}
	return file, nil
}

// newDevice makes a device. frame says where in a packet its frame begins; see
// drain.
func newDevice(path string, file *chardev.Device, frame func(packet []byte) (skip int, err error)) *device {
	d := &device{
		path:  path,
		file:  file,
		write: unix.Write,
	}
	d.drain = newDrain(unix.Read, func(_ int, packet []byte) (int, error) {
		if len(packet) == 0 {
			return 0, io.EOF
		}
		return frame(packet)
	})
	d.send = d.sendPacket
	return d
}

// ReadFrames implements Transport. The end of the device is an empty read, or
// that its node has gone.
func (d *device) ReadFrames(b *Batch) error {
	err := d.drain.fill(b, d.file.Read)
	if err != nil {
		return readError(d.path, err)
	}
	if len(b.Frames()) == MaxBatch {
		d.full.Add(1)
	}
	b.Reverse()
	return nil
}

// readError is what an error of drain.fill on a chardev.Device becomes.
func readError(path string, err error) error {
	switch {
	case err == io.EOF:
		return io.EOF
	case errors.Is(err, os.ErrClosed):
		return ErrClosed
	}
	return &OpError{Op: "read", Device: path, Err: err}
}

// writePacket makes the one system call that sends d.packet.
func (d *device) writePacket() error {
	err := d.file.Control(d.send)
	return controlError("write", d.path, transferError(err, d.tellsAddress), err)
}

func (d *device) sendPacket(fd int) error { return chardev.WriteMessage(d.write, fd, d.packet) }

// controlError is what the error of chardev.Device.Control becomes; kind is that of the
// system call that Control made.
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

// transferError is what an error of the adapter's says of the bus. The errnos
// are those of Documentation/i2c/fault-codes.rst and of the adapters' drivers. An
// adapter that does not tell the address byte from others returns ENXIO for any byte;
// EREMOTEIO of every adapter may be that of any byte.
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

// Close implements Transport.
func (d *device) Close() error { return d.file.Close() }
