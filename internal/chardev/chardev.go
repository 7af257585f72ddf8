package chardev

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotDevice: the path does not name a character device.
var ErrNotDevice = errors.New("not a character device")

// lookInterval is how often a waiting Read looks whether the node is there:
// seldom enough to cost nothing, often enough for a retry with back-off.
const lookInterval = 2 * time.Second

// Device is an open character device.
type Device struct {
	file   *os.File
	raw    syscall.RawConn
	gone   func() bool
	look   time.Duration
	closed atomic.Bool
}

// Open opens the device at path for reading and writing. The errors are the
// system's, ErrNotDevice, and os.ErrNoDeadline for a device without poll.
func Open(path string) (*Device, error) {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	opened, err := file.Stat()
	if err == nil && opened.Mode()&os.ModeCharDevice == 0 {
		err = ErrNotDevice
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return newDevice(file, lookInterval, func() bool {
		present, err := os.Stat(path)
		return err != nil || !os.SameFile(opened, present)
	})
}

// New makes a device of a non-blocking file that is already open, such as one
// end of a socket pair in a device's place. There is no node to look at. The
// file belongs to the device, after an error too.
func New(file *os.File) (*Device, error) {
	return newDevice(file, lookInterval, func() bool { return false })
}

func newDevice(file *os.File, look time.Duration, gone func() bool) (*Device, error) {
	d := &Device{file: file, look: look, gone: gone}
	err := d.lookLater()
	if err == nil {
		d.raw, err = file.SyscallConn()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return d, nil
}

// Read calls f with the descriptor, and again whenever there may be something
// to read, until f returns true. f must have met EAGAIN when it returns false.
// It returns os.ErrClosed after Close and io.EOF when the node has gone.
func (d *Device) Read(f func(fd uintptr) (done bool)) error {
	for {
		err := d.raw.Read(f)
		switch {
		case err == nil:
			return nil
		case d.closed.Load():
			return os.ErrClosed
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case d.gone():
			return io.EOF
		}
		if err := d.lookLater(); err != nil {
			return err
		}
	}
}

// lookLater makes Read come back to look at the node.
func (d *Device) lookLater() error {
	return d.file.SetReadDeadline(time.Now().Add(d.look))
}

// Control calls f once with the descriptor, for one system call that the
// poller has no part in. It returns os.ErrClosed, without a call, after Close.
func (d *Device) Control(f func(fd uintptr)) error {
	if d.raw.Control(f) != nil {
		return os.ErrClosed
	}
	return nil
}

// Close closes the device. A second Close does nothing.
func (d *Device) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	return d.file.Close()
}
