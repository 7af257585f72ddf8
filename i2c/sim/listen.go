package sim

import (
	"errors"
	"net"

	"ipmbd/i2c"
)

// Listener is the other end of i2c.OpenSeqpacket: the socket at which simulated responders wait
// for connections.
type Listener struct {
	path     string
	listener *net.UnixListener
}

// Listen makes a SOCK_SEQPACKET socket at path, or at the abstract address that follows an @.
// The errors are those of package net.
func Listen(path string) (*Listener, error) {
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return &Listener{path, listener}, nil
}

// Accept waits for a connection and returns its near end. After Close it returns
// i2c.ErrClosed; other errors are those of package net.
func (l *Listener) Accept() (i2c.Transport, error) {
	conn, err := l.listener.AcceptUnix()
	switch {
	case err == nil:
		return i2c.NewSeqpacket(l.path, conn)
	case errors.Is(err, net.ErrClosed):
		return nil, i2c.ErrClosed
	}
	return nil, err
}

// Close ends Accept and removes the socket. It does not close connections.
func (l *Listener) Close() error {
	if err := l.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
