package ipmi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Mux hands each request to the one handler that is registered for it, or to
// the default handler of its interface. Registrations never overlap, so which
// one serves a request does not depend on their order. The zero value is ready
// and has no handler. All methods may be called at any time from any goroutine.
type Mux struct {
	mu       sync.Mutex // held by those who replace routes
	routes   atomic.Pointer[routes]
	watchers []chan struct{}
}

// Registration is what one Register or Reserve has put into a Mux.
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

// OverlapError says that a pattern asked for has requests in common with one
// that is registered, or with another one of the same call.
type OverlapError struct {
	Owner    string // of Existing
	Pattern  Pattern
	Existing Pattern
}

func (e *OverlapError) Error() string {
	return fmt.Sprintf("%v overlaps %v, which %s serves", e.Pattern, e.Existing, e.Owner)
}

// Register makes h serve the requests that match a pattern, all of the patterns
// or none. Owner is named to others that ask for the same requests. The
// errors are PatternError and OverlapError, or say that there is no handler or
// no pattern.
func (m *Mux) Register(owner string, h Handler, patterns ...Pattern) (*Registration, error) {
	switch {
	case h == nil:
		return nil, errors.New("no handler to register")
	case len(patterns) == 0:
		return nil, errors.New("no pattern to register")
	}
	return m.add(&Registration{mux: m, owner: owner, handler: h, patterns: slices.Clone(patterns)})
}

// Reserve keeps others from registering patterns that owner serves without the
// Mux, on its way in or as a default. Requests that match go where they went.
// The errors are those of Register.
func (m *Mux) Reserve(owner string, patterns ...Pattern) (*Registration, error) {
	return m.add(&Registration{mux: m, owner: owner, patterns: slices.Clone(patterns)})
}

// add puts a registration among the others, if it does not overlap them.
func (m *Mux) add(r *Registration) (*Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.load()
	if err := r.check(old.registrations); err != nil {
		return nil, err
	}
	m.routes.Store(old.with(append(slices.Clip(old.registrations), r)))
	m.tell()
	return r, nil
}

// Replace puts a registration with other patterns in the place of r, which is
// closed then, without a moment between the two. The errors are those of Register;
// after one r is as it was.
func (r *Registration) Replace(patterns ...Pattern) (*Registration, error) {
	m := r.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.load()
	others := slices.DeleteFunc(slices.Clone(old.registrations), func(o *Registration) bool { return o == r })
	next := &Registration{mux: m, owner: r.owner, handler: r.handler, patterns: slices.Clone(patterns)}
	if err := next.check(others); err != nil {
		return nil, err
	}
	m.routes.Store(old.with(append(others, next)))
	m.tell()
	return next, nil
}

// Close takes the registration out of its Mux. Requests that the handler is
// serving go on, and their answers are used. Closing again does nothing.
func (r *Registration) Close() {
	m := r.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.load()
	if i := slices.Index(old.registrations, r); i >= 0 {
		m.routes.Store(old.with(slices.Delete(slices.Clone(old.registrations), i, i+1)))
		m.tell()
	}
}

// SetDefault makes h serve what nobody has registered of the requests that
// come in on the named interface; nil takes the default away.
func (m *Mux) SetDefault(iface string, h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := *m.load()
	defaults := make(map[string]Handler, len(next.defaults)+1)
	maps.Copy(defaults, next.defaults)
	if h == nil {
		delete(defaults, iface)
	} else {
		defaults[iface] = h
	}
	next.defaults = defaults
	m.routes.Store(&next)
}

// Registrations are the patterns registered and reserved now, in the order they
// came.
func (m *Mux) Registrations() []Registered {
	var list []Registered
	for _, r := range m.load().registrations {
		for _, p := range r.patterns {
			list = append(list, Registered{r.owner, p, r.handler == nil})
		}
	}
	return list
}

// Watch tells when Registrations may have changed since the last time, until stop.
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

// tell tells those who watch; mu is held.
func (m *Mux) tell() {
	for _, watcher := range m.watchers {
		select {
		case watcher <- struct{}{}:
		default: // It has been told and has not looked yet.
		}
	}
}

// ServeIPMI implements Handler. A request that nobody serves is ErrNoHandler.
func (m *Mux) ServeIPMI(req *Request, reply Reply) {
	h := m.load().find(req)
	if h == nil {
		reply.Answer(Response{}, ErrNoHandler)
		return
	}
	h.ServeIPMI(req, reply)
}

func (m *Mux) load() *routes {
	if r := m.routes.Load(); r != nil {
		return r
	}
	return &noRoutes
}

// check is why r cannot join the others.
func (r *Registration) check(others []*Registration) error {
	for i, p := range r.patterns {
		if err := p.validate(); err != nil {
			return err
		}
		for _, o := range others {
			if err := p.clash(o.owner, o.patterns); err != nil {
				return err
			}
		}
		if err := p.clash(r.owner, r.patterns[:i]); err != nil {
			return err
		}
	}
	return nil
}

// clash is an OverlapError if p overlaps one of the patterns that owner has.
func (p Pattern) clash(owner string, existing []Pattern) error {
	for _, q := range existing {
		if p.overlaps(q) {
			return &OverlapError{Owner: owner, Pattern: p, Existing: q}
		}
	}
	return nil
}
