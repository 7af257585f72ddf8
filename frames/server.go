package frames

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"ipmbd/bus"
	"ipmbd/internal/counters"
	"ipmbd/internal/socket"
	"ipmbd/ipmb"
)

// Config describes a Server. The zero value of every field but Bus is its default.
type Config struct {
	// Bus finds a bus by its index. It is called for each request. It returns nil if there is no
	// such bus.
	Bus func(index uint8) *bus.Bus
	// MaxClients is how many clients there may be, 0 is 64, and MaxPerProcess how many of one
	// process, 0 is 16. A user other than root may have half of MaxClients. Beyond MaxClients,
	// or half of them, a client takes the place of an idle client of another user, or of another
	// program of the same user, that has more clients; root takes one from any other user. The
	// server disconnects a client that finds no place.
	MaxClients, MaxPerProcess int
	// MaxCalls is how many requests of a client may be in progress; others fail with
	// ipmb.StatusBusy. 0 is 128.
	MaxCalls int
	// HungUp is called for each client that the Server has disconnected, with the reason:
	// ErrTooMany, ErrReplaced or ErrUnread. It must not block and may be nil.
	HungUp func(client bus.Process, why error)
}

// Reasons to disconnect a client.
var (
	// ErrTooMany: there are as many clients as there may be.
	ErrTooMany = errors.New("too many clients")
	// ErrReplaced: the client was idle, and a user or program that has fewer clients needed its
	// place.
	ErrReplaced = errors.New("the place of an idle client was needed")
	// ErrUnread: the client has sent requests without reading the answers.
	ErrUnread = errors.New("too many answers are not read")
)

// Server serves clients. See the package's promises.
type Server struct {
	config   Config
	counts   counters.Set[counter]
	maxCalls atomic.Int64
	stopping atomic.Bool

	mu       sync.Mutex
	listener *net.UnixListener // from Run on
	peers    map[*peer]struct{}
	closed   bool // at the end of Run
}

// NewServer makes a server.
func NewServer(config Config) *Server {
	config.MaxClients = cmp.Or(config.MaxClients, 64)
	config.MaxPerProcess = cmp.Or(config.MaxPerProcess, 16)
	if config.HungUp == nil {
		config.HungUp = func(bus.Process, error) {}
	}
	s := &Server{config: config, counts: counters.New[counter](counterNames), peers: make(map[*peer]struct{})}
	s.SetMaxCalls(config.MaxCalls)
	return s
}

// SetMaxCalls changes Config.MaxCalls. Requests that are in progress go on.
func (s *Server) SetMaxCalls(n int) { s.maxCalls.Store(int64(cmp.Or(n, 128))) }

// Run serves the clients that connect to a SOCK_SEQPACKET socket until ctx ends, then disconnects
// them and closes the socket. It is called once.
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
	for _, p := range s.refuseClients(true) {
		p.hangUp()
	}
	loops.Wait()
}

// serve serves a client until it has gone.
func (s *Server) serve(conn *net.UnixConn) {
	defer conn.Close()
	p, err := newPeer(s, conn)
	if err != nil {
		return // It has gone already.
	}
	if err = s.admit(p); err == nil {
		err = p.serve()
		s.mu.Lock()
		delete(s.peers, p)
		s.mu.Unlock()
	}
	switch err {
	case ErrTooMany:
		s.counts.Count(clientsRefused)
	case ErrReplaced:
		s.counts.Count(clientsReplaced)
	case ErrUnread:
		s.counts.Count(clientsCutOff)
	default:
		return
	}
	s.config.HungUp(p.process, err)
}

// admit admits a client, and disconnects the one whose place it takes.
func (s *Server) admit(p *peer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	former, err := s.findPlace(p.process)
	if err != nil {
		return err
	}
	if former != nil {
		delete(s.peers, former)
		former.replaced.Store(true)
		former.hangUp()
	}
	s.counts.Count(clients)
	p.lastUsed.Store(s.counts.Value(requests))
	s.peers[p] = struct{}{}
	return nil
}

// refuseClients closes the listener and returns the clients that there are. With closed, admit
// also refuses clients that have connected before.
func (s *Server) refuseClients(closed bool) []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closed || closed
	if s.listener != nil {
		s.listener.Close()
	}
	return slices.Collect(maps.Keys(s.peers))
}

// Drain accepts no more clients, answers further requests with ipmb.StatusFailed, and waits until
// those in progress are answered and the answers written, at most until ctx ends.
func (s *Server) Drain(ctx context.Context) {
	s.stopping.Store(true)
	for _, p := range s.refuseClients(false) {
		p.drain(ctx)
	}
}

// counter names a counter of a Server.
type counter int

const (
	clients counter = iota
	clientsRefused
	clientsReplaced
	clientsCutOff
	requests
	requestsInvalid
	requestsRefused
)

var counterNames = []string{
	clients:         "frame-clients",
	clientsRefused:  "frame-clients-refused",
	clientsReplaced: "frame-clients-replaced",
	clientsCutOff:   "frame-clients-cut-off",
	requests:        "frame-requests",
	requestsInvalid: "frame-requests-invalid",
	requestsRefused: "frame-requests-refused",
}

// countRequest counts a packet of a client by the status that it has so far, and returns how many
// packets there were.
func (s *Server) countRequest(status ipmb.Status) uint64 {
	switch status {
	case ipmb.StatusOK:
	case ipmb.StatusTooLong, ipmb.StatusInvalid:
		s.counts.Count(requestsInvalid)
	default:
		s.counts.Count(requestsRefused)
	}
	return s.counts.Count(requests)
}

// Statistics returns the counters by name: clients served, refused, replaced and cut off; packets,
// packets that were no requests, and requests refused over a client's limit or at a stop. The
// statistics of a bus say how the requests ended that it was given.
func (s *Server) Statistics() map[string]uint64 { return s.counts.Statistics() }
