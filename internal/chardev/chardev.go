package chardev

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/fdtrace"
)

// Errors of Open and OpenAttribute for a path that names another type of file.
var (
	ErrNotDevice    = errors.New("not a character device")
	ErrNotAttribute = errors.New("not a regular file")
)

// lookInterval is the time between two looks at a node, where inotify does not report changes: it
// costs next to nothing and is short enough for a retry with back-off.
const lookInterval = 2 * time.Second

// unwatched is the descriptor of a watch that could not be opened.
const unwatched = -1

// Device is an open character device or attribute.
type Device struct {
	fd    int
	watch int      // inotify on the node, or unwatched
	set   *os.File // epoll on both
	raw   syscall.RawConn
	look  time.Duration

	// Of the Read that is under way.
	read   func(fd uintptr) (done bool)
	onWake func(uintptr) (done bool) // wake as a value, made once
	isGone bool
	events [256]byte

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // of Control; no call begins after closed
}

// Open opens the character device at path for reading and writing. The errors are the system's,
// ErrNotDevice, and os.ErrNoDeadline for a device without poll.
func Open(path string) (*Device, error) {
	fd, err := openFile(path, unix.O_RDWR, unix.S_IFCHR, ErrNotDevice)
	if err != nil {
		return nil, err
	}
	return newDevice(fd, watchNode(path), unix.EPOLLIN)
}

// OpenAttribute opens the attribute of sysfs at path for reading. The attribute can be read when
// its driver has notified it with sysfs_notify. It returns the errors of Open, with
// ErrNotAttribute in the place of ErrNotDevice. A read of an attribute whose device has gone fails
// with ENODEV; Control does not notice that.
func OpenAttribute(path string) (*Device, error) {
	fd, err := openFile(path, unix.O_RDONLY, unix.S_IFREG, ErrNotAttribute)
	if err != nil {
		return nil, err
	}
	return newDevice(fd, unwatched, notified)
}

// notified is how poll reports an attribute that its driver has notified (kernfs_generic_poll
// in fs/kernfs/file.c).
const notified = unix.EPOLLPRI | unix.EPOLLERR

// New makes a device of a non-blocking descriptor that is already open, such as one end of a
// socket pair in a test. The descriptor belongs to the device, also after an error.
func New(fd int) (*Device, error) { return newDevice(fd, unwatched, unix.EPOLLIN) }

// NewAttribute is New for a descriptor that stands for an attribute: it can be read when poll
// reports urgent data.
func NewAttribute(fd int) (*Device, error) { return newDevice(fd, unwatched, notified) }

// openFile opens a file that must have a type, as in st_mode.
func openFile(path string, access int, fileType uint32, wrongType error) (fd int, err error) {
	for {
		fd, err = unix.Open(path, access|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	fdtrace.Opened(fd)
	var opened unix.Stat_t
	err = unix.Fstat(fd, &opened)
	if err == nil && opened.Mode&unix.S_IFMT != fileType {
		err = wrongType
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// newDevice makes a device of its descriptors, which it closes after an error.
func newDevice(fd, watch int, events uint32) (*Device, error) {
	d := &Device{fd: fd, watch: watch, look: lookInterval}
	d.onWake = d.wake
	err := d.openSet(events)
	if err == nil {
		err = d.lookLater()
	}
	if err == nil {
		d.raw, err = d.set.SyscallConn()
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// openSet makes the epoll set. The runtime's poller can wait for it as for any descriptor.
func (d *Device) openSet(events uint32) error {
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	fdtrace.Opened(set)
	err = unix.SetNonblock(set, true)
	if err == nil {
		err = addToSet(set, d.fd, events)
	}
	if err == unix.EPERM {
		err = os.ErrNoDeadline
	}
	if err == nil && d.watch != unwatched {
		err = addToSet(set, d.watch, unix.EPOLLIN)
	}
	d.set = os.NewFile(uintptr(set), "epoll")
	return err
}

func addToSet(set, fd int, events uint32) error {
	return unix.EpollCtl(set, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// Read calls f with the descriptor, and again whenever there may be something to read, until f
// returns true. f must return false only after a system call that failed with EAGAIN, or that
// otherwise said that nothing is left. Read returns os.ErrClosed after Close and io.EOF when
// the node has gone.
func (d *Device) Read(f func(fd uintptr) (done bool)) error {
	d.read = f
	for {
		err := d.raw.Read(d.onWake)
		switch {
		case err == nil && d.isGone:
			return io.EOF
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return os.ErrClosed // A RawConn has no other error.
		}
		d.isGone = d.gone()
		if d.lookLater() != nil {
			return os.ErrClosed
		}
	}
}

// wake is called before the first wait and after each.
func (d *Device) wake(uintptr) (done bool) {
	if d.watch != unwatched && drain(d.watch, d.events[:]) {
		d.isGone = d.gone()
	}
	return d.isGone || d.read(uintptr(d.fd))
}

// gone reports whether the node that was opened has been removed. It stays gone when another
// one takes its place.
func (d *Device) gone() bool {
	var opened unix.Stat_t
	return unix.Fstat(d.fd, &opened) == nil && opened.Nlink == 0
}

// lookLater makes Read come back to look at the node.
func (d *Device) lookLater() error { return d.set.SetReadDeadline(time.Now().Add(d.look)) }

// Control calls f once with the descriptor, for one system call without the poller, and returns
// the error of f. If the device is closed or its node has gone, it does not call f: it returns
// os.ErrClosed or io.EOF.
func (d *Device) Control(f func(fd int) error) error {
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.calls.Add(1)
	}
	d.mu.Unlock()
	if closed {
		return os.ErrClosed
	}
	defer d.calls.Done()
	if d.gone() {
		return io.EOF
	}
	return f(d.fd)
}

// WriteMessage writes a whole message by one call of write. It returns the errors of write, and
// io.ErrShortWrite if the driver takes only a part.
func WriteMessage(write func(fd int, b []byte) (int, error), fd int, message []byte) error {
	n, err := write(fd, message)
	if err == nil && n < len(message) {
		err = io.ErrShortWrite
	}
	return err
}

// Close closes the device. A second Close does nothing.
func (d *Device) Close() error {
	d.mu.Lock()
	again := d.closed
	d.closed = true
	d.mu.Unlock()
	if again {
		return nil
	}
	err := d.set.Close() // waits for Read
	d.calls.Wait()
	unix.Close(d.fd)
	if d.watch != unwatched {
		unix.Close(d.watch)
	}
	return err
}
