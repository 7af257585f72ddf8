package frames

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"ipmbd/internal/socket"
)

// network is what package net calls SOCK_SEQPACKET.
const network = "unixpacket"

// errNothing: there is nothing to read now.
var errNothing = errors.New("nothing to read")

// receive reads a packet without waiting for one. io.EOF: the other end has gone.
func receive(fd int, b []byte) (int, error) {
	n, err := socket.ReadNow(uintptr(fd), b)
	switch {
	case err == unix.EAGAIN:
		return 0, errNothing
	case err != nil:
		return 0, err
	case n == 0 && socket.PeerGone(fd):
		return 0, io.EOF
	}
	return n, nil
}

// credentials are those of the process that has connected.
func credentials(raw syscall.RawConn) (Peer, error) {
	var ucred *unix.Ucred
	var err error
	control := raw.Control(func(fd uintptr) {
		ucred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(control, err); err != nil {
		return Peer{}, err
	}
	return Peer{PID: ucred.Pid, UID: ucred.Uid}, nil
}

// writer writes packets to a socket. It is used by one goroutine at a time.
type writer struct {
	packets packets
	next    int // to be written
	err     error
	raw     syscall.RawConn
	// some and once are made once, so that writing allocates nothing.
	some func(fd uintptr) bool
	once func(fd uintptr)
	all  bool // of once: everything is written
}

func (w *writer) init(raw syscall.RawConn) {
	w.raw = raw
	w.some = w.write
	w.once = func(fd uintptr) { w.all = w.write(fd) && w.err == nil }
}

// reset is for other packets.
func (w *writer) reset() {
	w.packets.reset()
	w.next = 0
}

// writeSome writes what the socket has room for and reports whether that is all.
func (w *writer) writeSome() bool {
	w.all = false
	return w.raw.Control(w.once) == nil && w.all
}

// writeAll writes what is left as fast as the other end reads.
func (w *writer) writeAll() error {
	if err := w.raw.Write(w.some); err != nil {
		return err
	}
	return w.err
}

// write writes what the socket has room for; false: there is more.
func (w *writer) write(fd uintptr) bool {
	for w.next < w.packets.len() {
		_, err := socket.WriteNow(fd, w.packets.packet(w.next))
		switch err {
		case nil:
			w.next++
		case unix.EAGAIN:
			return false
		default:
			w.err = err
			return true
		}
	}
	return true
}
