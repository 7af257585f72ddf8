package i2c

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
	"ipmbd/internal/counters"
)

// mqueueMaxFrame is the longest frame with room in a Batch, in bytes. The kernel accepts 8192
// (i2cdev_ioctl_rdwr in drivers/i2c/i2c-dev.c). The driver's build limits received frames, usually
// to 120 bytes.
const mqueueMaxFrame = batchRoom

// slaveMqueue is the driver i2c-slave-mqueue of OpenBMC's kernels, which receives, and the
// adapter's i2c-dev, which sends. A message of the driver is a frame, without a length.
//
// Its quirks:
//   - Each read of its attribute takes one message, whole, and only from offset 0. If no message
//     is left, the read returns 0 bytes.
//   - It reports a message to read as an urgent condition.
//   - Its queue is in order, and usually 31 messages deep. When it is full, the oldest message is
//     dropped. It refuses messages on the bus that are too long for it.
type slaveMqueue struct {
	*device
	adapter *os.File
	closing sync.Once
	pread   func(fd int, b []byte, offset int64) (int, error)
	write   func(fd int, addr7 uint8, b []byte) error
}

// OpenSlaveMqueue opens the attribute of the i2c-slave-mqueue driver, such as
// /sys/bus/i2c/devices/4-1010/slave-mqueue, and /dev/i2c-4 to send through. Binding.Node makes the
// path of a bus and an address. The errors are OpErrors that unwrap to chardev.ErrNotAttribute or
// an error of the system.
func OpenSlaveMqueue(path string) (Transport, error) { return thisSystem().openSlaveMqueue(path) }

func (s system) openSlaveMqueue(path string) (Transport, error) {
	client, err := parseClient(filepath.Base(filepath.Dir(path)))
	if err != nil {
		return nil, &OpError{Op: "open", Device: path, Err: err}
	}
	adapterPath := filepath.Join(s.root, fmt.Sprintf("/dev/i2c-%d", client.Bus))
	adapter, err := os.OpenFile(adapterPath, os.O_RDWR, 0)
	if err != nil {
		return nil, systemError("open", adapterPath, err)
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

func newSlaveMqueue(path string, attribute *chardev.Device,
	adapterPath string, adapter *os.File) *slaveMqueue {
	m := &slaveMqueue{adapter: adapter, pread: unix.Pread, write: writeI2C}
	m.device = &device{path: path, writePath: adapterPath, file: attribute}
	m.counts = counters.New[counter]([]string{droppedPackets: "dropped-oversized"})
	m.drain = newDrain(m.readMessage, func(int, []byte) (int, error) { return 0, nil })
	// Control of the attribute calls it, so that Close waits.
	m.send = func(int) error { return m.write(int(m.adapter.Fd()), m.packet[0]>>1, m.packet[1:]) }
	return m
}

// readMessage reads one message. One that is too long for b is lost.
func (m *slaveMqueue) readMessage(fd int, b []byte) (int, error) {
	n, err := m.pread(fd, b, 0)
	switch {
	case err == nil && n == 0:
		return 0, unix.EAGAIN
	case err == unix.EOVERFLOW:
		return m.dropPacket()
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
	m.packet = frame
	err := m.writePacket()
	m.packet = nil
	return err
}

// Limits implements Transport.
func (m *slaveMqueue) Limits() Limits { return Limits{MaxFrame: mqueueMaxFrame, GeneralCall: true} }

// Close implements Transport.
func (m *slaveMqueue) Close() (err error) {
	m.closing.Do(func() {
		err = m.file.Close()
		m.adapter.Close()
	})
	return err
}

// i2cRDWR is I2C_RDWR of include/uapi/linux/i2c-dev.h, a plain number on every architecture.
const i2cRDWR = 0x0707

// i2cMsg is struct i2c_msg of include/uapi/linux/i2c.h.
type i2cMsg struct {
	addr   uint16 // 7 bits
	flags  uint16
	length uint16
	buf    *byte
}

// i2cRDWRData is struct i2c_rdwr_ioctl_data of include/uapi/linux/i2c-dev.h.
type i2cRDWRData struct {
	msgs  *i2cMsg
	nmsgs uint32
}

// writeI2C writes at most 8192 bytes to the device at a 7-bit address, in one transfer of an
// adapter that is open at fd. A write has no flags.
func writeI2C(fd int, addr7 uint8, b []byte) error {
	msg := i2cMsg{addr: uint16(addr7), flags: 0, length: uint16(len(b)), buf: unsafe.SliceData(b)}
	data := i2cRDWRData{msgs: &msg, nmsgs: 1}
	done, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), i2cRDWR, uintptr(unsafe.Pointer(&data)))
	return writeResult(done, errno)
}

// writeResult is the error of I2C_RDWR, which returns how many transfers were made.
func writeResult(done uintptr, errno unix.Errno) error {
	switch {
	case errno != 0:
		return errno
	case done != 1:
		return io.ErrShortWrite
	}
	return nil
}
