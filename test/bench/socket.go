package main

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the ends of sockets in this program wait for a byte
// before something is wrong.
const patience = 5 * time.Second

// connection is the end of a socket, or of a device, that a link has. It blocks: a thread that
// waits in read is woken without a detour through the runtime's poller.
type connection struct{ fd int }

func (c connection) descriptor() int { return c.fd }

// dial connects to an address until the stage ends. An address of TCP is a port here.
func (s *stage) dial(kind int, address unix.Sockaddr) (connection, error) {
	family := unix.AF_UNIX
	port, isTCP := address.(*unix.SockaddrInet4)
	if isTCP {
		family, port.Addr = unix.AF_INET, [4]byte{127, 0, 0, 1}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return connection{-1}, err
	}
	err = unix.Connect(fd, address)
	if err == nil && isTCP {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = bePatient(fd)
	}
	if err != nil {
		unix.Close(fd)
		return connection{-1}, fmt.Errorf("connect to %v: %w", address, err)
	}
	s.atEnd(func() { unix.Close(fd) })
	return connection{fd}, nil
}

// at is the address of a socket in a stage's folder.
func (s *stage) at(name string) unix.Sockaddr { return &unix.SockaddrUnix{Name: s.path(name)} }

// freePort is a TCP port that nobody listens on.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// bePatient makes reads and accepts fail with EAGAIN in the end.
func bePatient(fd int) error {
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
}

// listen makes a SOCK_SEQPACKET socket at path.
func listen(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen %s: %w", path, err)
	}
	return fd, nil
}

func accept(listener int) (int, error) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, fmt.Errorf("no answer in %v", patience)
		}
		return n, err
	}
}

// write sends all of b: these sockets take everything or block.
func write(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}
