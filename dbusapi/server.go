package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Defaults of a Config.
const (
	defaultMaxCallsPerSender = 128 // half of a bus: one sender does not keep all others from it
)

// Config describes a Server. The zero value of every field but Address is its
// default.
type Config struct {
	// Address is a D-Bus address, SystemBus or SessionBus.
	Address string
	// SignalNames are well-known names whose owners' signals sendBroadcast and
	// updateBmcSlaveAddr are obeyed, as uid 0's always are.
	SignalNames []string
	// MaxCallsPerSender limits the calls in progress of one connection. 0 is 128. Those of
	// all connections of a process, and of all processes of a user other than root, may be
	// half of what all buses may have in progress, or so many, if that is more.
	MaxCallsPerSender int
	// Mux is where RegisterHandler registers; nil is one of the server's own.
	Mux *ipmi.Mux
	// Statistics is counters of others that are of no bus, to be shown beside our
	// own; nil for none.
	Statistics func() map[string]uint64
	// Manager changes what there is; nil for nobody.
	Manager Manager

	programOf func(name string, found bus.Process) bus.Process // see lookups
}

// Server is the service on D-Bus.
type Server struct {
	conn    *dbuswire.Conn
	objects objects
	callers *callers
	calls   sync.Pool // of *busCall
	lookups lookups
	// backlogs is the calls that wait to be served.
	backlogs *backlogs
	names    *names
	log      *SystemLog
	system   *System
	power    *Power
	router   *router
	events   events
	storage  atomic.Pointer[ipmi.Mux] // nil until ServeStorage
	// answerers are clients that answer by signals.
	answerers answerers

	others      func() map[string]uint64 // more statistics, or nil
	manager     Manager
	signalNames atomic.Pointer[[]string]
	trustedUser uint32 // 0 but in tests
	users       users
	ids         atomic.Uint64

	signals  signals
	changed  chan struct{}
	commands chan command
	counters counters

	waits     sync.WaitGroup // for commands that wait for the kernel
	closeOnce sync.Once
}

// counters is what happened to signals taken as commands.
type counters struct {
	signalsMalformed atomic.Uint64
	signalsRefused   atomic.Uint64
	signalsDropped   atomic.Uint64
	signalsFailed    atomic.Uint64
}

// Open connects to the message bus and exports the objects of the service. It
// takes no name yet: TakeNames does, when the buses are there. ctx bounds the
// time this takes; its values, not its end, are those of the calls served.
func Open(ctx context.Context, config Config) (*Server, error) {
	s := &Server{
		objects:  newObjects(),
		callers:  newCallers(context.WithoutCancel(ctx), orDefault(config.MaxCallsPerSender, defaultMaxCallsPerSender)),
		names:    newNames(config.Address),
		log:      &SystemLog{ownConn: ownConn{address: config.Address}},
		system:   &System{ownConn{address: config.Address}},
		power:    newPower(config.Address),
		router:   newRouter(config.Mux),
		manager:  config.Manager,
		others:   config.Statistics,
		changed:  make(chan struct{}, 1),
		commands: make(chan command, maxCommands),
	}
	s.events.shares = bus.NewShares(bus.Halves(maxSubscribers))
	s.backlogs = newBacklogs(s)
	s.lookups.server, s.lookups.programOf = s, config.programOf
	s.signals.hasRoom = s.wake
	s.SetSignalNames(config.SignalNames)
	// Ids are not used again after a restart either.
	s.ids.Store(uint64(time.Now().UnixNano()))
	s.addBase()
	conn, err := dbuswire.Dial(ctx, dbuswire.Config{Address: config.Address, Signal: s.receiveSignal, Call: s.take(&s.objects)})
	if err != nil {
		return nil, err
	}
	s.conn = conn
	s.lookups.start(conn)
	s.names.add(xml.ServiceName, conn, 1)
	for _, rule := range matchRules() {
		if err := conn.AddMatch(ctx, rule); err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	return s, nil
}

// SetSignalNames is Config.SignalNames from now on.
func (s *Server) SetSignalNames(names []string) { s.signalNames.Store(&names) }

// SetMaxCallsPerSender is Config.MaxCallsPerSender from now on. Calls that are in
// progress go on.
func (s *Server) SetMaxCallsPerSender(n int) {
	s.callers.setLimit(orDefault(n, defaultMaxCallsPerSender))
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// addBase makes the object of the service and the paths that lead to it.
func (s *Server) addBase() {
	s.objects.add(newObject(s, rootPath, xml.ObjectManagerInterface))
	for _, path := range ancestors(BasePath) {
		s.objects.add(newObject(s, path))
	}
	s.objects.add(newObject(s, BasePath, xml.LegacyInterface, xml.RouterInterface, xml.ManagerInterface, xml.ObjectManagerInterface))
	s.objects.add(newObject(s, handlersPath))
}

// NewBus makes the object of a bus with a name and a channel index. Nobody sees it until
// AddBus.
func (s *Server) NewBus(name string, index uint8) (*BusObject, error) {
	path, err := childPath("bus", name)
	if err != nil {
		return nil, err
	}
	return &BusObject{
		server: s,
		name:   name,
		index:  index,
		path:   path,
	}, nil
}

// AddBus exports a bus. A path that is taken is an error. Of buses with one
// index org.openbmc.Ipmb reaches the first.
func (s *Server) AddBus(o *BusObject, b *bus.Bus) error {
	o.bus, o.places = b, b.MaxCalls()
	o.told = b.Properties()
	exported := newObject(s, o.path, xml.BusInterface)
	exported.bus = o
	if !s.objects.add(exported) {
		return fmt.Errorf("bus %s: there is one at %s already", o.name, o.path)
	}
	s.callers.addPlaces(o.places)
	s.emitAdded(exported)
	return nil
}

// RemoveBus takes a bus away. Calls in progress end as the bus ends them. Its index stays
// its own until FreeIndex, so that org.openbmc.Ipmb finds a bus that begins anew Down, and
// not unknown.
func (s *Server) RemoveBus(o *BusObject) {
	o.bus.Leave()
	if removed := s.objects.remove(o.path); removed != nil {
		s.callers.addPlaces(-o.places)
		s.emitRemoved(removed)
	}
}

// FreeIndex frees the index of a bus that was removed, unless another has it already.
func (s *Server) FreeIndex(o *BusObject) { s.objects.channels.Free(o) }

// Run sends signals and obeys those of others until ctx ends (nil) or a
// connection to the message bus is lost (ErrDisconnected).
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	loops.Go(func() { s.emitAllChanges(ctx) })
	loops.Go(func() { s.runCommands(ctx) })
	select {
	case <-ctx.Done():
		return nil
	case <-s.names.lost:
		return dbuswire.ErrDisconnected
	}
}

// Pulse returns when each goroutine that reads a connection waits for the message bus. If
// one hangs, Pulse returns when ctx or the connection ends. A message bus that reads or
// writes no more makes none of them hang.
func (s *Server) Pulse(ctx context.Context) {
	_ = s.names.each(func(conn *dbuswire.Conn, _ string) error {
		conn.Ping(ctx)
		return nil
	})
}

// Drain lets no more calls in and waits until those in progress have been
// replied to, at most until ctx ends.
func (s *Server) Drain(ctx context.Context) {
	s.callers.drain(ctx)
	_ = s.names.each(func(conn *dbuswire.Conn, _ string) error {
		conn.AwaitReplies(ctx)
		return nil
	})
}

// Close ends all calls, waits for them and closes all connections.
func (s *Server) Close() error {
	var err error
	s.closeOnce.Do(func() {
		s.callers.close()
		s.waits.Wait()
		err = errors.Join(s.log.close(), s.system.close(), s.names.close())
		s.backlogs.close()
	})
	return err
}

// Statistics is the counters that are of no bus, by name: what happened to the
// signals taken as commands, answers of handlers that came too late, events
// that nobody will hear of, and those of others.
func (s *Server) Statistics() map[string]uint64 {
	statistics := map[string]uint64{
		"signals-malformed": s.counters.signalsMalformed.Load(),
		"signals-refused":   s.counters.signalsRefused.Load(),
		"signals-dropped":   s.counters.signalsDropped.Load(),
		"signals-failed":    s.counters.signalsFailed.Load(),

		"handler-replies-late": s.names.late.Load(),
		"events-not-kept":      s.events.countNotKept(),
	}
	if s.others != nil {
		maps.Copy(statistics, s.others())
	}
	return statistics
}

// nextID is an id for a ReceivedMessage.
func (s *Server) nextID() uint64 { return s.ids.Add(1) }
