package frames

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"ipmbd/bus"
	"ipmbd/internal/socket"
)

// Config describes a Server. The zero value of every field but Bus is its
// default.
type Config struct {
	// Bus finds a bus by its index, for each request anew. It returns nil for none.
	Bus func(index uint8) *bus.Bus
	// MaxClients is how many clients there may be, 0 is 64, and MaxPerProcess how many of
	// one process, 0 is 16. A user other than root may have half of MaxClients. Beyond
	// MaxClients, or half of them, a client takes the place of an idle one of a user, or a
	// program of the same user, that has more; root takes one from any other user. The
	// server hangs up on a client that finds no place.
	MaxClients, MaxPerProcess int
	// MaxCalls is how many requests of a client may be in progress; more have
	// ipmb.StatusBusy. 0 is 128.
	MaxCalls int
	// HungUp is told of each client on which the Server has hung up, and why: ErrTooMany,
	// ErrReplaced or ErrUnread. It must not block; nil for nobody.
	HungUp func(who Peer, why error)
}

// Defaults of a Config.
const (
	defaultMaxClients    = 64
	defaultMaxPerProcess = 16
	defaultMaxCalls      = 128
)

// Peer is the process at the other end of a connection.
type Peer = bus.Process

// Why a client was hung up on.
var (
	// ErrTooMany: there are as many clients as there may be.
	ErrTooMany = errors.New("too many clients")
	// ErrReplaced: the client was idle, and one of a user or program that has fewer needed
	// the place.
	ErrReplaced = errors.New("the place of an idle client was needed")
	// ErrUnread: the client has sent request after request and not read the
	// answers.
	ErrUnread = errors.New("too many answers are not read")
)

// Server serves clients. See the package's promises.
type Server struct {
	config   Config
	counters counters
	maxCalls atomic.Int64
	stopping atomic.Bool

	mu       sync.Mutex
	listener *net.UnixListener // from Run on
	peers    map[*peer]struct{}
	closed   bool // at the end of Run
}

// NewServer makes a server.
func NewServer(config Config) *Server {
	setDefault(&config.MaxClients, defaultMaxClients)
	setDefault(&config.MaxPerProcess, defaultMaxPerProcess)
	if config.HungUp == nil {
		config.HungUp = func(Peer, error) {}
	}
	s := &Server{config: config, peers: make(map[*peer]struct{})}
	s.SetMaxCalls(config.MaxCalls)
	return s
}

// SetMaxCalls is Config.MaxCalls from now on. Requests that are in progress go on.
func (s *Server) SetMaxCalls(n int) {
	setDefault(&n, defaultMaxCalls)
	s.maxCalls.Store(int64(n))
}

func setDefault(field *int, value int) {
	if *field == 0 {
		*field = value
	}
}

// Run serves the clients that connect to a SOCK_SEQPACKET socket until ctx ends, then hangs
// up on them and closes the socket. It is called once.
func (s *Server) Run(ctx context.Context, listener *net.UnixListener) {
	s.mu.Lock()
	s.listener = listener
	s.mu.Unlock()
	var loops sync.WaitGroup
	loops.Go(func() {
		_ = socket.Accept(ctx.Done(), listener, func(conn net.Conn) {
			loops.Go(func() { s.serve(conn.(*net.UnixConn)) })
		})
	})
	<-ctx.Done()
	s.close()
	loops.Wait()
}

// serve serves a client until it is gone.
func (s *Server) serve(conn *net.UnixConn) {
	defer conn.Close()
	p, err := newPeer(s, conn)
	if err != nil {
		return // It has gone already.
	}
	if err = s.admit(p); err == nil {
		err = p.serve()
		s.remove(p)
	}
	switch err {
	case ErrTooMany:
		s.counters.clientsRefused.Add(1)
	case ErrReplaced:
		s.counters.clientsReplaced.Add(1)
	case ErrUnread:
		s.counters.clientsCutOff.Add(1)
	default:
		return
	}
	s.config.HungUp(p.who, err)
}

// admit lets a client in, and hangs up on the one whose place it takes.
func (s *Server) admit(p *peer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	former, err := s.place(p.who)
	if err != nil {
		return err
	}
	if former != nil {
		delete(s.peers, former)
		former.replaced.Store(true)
		former.hangUp()
	}
	s.counters.clients.Add(1)
	p.used.Store(s.counters.requests.Load())
	s.peers[p] = struct{}{}
	return nil
}

func (s *Server) remove(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, p)
}

// close hangs up on all clients.
func (s *Server) close() {
	for _, p := range s.shut(true) {
		p.hangUp()
	}
}

// shut lets no more clients in, and returns those that there are. With closing, admit
// refuses clients that had connected before.
func (s *Server) shut(closing bool) []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closed || closing
	if s.listener != nil {
		s.listener.Close()
	}
	return slices.Collect(maps.Keys(s.peers))
}

// Drain lets no more clients in, answers further requests with ipmb.StatusFailed,
// and waits until those in progress are answered and the answers written, at most
// until ctx ends.
func (s *Server) Drain(ctx context.Context) {
	s.stopping.Store(true)
	for _, p := range s.shut(false) {
		p.drain(ctx)
	}
}
