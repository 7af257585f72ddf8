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

// dial connects to a socket at path. The descriptor blocks: a thread that
// waits in read is woken without a detour through the runtime's poller.
func dial(kind int, path string) (int, error) {
	fd, err := connect(unix.AF_UNIX, kind, &unix.SockaddrUnix{Name: path})
	if err != nil {
		return -1, fmt.Errorf("connect %s: %w", path, err)
	}
	return fd, nil
}

// dialTCP connects to a port here.
func dialTCP(port int) (int, error) {
	fd, err := connect(unix.AF_INET, unix.SOCK_STREAM, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err != nil {
		return -1, fmt.Errorf("connect to port %d: %w", port, err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func connect(family, kind int, address unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Connect(fd, address)
	if err == nil {
		err = bePatient(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

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
