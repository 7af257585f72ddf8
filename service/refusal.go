package service

import (
	"net"
	"time"
)

// refusalPause is how long the next one waits who is hung up on: whoever comes again
// and again costs next to nothing.
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
		r.run()
	}()
	return r
}

func (r *refusal) run() {
	for {
		if conn, err := r.listener.Accept(); err == nil {
			conn.Close()
		}
		select {
		case <-r.over:
			return
		case <-time.After(refusalPause):
		}
	}
}

// end returns when nobody is hung up on any more.
func (r *refusal) end() {
	close(r.over)
	r.listener.Close()
	<-r.ended
}
