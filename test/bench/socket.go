package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// timeLimit is how long this program waits for a byte on a socket before it gives up.
const timeLimit = 5 * time.Second

// connection is a link's end of a socket, or of a device. It blocks: a thread that waits in read
// wakes without a detour through the runtime's poller.
type connection struct{ fd int }

func (c connection) descriptor() int { return c.fd }

// stream is a connection without packets, and what was prepared to be sent or has come.
type stream struct {
	connection
	out, in []byte
}

// newStream has room for so many bytes that have come and are not all of a message.
func newStream(conn connection, room int) stream {
	return stream{connection: conn, in: make([]byte, 0, room)}
}

// send implements link.
func (s *stream) send() error {
	err := write(s.fd, s.out)
	s.out = s.out[:0]
	return err
}

var errHungUp = errors.New("hung up")

// fill waits for more bytes.
func (s *stream) fill() error {
	have := len(s.in)
	if have == cap(s.in) {
		return fmt.Errorf("no end in % X", s.in)
	}
	n, err := read(s.fd, s.in[have:cap(s.in)])
	if err == nil && n == 0 {
		err = errHungUp
	}
	s.in = s.in[:have+max(n, 0)]
	return err
}

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

// freePort returns a TCP port on which no process listens.
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
	timeout := unix.NsecToTimeval(timeLimit.Nanoseconds())
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
			return 0, fmt.Errorf("no answer in %v", timeLimit)
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
