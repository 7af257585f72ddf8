package service

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

const (
	// drainTime is how long calls and requests in progress may take to end.
	drainTime = 2 * time.Second
	// endTime is how long a device may take to be closed, and the message bus to take a name back.
	endTime = 2 * time.Second
	// beginTime is how long an endpoint may take until it serves.
	beginTime = 10 * time.Second
)

// plan describes an endpoint: an entry of the configuration, with its defaults.
type plan struct {
	entry    config.Entry
	name     string
	host     int // the number of its host
	channel  ipmi.Channel
	bridged  bool // Send Message is served on it
	handler  config.HandlerKind
	words    []string // the last words of the bus names that it needs
	hostIPMI bool     // it needs btbridge's bus name
	isBus    bool
	index    uint8 // of a bus in org.openbmc.Ipmb
}

// plansOf are the plans of all entries of a configuration with its defaults.
func plansOf(c config.Config) []plan {
	var all []plan
	for _, e := range c.Entries() {
		all = append(all, planOf(e))
	}
	return all
}

func planOf(e config.Entry) plan {
	p := plan{entry: e}
	switch c := e.(type) {
	case config.Channel:
		p.name, p.host, p.channel, p.bridged, p.handler = c.Name, c.DevIndex, *c.IPMIChannel, c.Bridged(), c.Handler
		p.isBus, p.index, p.words = true, c.Index(), []string{c.BusName}
	case config.OpenIPMI: // Messages are not bridged to it: its controller is not ours.
		p.name, p.host, p.channel, p.handler = c.Name, c.DevIndex, *c.IPMIChannel, *c.Handler
		p.isBus, p.index, p.words = true, c.Index(), []string{config.DefaultBusName}
	case config.Host:
		p.name, p.host, p.channel, p.bridged, p.handler = c.Name, c.DevIndex, *c.IPMIChannel, c.Bridged(), *c.Handler
		p.words, p.hostIPMI = []string{c.Word()}, c.LegacyAPI
	}
	if p.isBus && p.handler != config.HandlerHost {
		p.words = nil
	}
	return p
}

// field names the endpoint in the log.
func (p plan) field() zap.Field {
	if p.isBus {
		return zap.String("bus", p.name)
	}
	return zap.String("host", p.name)
}

// endpoint is a bus or a host interface in the service. It is made, with its device open if that
// is possible before it is read, and put on D-Bus. Then it runs. At its end it leaves D-Bus, is
// drained, ends, and is forgotten. The service does these steps for some or all endpoints.
type endpoint struct {
	plan
	runner
	path   dbus.ObjectPath
	iface  *bridge.Interface
	filter *commandFilter

	bus           *bus.Bus           // nil for a host interface
	object        *dbusapi.BusObject // of the bus
	hostInterface *hostInterface     // nil for a bus

	withdraw func()                    // takes its object away: no more calls come
	left     func(ctx context.Context) // gives back the rest of what the endpoint took at first
	stop     context.CancelFunc        // nil until it runs
	ended    chan struct{}             // closed when Run has returned
}

// runner is the object that an endpoint runs: a *bus.Bus, whose documentation describes the
// methods, or a *hostInterface.
type runner interface {
	Run(ctx context.Context)
	State() (bus.State, string)
	Begun() <-chan struct{}
	Ping(ctx context.Context)
	Drain(ctx context.Context)
}

// makeEndpoint makes an endpoint. After an error nothing of it is left.
func (s *service) makeEndpoint(ctx context.Context, p plan) (*endpoint, error) {
	e := &endpoint{plan: p, left: func(context.Context) {}, ended: make(chan struct{})}
	made := s.makeHost
	if p.isBus {
		made = s.makeBus
	}
	if err := made(ctx, e); err != nil {
		return nil, fmt.Errorf("%s: %w", p.entry.Title(), err)
	}
	return e, nil
}

// freeIndexes frees the indexes of endpoints that have ended: clients that use them get "unknown
// channel".
func (s *service) freeIndexes(gone ...*endpoint) {
	for _, e := range gone {
		if e.isBus {
			e.object.FreeIndex()
			s.buses.Free(e.bus)
		}
	}
}

// forgetEndpoint gives back what the endpoint took when it was made. ctx limits the wait for the
// message bus.
func (s *service) forgetEndpoint(ctx context.Context, e *endpoint) {
	s.mux.SetDefault(e.name, nil)
	s.bridge.Remove(e.iface)
	s.bmc.InterfaceGone(e.name)
	e.left(ctx)
}

// stopAndWait stops the endpoint and reports whether it has ended before ctx.
func (e *endpoint) stopAndWait(ctx context.Context) bool {
	if e.stop == nil {
		never, stop := context.WithCancel(ctx)
		stop()
		e.Run(never)
		return true
	}
	e.stop()
	select {
	case <-e.ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// addEndpoints makes endpoints and runs them: all, or none and an error. It opens their devices,
// without reading, and exports their objects before it takes their names. When it returns they
// take calls or are known to be Down: programs that learn of them may call at once.
func (s *service) addEndpoints(ctx context.Context, plans ...plan) error {
	var added []*endpoint
	undo := func() {
		s.removeEndpoints(ctx, added...)
		s.freeIndexes(added...)
	}
	for _, p := range plans {
		e, err := s.makeEndpoint(ctx, p)
		if err != nil {
			undo()
			return err
		}
		s.endpoints.add(e)
		added = append(added, e)
	}
	if err := s.server.TakeNames(ctx); err != nil {
		undo()
		return err
	}
	for _, e := range added {
		running, stop := context.WithCancel(context.WithoutCancel(ctx))
		e.stop = stop
		s.lives.Go(func() {
			defer close(e.ended)
			e.Run(running)
		})
	}
	ctx, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	for _, e := range added {
		select {
		case <-e.Begun():
		case <-ctx.Done():
		}
	}
	return nil
}

// removeEndpoints ends endpoints. Calls and requests in progress have drainTime to end.
func (s *service) removeEndpoints(ctx context.Context, gone ...*endpoint) {
	eachEndpoint(gone, func(e *endpoint) {
		e.withdraw()
		if e.stop != nil {
			draining, cancel := context.WithTimeout(ctx, drainTime)
			e.Drain(draining)
			cancel()
		}
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		if !e.stopAndWait(ending) {
			s.log.Warn("has not ended yet: a write is in the kernel", e.field())
		}
		s.forgetEndpoint(ending, e)
	})
	s.endpoints.remove(gone...)
}

// endpoints are the buses and host interfaces, in order. One goroutine changes them, others look.
type endpoints struct{ list atomic.Pointer[[]*endpoint] }

func (l *endpoints) add(e *endpoint) {
	list := append(slices.Clone(l.all()), e)
	l.list.Store(&list)
}

func (l *endpoints) remove(gone ...*endpoint) {
	list := slices.DeleteFunc(slices.Clone(l.all()), func(e *endpoint) bool { return slices.Contains(gone, e) })
	l.list.Store(&list)
}

// all is the list, which does not change.
func (l *endpoints) all() []*endpoint {
	if list := l.list.Load(); list != nil {
		return *list
	}
	return nil
}

// find is the first endpoint that fits, nil for none.
func (l *endpoints) find(fits func(*endpoint) bool) *endpoint {
	all := l.all()
	if i := slices.IndexFunc(all, fits); i >= 0 {
		return all[i]
	}
	return nil
}

// named is the endpoint of a name, nil for none.
func (l *endpoints) named(name string) *endpoint {
	return l.find(func(e *endpoint) bool { return e.name == name })
}

// plans returns the plans of the endpoints.
func (l *endpoints) plans() []plan {
	var plans []plan
	for _, e := range l.all() {
		plans = append(plans, e.plan)
	}
	return plans
}

// eachEndpoint does something with endpoints at the same time, and waits.
func eachEndpoint(list []*endpoint, do func(*endpoint)) {
	var doing sync.WaitGroup
	for _, e := range list {
		doing.Go(func() { do(e) })
	}
	doing.Wait()
}
