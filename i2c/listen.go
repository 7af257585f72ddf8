package i2c

import (
	"errors"
	"net"
)

// SeqpacketListener is the other end of OpenSeqpacket: where simulated
// responders wait to be connected to.
type SeqpacketListener struct {
	path     string
	listener *net.UnixListener
}

// ListenSeqpacket makes a SOCK_SEQPACKET socket at path, or at the abstract
// address that follows an @. The errors are OpErrors.
func ListenSeqpacket(path string) (*SeqpacketListener, error) {
	listener, err := net.ListenUnix(seqpacketNetwork, seqpacketAddr(path))
	if err != nil {
		return nil, &OpError{Op: "listen", Device: path, Err: cause(err)}
	}
	return &SeqpacketListener{path: path, listener: listener}, nil
}

// Accept waits for a connection and returns its near end. It returns ErrClosed
// after Close.
func (l *SeqpacketListener) Accept() (Transport, error) {
	conn, err := l.listener.AcceptUnix()
	switch {
	case err == nil:
		return newSeqpacket(l.path, conn)
	case errors.Is(err, net.ErrClosed):
		return nil, ErrClosed
	}
	return nil, &OpError{Op: "accept", Device: l.path, Err: cause(err)}
}

// Close ends Accept and removes the socket. Ends that were accepted stay.
func (l *SeqpacketListener) Close() error {
	if err := l.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return &OpError{Op: "close", Device: l.path, Err: cause(err)}
	}
	return nil
}
