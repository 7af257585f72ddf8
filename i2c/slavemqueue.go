package i2c

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

const (
	// mqueueAttribute is the last part of the path of the driver's attribute.
	mqueueAttribute = "slave-mqueue"
	// mqueueMaxFrame is the longest frame there is room for in a Batch. The
	// kernel takes 8192 bytes (i2cdev_ioctl_rdwr in drivers/i2c/i2c-dev.c); a
	// peer's frame is what the driver was built for, 120 as a rule.
	mqueueMaxFrame = batchRoom
)

// slaveMqueue is the driver i2c-slave-mqueue of OpenBMC's kernels, which
// receives, and the adapter's i2c-dev, which sends. A message of the driver's
// is a frame, without a length.
//
// Its quirks:
//   - Each read of its attribute takes one message, whole, and only from offset
//     0. With none left it reads as empty.
//   - What it has to read, it tells as an urgent condition.
//   - Its queue is in order, 31 deep as a rule; the oldest goes first when it is
//     full. It refuses on the bus what is too long for it.
type slaveMqueue struct {
	path        string // of the attribute
	attribute   *chardev.Device
	adapterPath string
	adapter     *os.File
	closing     sync.Once
	// tellsAddress: the adapter returns ENXIO for a NACK of the address byte alone.
	tellsAddress bool

	drain *drain
	pread func(fd int, b []byte, offset int64) (int, error)
	write func(fd int, addr7 uint8, b []byte) error
	send  func(fd int) error // sendFrame as a value, made once
	frame []byte             // of the write that is under way

	oversized atomic.Uint64
}

// OpenSlaveMqueue opens the attribute of the i2c-slave-mqueue driver, such as
// /sys/bus/i2c/devices/4-1010/slave-mqueue, and /dev/i2c-4 to send through.
// Binding.Node makes the path of a bus and an address. The errors are OpErrors
// that unwrap to the system's or to chardev.ErrNotAttribute.
func OpenSlaveMqueue(path string) (Transport, error) { return thisSystem().openSlaveMqueue(path) }

func (s system) openSlaveMqueue(path string) (Transport, error) {
	client, err := parseClient(filepath.Base(filepath.Dir(path)))
	if err != nil {
		return nil, &OpError{Op: "open", Device: path, Err: err}
	}
	adapterPath := filepath.Join(s.root, fmt.Sprintf("/dev/i2c-%d", client.Bus))
	adapter, err := os.OpenFile(adapterPath, os.O_RDWR, 0)
	if err != nil {
		return nil, &OpError{Op: "open", Device: adapterPath, Err: cause(err)}
	}
	attribute, err := chardev.OpenAttribute(path)
	if err != nil {
		adapter.Close()
		return nil, &OpError{Op: "open", Device: path, Err: err}
	}
	m := newSlaveMqueue(path, attribute, adapterPath, adapter)
	m.tellsAddress = s.tellsAddressNACKOf(client.Bus)
	return m, nil
}

func newSlaveMqueue(path string, attribute *chardev.Device, adapterPath string, adapter *os.File) *slaveMqueue {
	m := &slaveMqueue{
		path:        path,
		attribute:   attribute,
		adapterPath: adapterPath,
		adapter:     adapter,
		pread:       unix.Pread,
		write:       writeI2C,
	}
	m.drain = newDrain(m.take, func(int, []byte) (int, error) { return 0, nil })
	m.send = m.sendFrame
	return m
}

// ReadFrames implements Transport. The end of the device is that its driver has
// let go of it.
func (m *slaveMqueue) ReadFrames(b *Batch) error {
	if err := m.drain.fill(b, m.attribute.Read); err != nil {
		return readError(m.path, err)
	}
	return nil
}

// take reads one message. One that is too long for b is lost.
func (m *slaveMqueue) take(fd int, b []byte) (int, error) {
	n, err := m.pread(fd, b, 0)
	switch {
	case err == nil && n == 0:
		return 0, unix.EAGAIN
	case err == unix.EOVERFLOW:
		m.oversized.Add(1)
		return 0, errDropped
	case err == unix.ENODEV:
		return 0, io.EOF
	}
	return n, err
}

// WriteFrame implements Transport.
func (m *slaveMqueue) WriteFrame(frame []byte) error {
	if err := m.Limits().Check(frame); err != nil {
		return err
	}
	m.frame = frame
	err := m.attribute.Control(m.send)
	m.frame = nil
	return controlError("write", m.adapterPath, transferError(err, m.tellsAddress), err)
}

// sendFrame is called by Control of the attribute, which holds off Close.
func (m *slaveMqueue) sendFrame(int) error {
	return m.write(int(m.adapter.Fd()), m.frame[0]>>1, m.frame[1:])
}

// Limits implements Transport.
func (m *slaveMqueue) Limits() Limits {
	return Limits{MaxFrame: mqueueMaxFrame, GeneralCall: true}
}

// Counters implements Counter.
func (m *slaveMqueue) Counters() map[string]uint64 {
	return map[string]uint64{"dropped-oversized": m.oversized.Load()}
}

// Close implements Transport.
func (m *slaveMqueue) Close() (err error) {
	m.closing.Do(func() {
		err = m.attribute.Close()
		m.adapter.Close()
	})
	return err
}
