// Package socket listens on Unix sockets, accepts connections, and has connections whose reader
// wakes only for input.
package socket

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/internal/fdtrace"
)

// Listen makes a socket at a path; network is "unix" or "unixpacket". It replaces a socket on
// which no process listens any more.
func Listen(ctx context.Context, network, path string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, path)
	if errors.Is(err, syscall.EADDRINUSE) && removeStale(ctx, network, path) {
		listener, err = config.Listen(ctx, network, path)
	}
	if err == nil {
		fdtrace.OpenedFile(listener)
	}
	return listener, err
}

// removeStale removes a socket on which no process listens.
func removeStale(ctx context.Context, network, path string) bool {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, path)
	if err == nil {
		conn.Close()
		return false
	}
	if info, statErr := os.Lstat(path); statErr != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) && os.Remove(path) == nil
}

// acceptPause is the time after an accept that has failed for the moment.
const acceptPause = 100 * time.Millisecond

// broken are the errors of accept(2) that come from the listener. All others come from a lack of
// descriptors or memory, or from the client, and pass.
var broken = []error{net.ErrClosed, syscall.EINVAL, syscall.EBADF, syscall.ENOTSOCK, syscall.EOPNOTSUPP}

// Accept calls take with each connection, one after the other, until the listener is closed or
// broken, and returns that error. After an error that passes it waits for 100 ms, or until done
// is closed, and goes on.
func Accept(done <-chan struct{}, listener net.Listener, take func(net.Conn)) error {
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			fdtrace.OpenedFile(conn)
			take(conn)
		case slices.ContainsFunc(broken, func(b error) bool { return errors.Is(err, b) }):
			return err
		default:
			select {
			case <-done:
			case <-time.After(acceptPause):
			}
		}
	}
}

// PeerGone reports whether the peer of a socket will send no more. It distinguishes the
// end of a connection from an empty packet.
func PeerGone(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	for err == unix.EINTR { // The runtime's own signals interrupt the call even if it does not wait.
		n, err = unix.Poll(fds, 0)
	}
	return err != nil || n > 0
}

// ErrNotSocket is the error of Detach for a connection without a descriptor.
var ErrNotSocket = errors.New("not a socket")

// Detach returns another descriptor of a connection's socket, which blocks and which Go's poller
// does not know, and closes the connection.
func Detach(conn net.Conn) (fd int, err error) {
	defer conn.Close()
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return -1, ErrNotSocket
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, err
	}
	failed := raw.Control(func(old uintptr) {
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			fdtrace.Opened(fd)
			err = unix.SetNonblock(fd, false)
		}
	})
	return fd, errors.Join(failed, err)
}
