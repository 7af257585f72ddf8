package ipmi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Mux gives each request to the one handler that is registered for it, or to the default handler
// of its interface. Registrations never overlap, so their order does not matter. The zero value is
// ready and has no handler. All methods may be called at any time from any goroutine.
type Mux struct {
	mu       sync.Mutex // held while routes are replaced
	routes   atomic.Pointer[routes]
	watchers []chan struct{}
}

// Registration is a handler in a Mux, or a reservation, from Register or Reserve until Close.
type Registration struct {
	mux      *Mux
	owner    string
	handler  Handler // nil: reserved
	patterns []Pattern
}

// Registered is one pattern of a Mux and its owner.
type Registered struct {
	Owner string
	Pattern
	Reserved bool // by Reserve
}

// OverlapError says that a requested pattern has requests in common with a registered pattern, or
// with another pattern of the same call.
type OverlapError struct {
	Owner    string // of Existing
	Pattern  Pattern
	Existing Pattern
}

// Error names both patterns and the owner of the existing one.
func (e *OverlapError) Error() string {
	return fmt.Sprintf("%v overlaps %v, which %s serves", e.Pattern, e.Existing, e.Owner)
}

// Register makes h serve the requests that match a pattern: all of the patterns or none. An
// OverlapError names owner to others that want the same requests. It returns PatternError and
// OverlapError, or an error that says that there is no handler or no pattern.
func (m *Mux) Register(owner string, h Handler, patterns ...Pattern) (*Registration, error) {
	switch {
	case h == nil:
		return nil, errors.New("no handler to register")
	case len(patterns) == 0:
		return nil, errors.New("no pattern to register")
	}
	return m.register(nil, &Registration{mux: m, owner: owner, handler: h, patterns: slices.Clone(patterns)})
}

// Reserve keeps others from registering patterns that owner serves without the Mux, before it or
// as a default. The requests that match go to the same handler as before. It returns the errors of
// Register.
func (m *Mux) Reserve(owner string, patterns ...Pattern) (*Registration, error) {
	return m.register(nil, &Registration{mux: m, owner: owner, patterns: slices.Clone(patterns)})
}

// Replace puts a registration with other patterns in the place of r, and closes r, without a
// moment between the two. It returns the errors of Register; after an error r is unchanged.
func (r *Registration) Replace(patterns ...Pattern) (*Registration, error) {
	return r.mux.register(r, &Registration{
		mux: r.mux, owner: r.owner, handler: r.handler, patterns: slices.Clone(patterns),
	})
}

// Close takes the registration out of its Mux. The requests that the handler already has go on,
// and their answers count. Closing again does nothing.
func (r *Registration) Close() {
	m := r.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if all := m.load().registrations; slices.Contains(all, r) {
		m.setRegistrations(without(all, r))
	}
}

// register replaces old, which may be nil, by a registration, if that overlaps no other one.
func (m *Mux) register(old, r *Registration) (*Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	others := without(m.load().registrations, old)
	if err := r.check(others); err != nil {
		return nil, err
	}
	m.setRegistrations(append(others, r))
	return r, nil
}

// without is a copy of all registrations but one.
func without(all []*Registration, one *Registration) []*Registration {
	return slices.DeleteFunc(slices.Clone(all), func(r *Registration) bool { return r == one })
}

// check is the error of a registration that cannot join the others.
func (r *Registration) check(others []*Registration) error {
	for i, p := range r.patterns {
		if err := p.validate(); err != nil {
			return err
		}
		for _, o := range others {
			if err := p.checkOverlap(o.owner, o.patterns); err != nil {
				return err
			}
		}
		if err := p.checkOverlap(r.owner, r.patterns[:i]); err != nil {
			return err
		}
	}
	return nil
}

// checkOverlap is an OverlapError if p overlaps one of the patterns of owner.
func (p Pattern) checkOverlap(owner string, existing []Pattern) error {
	for _, q := range existing {
		if p.overlaps(q) {
			return &OverlapError{Owner: owner, Pattern: p, Existing: q}
		}
	}
	return nil
}

// SetDefault makes h serve the requests of the named interface for which no handler is registered.
// nil removes the default.
func (m *Mux) SetDefault(iface string, h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := *m.load()
	next.defaults = maps.Clone(next.defaults)
	if next.defaults == nil {
		next.defaults = make(map[string]Handler)
	}
	if h == nil {
		delete(next.defaults, iface)
	} else {
		next.defaults[iface] = h
	}
	m.routes.Store(&next)
}

// Registrations returns the patterns that are registered and reserved now, in order of
// registration.
func (m *Mux) Registrations() []Registered {
	var list []Registered
	for _, r := range m.load().registrations {
		for _, p := range r.patterns {
			list = append(list, Registered{r.owner, p, r.handler == nil})
		}
	}
	return list
}

// Watch reports when Registrations may have changed since the last report, until stop.
func (m *Mux) Watch() (changed <-chan struct{}, stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	watcher := make(chan struct{}, 1)
	m.watchers = append(m.watchers, watcher)
	return watcher, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.watchers = slices.DeleteFunc(m.watchers, func(w chan struct{}) bool { return w == watcher })
	}
}

// ServeIPMI implements Handler. A request that no handler serves is answered ErrNoHandler.
func (m *Mux) ServeIPMI(req *Request, reply Reply) {
	h := m.load().handlerOf(req)
	if h == nil {
		reply.Answer(Response{}, ErrNoHandler)
		return
	}
	h.ServeIPMI(req, reply)
}

// routes is the state of a Mux at one moment. It is replaced and never changed, so that requests
// are routed without a lock.
type routes struct {
	registrations []*Registration
	defaults      map[string]Handler // by interface name
	byCommand     map[commandKey][]route
}

// commandKey is a command, or with AnyCommand all of a netFn.
type commandKey struct {
	netFn   NetFn
	command Command
}

type route struct {
	channels ChannelMask
	group    uint32
	handler  Handler
}

// noRoutes is the first state of a Mux.
var noRoutes routes

func (m *Mux) load() *routes {
	if r := m.routes.Load(); r != nil {
		return r
	}
	return &noRoutes
}

// setRegistrations replaces the registrations, and tells the watchers. The caller holds mu.
func (m *Mux) setRegistrations(registrations []*Registration) {
	byCommand := make(map[commandKey][]route)
	for _, r := range registrations {
		for _, p := range r.patterns {
			if r.handler != nil {
				key := commandKey{p.NetFn, p.Command}
				byCommand[key] = append(byCommand[key], route{p.Channels, p.Group, r.handler})
			}
		}
	}
	m.routes.Store(&routes{registrations: registrations, defaults: m.load().defaults, byCommand: byCommand})
	for _, watcher := range m.watchers {
		select {
		case watcher <- struct{}{}:
		default: // It has a notice and has not looked yet.
		}
	}
}

// handlerOf returns the handler of a request, or nil. At most one route matches, since
// registrations do not overlap.
func (r *routes) handlerOf(req *Request) Handler {
	group := req.Group()
	for _, cmd := range [...]Command{req.Command, AnyCommand} {
		for _, to := range r.byCommand[commandKey{req.NetFn, cmd}] {
			if to.channels.Has(req.Channel) && (to.group == AnyGroup || to.group == group) {
				return to.handler
			}
		}
	}
	return r.defaults[req.Interface]
}
