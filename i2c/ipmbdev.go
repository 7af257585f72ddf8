package i2c

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// ipmbDevMaxFrame is the longest frame the driver sends: its limit is 240
// bytes with the length byte (MAX_MSG_LEN in drivers/char/ipmi/ipmb_dev_int.c).
const ipmbDevMaxFrame = 239

// ipmbDev is the character device of Linux's ipmb-dev driver,
// drivers/char/ipmi/ipmb_dev_int.c. Both directions carry one frame for each
// system call, behind a byte that gives its length.
//
// Its quirks:
//   - Its queue is a stack: frames that wait come out newest first. A drained
//     batch is turned round, which puts all right but what arrives while it is
//     being drained.
//   - Its write returns what the adapter said, EAGAIN for lost arbitration
//     among it, and blocks for the whole transfer in spite of O_NONBLOCK.
//   - Without the device property i2c-protocol it inserts a byte count into
//     what it sends. Writes succeed, and only peers that expect the byte
//     understand.
type ipmbDev struct {
	path    string
	limits  Limits
	device  *chardev.Device
	drain   *drain
	write   func(fd int, b []byte) (int, error)
	send    func(fd uintptr)
	packet  []byte // length byte and frame of the write that is under way
	written int
	err     error

	badLength atomic.Uint64
}

// OpenIPMBDev opens the device of Linux's ipmb-dev driver, such as
// /dev/ipmb-4. The errors are OpErrors that unwrap to the system's, or to
// chardev.ErrNotDevice.
func OpenIPMBDev(path string) (Transport, error) {
	device, err := chardev.Open(path)
	if err != nil {
		return nil, &OpError{Op: "open", Device: path, Err: cause(err)}
	}
	return newIPMBDev(path, device, hasI2CProtocol("/sys", path)), nil
}

func newIPMBDev(path string, device *chardev.Device, generalCall bool) *ipmbDev {
	d := &ipmbDev{
		path:   path,
		limits: Limits{MaxFrame: ipmbDevMaxFrame, GeneralCall: generalCall},
		device: device,
		write:  unix.Write,
		packet: make([]byte, 0, 1+ipmbDevMaxFrame),
	}
	d.drain = newDrain(unix.Read, d.frame)
	d.send = d.sendPacket
	return d
}

// hasI2CProtocol reports whether the device at path sends what it is given as
// it is, so that address 00h is a general call on the wire. The descriptor
// does not tell; the device tree does, where there is one.
func hasI2CProtocol(sysfs, path string) bool {
	node := filepath.Join(sysfs, "class/misc", filepath.Base(path), "device/of_node/i2c-protocol")
	_, err := os.Stat(node)
	return err == nil
}

// ReadFrames implements Transport. The end of the device is an empty read, or
// that its node has gone.
func (d *ipmbDev) ReadFrames(b *Batch) error {
	err := d.drain.fill(b, d.device.Read)
	switch {
	case err == nil:
		b.Reverse()
		return nil
	case err == io.EOF:
		return io.EOF
	case errors.Is(err, os.ErrClosed):
		return ErrClosed
	}
	return &OpError{Op: "read", Device: d.path, Err: err}
}

// frame drops a packet whose length byte is not its length. The driver's own
// are always right, whatever the bus carried, so a wrong one means that these
// are not the driver's bytes or not all of them: another driver's framing
// behind the same name, for one. To guess at a frame in them could only invent
// one.
func (d *ipmbDev) frame(_ int, packet []byte) (int, error) {
	switch {
	case len(packet) == 0:
		return 0, io.EOF
	case len(packet) == 1, int(packet[0]) != len(packet)-1:
		d.badLength.Add(1)
		return 0, errDropped
	}
	return 1, nil
}

// WriteFrame implements Transport.
func (d *ipmbDev) WriteFrame(frame []byte) error {
	if err := checkLength(frame, ipmbDevMaxFrame); err != nil {
		return err
	}
	d.packet = append(append(d.packet[:0], byte(len(frame))), frame...)
	if err := d.device.Control(d.send); err != nil {
		return ErrClosed
	}
	if d.err == nil && d.written < len(d.packet) {
		d.err = io.ErrShortWrite
	}
	if d.err != nil {
		return &OpError{Op: "write", Device: d.path, Kind: transferError(d.err), Err: d.err}
	}
	return nil
}

func (d *ipmbDev) sendPacket(fd uintptr) { d.written, d.err = d.write(int(fd), d.packet) }

// transferError is what an error of the adapter's says of the bus. The errnos
// are those of Documentation/i2c/fault-codes.rst and of the adapters' drivers.
func transferError(err error) error {
	switch err {
	case unix.EAGAIN:
		return ErrArbitrationLost
	case unix.ENXIO, unix.EREMOTEIO:
		return ErrNotAcknowledged
	}
	return ErrStuck
}

// Limits implements Transport.
func (d *ipmbDev) Limits() Limits { return d.limits }

// Counters implements Counter.
func (d *ipmbDev) Counters() map[string]uint64 {
	return map[string]uint64{"dropped-length-byte": d.badLength.Load()}
}

// Close implements Transport.
func (d *ipmbDev) Close() error { return d.device.Close() }
