package service

import (
	"net"
	"time"

	unixsocket "ipmbd/internal/socket"
)

// refusalPause is the time between two clients that are hung up on, so that a client that
// connects again and again costs next to nothing.
const refusalPause = 100 * time.Millisecond

// refusal hangs up on all who connect to a socket, one after the other.
type refusal struct {
	listener net.Listener
	over     chan struct{} // closed by end
	ended    chan struct{}
}

func refuse(listener net.Listener) *refusal {
	r := &refusal{listener, make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(r.ended)
		_ = unixsocket.Accept(r.over, listener, r.hangUp)
	}()
	return r
}

func (r *refusal) hangUp(conn net.Conn) {
	conn.Close()
	select {
	case <-r.over:
	case <-time.After(refusalPause):
	}
}

// end returns when nobody is hung up on any more.
func (r *refusal) end() {
	close(r.over)
	r.listener.Close()
	<-r.ended
}
