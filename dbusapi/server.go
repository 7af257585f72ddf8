package dbusapi

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"ipmbd/bus"
	"ipmbd/internal/counters"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// defaultMaxCallsPerSender is half of a bus: one client does not keep all others from it.
const defaultMaxCallsPerSender = 128

// Config describes a Server. The zero value of every field but Address is its default.
type Config struct {
	// Address is a D-Bus address, dbuswire.SystemBus or dbuswire.SessionBus.
	Address string
	// SignalNames are well-known names. The server obeys the signals sendBroadcast and
	// updateBmcSlaveAddr of their owners, and of uid 0.
	SignalNames []string
	// MaxCallsPerSender limits the calls in progress of one connection. 0 is 128. A bus limits the
	// calls of all connections of a process, and of all processes of a user other than root.
	MaxCallsPerSender int
	// Mux is the mux in which RegisterHandler registers; nil makes the server use its own.
	Mux *ipmi.Mux
	// Statistics returns counters of other packages that belong to no bus. They are shown beside
	// the server's; nil stands for no such counters.
	Statistics func() map[string]uint64
	// Manager changes the buses and host interfaces; nil if nothing can be changed.
	Manager Manager

	programOf func(name string, found bus.Process) bus.Process // see clients
}

// Server is the service on D-Bus.
type Server struct {
	conn    *dbuswire.Conn
	objects objects
	clients *clients
	unused  sync.Pool // of *busCall
	names   *names
	router  *router
	events  events
	storage atomic.Pointer[ipmi.Mux] // nil until ServeStorage

	config      Config
	signalNames atomic.Pointer[[]string]
	ids         atomic.Uint64 // of ReceivedMessage

	signals   signals
	changed   chan struct{}
	commands  chan command
	counters  counters.Set[counter]
	closeOnce sync.Once

	faultsTold []string // of the emitting loop
}

// counter is a counter that belongs to no bus.
type counter int

const (
	signalsMalformed counter = iota // signals that are commands
	signalsRefused
	signalsDropped
	signalsFailed
	repliesLate // replies of handlers that came after the deadline
	eventsNotKept
)

var counterNames = []string{
	signalsMalformed: "signals-malformed",
	signalsRefused:   "signals-refused",
	signalsDropped:   "signals-dropped",
	signalsFailed:    "signals-failed",
	repliesLate:      "handler-replies-late",
	eventsNotKept:    "events-not-kept",
}

// Open connects to the message bus and exports the objects of the service. It takes no name:
// TakeNames does, when the buses are there. ctx limits the time of Open.
func Open(ctx context.Context, config Config) (*Server, error) {
	s := &Server{
		objects:  newObjects(),
		names:    &names{address: config.Address, lost: make(chan struct{}), owned: make(map[string]*ownName)},
		router:   newRouter(cmp.Or(config.Mux, new(ipmi.Mux))),
		config:   config,
		changed:  make(chan struct{}, 1),
		commands: make(chan command, maxCommands),
		counters: counters.New[counter](counterNames),
	}
	s.clients = newClients(cmp.Or(config.MaxCallsPerSender, defaultMaxCallsPerSender), s.clientLeft)
	s.clients.programOf = config.programOf
	s.events.shares = bus.NewShares(bus.Halves(maxSubscribers))
	s.signals.hasRoom = s.wakeEmitter
	s.SetSignalNames(config.SignalNames)
	// Ids are not used again after a restart either.
	s.ids.Store(uint64(time.Now().UnixNano()))
	s.objects.addObject(newObject(s, rootPath, xml.ObjectManagerInterface))
	s.objects.addWithAncestors(newObject(s, BasePath, xml.LegacyInterface, xml.RouterInterface, xml.ManagerInterface, xml.ObjectManagerInterface))
	s.objects.addObject(newObject(s, handlersPath))
	conn, err := dbuswire.Dial(ctx, dbuswire.Config{Address: config.Address, Signal: s.receiveSignal, Call: s.calls(&s.objects)})
	if err != nil {
		return nil, err
	}
	s.conn = conn
	s.clients.lookUpBy(conn)
	s.names.addName(xml.ServiceName, true, conn)
	for _, rule := range matchRules {
		if err := conn.AddMatch(ctx, rule); err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	return s, nil
}

// SetSignalNames replaces Config.SignalNames.
func (s *Server) SetSignalNames(names []string) { s.signalNames.Store(&names) }

// SetMaxCallsPerSender replaces Config.MaxCallsPerSender. Calls in progress go on.
func (s *Server) SetMaxCallsPerSender(n int) {
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	s.clients.limit = cmp.Or(n, defaultMaxCallsPerSender)
}

// Run serves calls that do not send to a bus, sends signals and obeys signals of authorized
// senders, until ctx ends (nil) or a connection to the message bus is lost (ErrDisconnected).
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	for _, loop := range []func(context.Context){s.serveActs, s.serveReads, s.emitAllChanges, s.runCommands} {
		loops.Go(func() { loop(ctx) })
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.names.lost:
		return dbuswire.ErrDisconnected
	}
}

// Ping returns when each goroutine that reads a connection waits for the message bus. If one
// hangs, Ping returns when ctx or the connection ends. A message bus that does not read or write
// makes none of them hang.
func (s *Server) Ping(ctx context.Context) {
	for _, own := range s.names.list() {
		own.conn.Ping(ctx)
	}
}

// Drain refuses further calls and waits until those in progress have been replied to, at most
// until ctx ends.
func (s *Server) Drain(ctx context.Context) {
	s.clients.drain(ctx)
	for _, own := range s.names.list() {
		own.conn.AwaitReplies(ctx)
	}
}

// Close ends all calls, waits for them and closes all connections.
func (s *Server) Close() error {
	var err error
	s.closeOnce.Do(func() {
		s.clients.close()
		for _, own := range s.names.list() {
			err = errors.Join(err, own.conn.Close())
		}
	})
	return err
}

// Statistics returns the counters that belong to no bus, by name: commands by signals, answers of
// handlers that came too late, events that were dropped, and the counters of Config.Statistics.
func (s *Server) Statistics() map[string]uint64 {
	statistics := s.counters.Statistics()
	if s.config.Statistics != nil {
		maps.Copy(statistics, s.config.Statistics())
	}
	return statistics
}
