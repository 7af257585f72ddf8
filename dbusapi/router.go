package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
)

// Limits of what programs register. That of all patterns keeps the mux quick to
// change and the property Handlers short.
const (
	maxHandlersOfOne = 64 // of one connection
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
	last     uint64           // number of the last one's object

	told []*remoteHandler // of the emitting loop

	calls callQueue
}

func newRouter(mux *ipmi.Mux) *router {
	if mux == nil {
		mux = new(ipmi.Mux)
	}
	return &router{mux: mux}
}

// addHandler registers a handler in the name of an owner, with whose connection
// ctx ends.
func (s *Server) addHandler(ctx context.Context, owner string, h *remoteHandler) error {
	r := s.router
	r.mu.Lock()
	defer r.mu.Unlock()
	// Who leaves after this is found among the handlers.
	if ctx.Err() != nil {
		return errGone
	}
	if err := r.admit(h); err != nil {
		return err
	}
	registration, err := r.mux.Register(owner, h, h.patterns...)
	if err != nil {
		return err
	}
	r.last++
	h.registration = registration
	h.object = newObject(s, handlersPath+"/"+dbus.ObjectPath(strconv.FormatUint(r.last, 10)), handlerInterface)
	h.object.handler = h
	s.objects.add(h.object)
	r.handlers = append(r.handlers, h)
	s.wake()
	return nil
}

// admit is why a handler cannot join the others, whatever it serves.
func (r *router) admit(h *remoteHandler) error {
	ofOne, patterns := 0, len(h.patterns)
	for _, other := range r.handlers {
		patterns += len(other.patterns)
		if other.destination != h.destination {
			continue
		}
		if other.path == h.path {
			return errRegistered
		}
		ofOne++
	}
	switch {
	case ofOne >= maxHandlersOfOne:
		return fmt.Errorf("%w handlers: at most %d of one connection", errTooMany, maxHandlersOfOne)
	case len(r.handlers) >= maxHandlers:
		return fmt.Errorf("%w handlers: at most %d", errTooMany, maxHandlers)
	case patterns > maxPatterns:
		return fmt.Errorf("%w commands: at most %d of all handlers", errTooMany, maxPatterns)
	}
	return nil
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
	s.router.calls.left(owner)
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
	_ = s.conn.Emit(BasePath, propertiesChanged, routerInterface, changed, []string{})
}
