package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Limits of what programs register. That of all patterns keeps the mux quick to
// change and the property Handlers short; a program has at most half of them. A user other
// than root has at most half of either.
const (
	maxHandlersOfOne = 64 // of one program
	maxHandlers      = 512
	maxPatternsOfOne = 256 // of one handler
	maxPatterns      = 4096
	maxPath          = 255 // bytes: the property has it once for each pattern
)

// Why a handler is not registered or unregistered, beside the errors of
// ipmi.Mux.Register.
var (
	errRegistered    = errors.New("this path is registered already: unregister it first")
	errNotRegistered = errors.New("no handler of this connection is registered with this path")
	errNoCommands    = errors.New("no commands to register")
	errLongPath      = fmt.Errorf("the path is longer than %d bytes", maxPath)
	errTooMany       = errors.New("too many")
)

// router is the handlers that programs have registered. A lock of it is held
// when that of the objects is taken, never the other way round.
type router struct {
	mux *ipmi.Mux

	mu       sync.Mutex
	handlers []*remoteHandler // in the order they were registered
	shares   *bus.Shares      // of handlers
	patterns *bus.Shares      // of all handlers
	last     uint64           // number of the last one's object

	told []*remoteHandler // of the emitting loop

	calls *callQueue
}

func newRouter(mux *ipmi.Mux) *router {
	if mux == nil {
		mux = new(ipmi.Mux)
	}
	return &router{
		mux:      mux,
		shares:   bus.NewShares(handlerLimits()),
		patterns: bus.NewShares(bus.Halves(maxPatterns)),
		calls:    newCallQueue(),
	}
}

func handlerLimits() bus.Limits {
	limits := bus.Halves(maxHandlers)
	limits.Program = maxHandlersOfOne
	return limits
}

// addHandler registers a handler in the name of an owner, with whose connection
// ctx ends.
func (s *Server) addHandler(ctx context.Context, owner string, h *remoteHandler) error {
	r := s.router
	r.mu.Lock()
	defer r.mu.Unlock()
	// If the owner leaves after this, dropHandlers finds the handler.
	if ctx.Err() != nil {
		return errGone
	}
	if err := r.admit(h); err != nil {
		return err
	}
	registration, err := r.mux.Register(owner, h, h.patterns...)
	if err != nil {
		r.giveBack(h)
		return err
	}
	r.calls.joined(h.client)
	r.last++
	h.registration = registration
	h.object = newObject(s, handlersPath+"/"+dbus.ObjectPath(strconv.FormatUint(r.last, 10)), xml.HandlerInterface)
	h.object.handler = h
	s.objects.add(h.object)
	r.handlers = append(r.handlers, h)
	s.wake()
	return nil
}

// admit takes the places of a handler, or says why it cannot join the others, whatever it
// serves.
func (r *router) admit(h *remoteHandler) error {
	if slices.ContainsFunc(r.handlers, func(o *remoteHandler) bool { return o.destination == h.destination && o.path == h.path }) {
		return errRegistered
	}
	if r.shares.Enter(h.client, 1) != bus.Admitted {
		return fmt.Errorf("%w handlers: at most %d, %d of them of one program", errTooMany, maxHandlers, maxHandlersOfOne)
	}
	if r.patterns.Enter(h.client, len(h.patterns)) != bus.Admitted {
		r.shares.Leave(h.client, 1)
		return fmt.Errorf("%w commands: at most %d of all handlers, half of them of one program", errTooMany, maxPatterns)
	}
	return nil
}

// giveBack gives the places of a handler back.
func (r *router) giveBack(h *remoteHandler) {
	r.shares.Leave(h.client, 1)
	r.patterns.Leave(h.client, len(h.patterns))
}

// removeHandlers ends registrations, and reports whether there were any.
func (s *Server) removeHandlers(which func(*remoteHandler) bool) bool {
	r := s.router
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.handlers)
	r.handlers = slices.DeleteFunc(r.handlers, func(h *remoteHandler) bool {
		if !which(h) {
			return false
		}
		h.registration.Close()
		r.giveBack(h)
		r.calls.left(h.client)
		s.objects.remove(h.object.path)
		return true
	})
	if len(r.handlers) == before {
		return false
	}
	s.wake()
	return true
}

// dropHandlers ends the registrations of a connection that has ended.
func (s *Server) dropHandlers(owner string) {
	s.removeHandlers(func(h *remoteHandler) bool { return h.destination == owner })
}

// list is the handlers registered now.
func (r *router) list() []*remoteHandler {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.handlers)
}

// emitHandlers tells of the handlers that have come and gone since it did last.
func (s *Server) emitHandlers() {
	before, now := s.router.told, s.router.list()
	s.router.told = now
	if slices.Equal(before, now) {
		return
	}
	for _, h := range before {
		if !slices.Contains(now, h) {
			s.emitRemoved(h.object)
		}
	}
	for _, h := range now {
		if !slices.Contains(before, h) {
			s.emitAdded(h.object)
		}
	}
	changed := map[string]dbus.Variant{"Handlers": dbus.MakeVariant(handlerRows(now))}
	_ = s.conn.Emit(BasePath, propertiesChanged, xml.RouterInterface, changed, []string{})
}
