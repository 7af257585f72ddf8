package openbmc

import (
	"context"
	"errors"
	"sync"

	"ipmbd/internal/dbuswire"
)

// Services are the services on a message bus.
type Services struct {
	System System
	Log    EventLog
	Power  Power
}

// New returns the services on the message bus with an address. It does not connect yet.
func New(address string) *Services {
	return &Services{
		System: System{ownConn{address: address}},
		Log:    EventLog{ownConn: ownConn{address: address}},
		Power:  Power{address: address, wake: make(chan struct{}, 1), off: make(map[int]bool), on: make(map[int]bool)},
	}
}

// Close ends the calls of System and Log, and later ones fail. Power ends with its Run.
func (s *Services) Close() error { return errors.Join(s.Log.close(), s.System.close()) }

// ownConn is a connection for calls to other services, made when it is first needed and again when
// it was lost. Each user has one: the message bus limits the replies that a connection waits for,
// and a service that hangs must not use up the limit of the handlers.
type ownConn struct {
	address string

	connMu sync.Mutex
	conn   *dbuswire.Conn // nil while there is no connection
	closed bool
}

// connect is the connection.
func (o *ownConn) connect(ctx context.Context) (*dbuswire.Conn, error) {
	if conn := o.connected(nil); conn != nil {
		return conn, nil
	}
	conn, err := dbuswire.Dial(ctx, dbuswire.Config{Address: o.address})
	if err != nil {
		return nil, err
	}
	used := o.connected(conn)
	if used != conn {
		_ = conn.Close() // Another goroutine was faster, or close.
	}
	if used == nil {
		return nil, dbuswire.ErrDisconnected
	}
	return used, nil
}

// connected is the connection that is there, or else a fresh one.
func (o *ownConn) connected(fresh *dbuswire.Conn) *dbuswire.Conn {
	o.connMu.Lock()
	defer o.connMu.Unlock()
	if o.conn != nil && o.conn.Context().Err() != nil {
		o.conn = nil
	}
	if o.conn == nil && !o.closed {
		o.conn = fresh
	}
	return o.conn
}

func (o *ownConn) close() error {
	o.connMu.Lock()
	conn := o.conn
	o.conn, o.closed = nil, true
	o.connMu.Unlock()
	if conn == nil {
		return nil
	}
	return conn.Close()
}
