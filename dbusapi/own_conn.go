package dbusapi

import (
	"context"
	"sync"

	"ipmbd/internal/dbuswire"
)

// ownConn is a connection for calls to other services, made when it is first
// needed and anew when it was lost.
type ownConn struct {
	address string

	connMu sync.Mutex
	conn   *dbuswire.Conn // nil while there is none
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
		_ = conn.Close() // Another one was faster, or it is over.
	}
	if used == nil {
		return nil, dbuswire.ErrDisconnected
	}
	return used, nil
}

// connected is the connection there is, fresh where there is none.
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
