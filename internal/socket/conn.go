package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"ipmbd/internal/fdtrace"
)

// Conn is a connected socket whose reader wakes only for input. Go's poller asks the kernel for
// input and output at once, so that a connection of package net also wakes a thread when the peer
// has read something: once more for each message.
//
// One goroutine may read and one may write at a time. Close may be called from any and wakes
// both.
type Conn struct {
	file    *os.File // the socket, which Go's poller does not know
	raw     syscall.RawConn
	in, out waiter
}

// NewConn takes a socket over from a connection of package net, which it closes.
func NewConn(conn *net.UnixConn) (*Conn, error) {
	fd, err := Detach(conn)
	if err != nil {
		return nil, err
	}
	// os.NewFile does not give Go's poller a descriptor that blocks.
	c := &Conn{file: os.NewFile(uintptr(fd), "socket")}
	if c.raw, err = c.file.SyscallConn(); err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		err = errors.Join(c.in.open(fd, unix.EPOLLIN|unix.EPOLLRDHUP, c.raw), c.out.open(fd, unix.EPOLLOUT, c.raw))
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// ReadWhenReady calls f with the descriptor until f is done, and waits for input before each
// call but the first. It is for the goroutine that reads.
func (c *Conn) ReadWhenReady(f func(fd uintptr) (done bool)) error { return c.in.do(f) }

// WriteWhenReady is ReadWhenReady for output: it waits for room, for the goroutine that writes.
func (c *Conn) WriteWhenReady(f func(fd uintptr) (done bool)) error { return c.out.do(f) }

// Control calls f with the descriptor once. f must not wait.
func (c *Conn) Control(f func(fd uintptr)) error { return asClosed(c.raw.Control(f)) }

// Read implements io.Reader.
func (c *Conn) Read(p []byte) (n int, err error) {
	failed := c.ReadWhenReady(func(fd uintptr) bool {
		n, err = ReadNow(fd, p)
		return err != unix.EAGAIN
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Close closes the socket. Reads and writes end with net.ErrClosed.
func (c *Conn) Close() error {
	err := c.file.Close()
	c.in.close()
	c.out.close()
	if errors.Is(err, os.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

// asClosed returns net.ErrClosed for an error of a syscall.RawConn. Without a deadline it has no
// other error that errors.Is knows.
func asClosed(err error) error {
	if err != nil {
		return net.ErrClosed
	}
	return nil
}

// waiter waits for one kind of event of a socket. It is an epoll set with that event alone, which
// Go's poller waits for.
type waiter struct {
	set  *os.File // the epoll set
	wait syscall.RawConn

	// Of the goroutine that waits. The functions are made once, not for each wait.
	f       func(fd uintptr) bool
	done    bool
	err     error
	attempt func(uintptr) bool
}

func (w *waiter) open(fd int, events uint32, raw syscall.RawConn) error {
	try := func(fd uintptr) { w.done = w.f(fd) }
	w.attempt = func(uintptr) bool {
		w.done = false
		w.err = raw.Control(try)
		return w.done || w.err != nil
	}
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	fdtrace.Opened(set)
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	err = errors.Join(unix.EpollCtl(set, unix.EPOLL_CTL_ADD, fd, &event), unix.SetNonblock(set, true))
	w.set = os.NewFile(uintptr(set), "epoll")
	if err == nil {
		w.wait, err = w.set.SyscallConn()
	}
	return err
}

func (w *waiter) do(f func(fd uintptr) (done bool)) error {
	w.f = f
	err := w.wait.Read(w.attempt)
	if err == nil {
		err = w.err
	}
	return asClosed(err)
}

func (w *waiter) close() {
	if w.set != nil {
		_ = w.set.Close() // A second time it does nothing.
	}
}
