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
	"ipmbd/internal/counters"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// Limits of registrations. The limit of all patterns keeps the mux quick to change and the
// property Handlers short; a program has at most half of them. A user other than root has at most
// half of either.
const (
	maxHandlersOfOne = 64 // of one program
	maxHandlers      = 512
	maxPatternsOfOne = 256 // of one handler
	maxPatterns      = 4096
	maxPath          = 255 // bytes: the property has it once for each pattern
)

// Why a handler is not registered or unregistered, beside the errors of ipmi.Mux.Register.
var (
	errRegistered    = errors.New("this path is registered already: unregister it first")
	errNotRegistered = errors.New("no handler of this connection is registered with this path")
	errNoCommands    = errors.New("no commands to register")
	errLongPath      = fmt.Errorf("the path is longer than %d bytes", maxPath)
	errTooMany       = errors.New("too many")
	errSecretPattern = errors.New("only root may serve commands that may carry a password or a key")
)

// router has the handlers that programs have registered. A goroutine that holds its lock may take
// the lock of the objects, never the other way round.
type router struct {
	mux   *ipmi.Mux
	calls *callQueue

	mu       sync.Mutex
	handlers []*remoteHandler // in the order they were registered
	shares   *bus.Shares      // of handlers
	patterns *bus.Shares      // of all handlers
	last     uint64           // number of the last one's object

	told []*remoteHandler // of the emitting loop
}

func newRouter(mux *ipmi.Mux) *router {
	limits := bus.Halves(maxHandlers)
	limits.Program = maxHandlersOfOne
	return &router{
		mux:      mux,
		calls:    newCallQueue(),
		shares:   bus.NewShares(limits),
		patterns: bus.NewShares(bus.Halves(maxPatterns)),
	}
}

// remoteHandler is an object of another program that answers requests. It implements ipmi.Handler.
type remoteHandler struct {
	target
	client       *bus.Client // its program
	conn         *dbuswire.Conn
	calls        *callQueue
	counts       *counters.Set[counter]
	patterns     []ipmi.Pattern
	registration *ipmi.Registration
	object       *object
}

// ServeIPMI calls execute of the object when it is the request's turn. It returns the errors of
// HostDaemon.ServeIPMI.
func (h *remoteHandler) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) {
	h.calls.enqueueRequest(h.client, execution{conn: h.conn, to: &h.target, req: req, reply: reply, counts: h.counts})
}

func registerHandler(ctx context.Context, c *call) ([]any, error) {
	patterns, err := patternsOf(c.args[1].([][]any))
	if err != nil {
		return nil, err
	}
	path := c.args[0].(dbus.ObjectPath)
	if len(path) > maxPath {
		return nil, errLongPath
	}
	uid := c.server.userOf(ctx, c.sender)
	if i := slices.IndexFunc(patterns, ipmi.Pattern.MayCarrySecret); i >= 0 && !isRoot(uid) {
		return nil, fmt.Errorf("%w: %v", errSecretPattern, patterns[i])
	}
	owner := c.client.describe()
	return nil, c.server.addHandler(ctx, owner, &remoteHandler{
		client:   &c.client.Client,
		conn:     c.server.conn,
		calls:    c.server.router.calls,
		counts:   &c.server.counters,
		patterns: patterns,
		target: target{
			title:       fmt.Sprintf("handler %s of %s", path, owner),
			destination: c.sender,
			path:        string(path),
			wide:        true,
		},
	})
}

// patternsOf reads an argument a(yyuu).
func patternsOf(commands [][]any) ([]ipmi.Pattern, error) {
	switch n := len(commands); {
	case n == 0:
		return nil, errNoCommands
	case n > maxPatternsOfOne:
		return nil, fmt.Errorf("%w commands: %d, at most %d of one handler", errTooMany, n, maxPatternsOfOne)
	}
	patterns := make([]ipmi.Pattern, len(commands))
	for i, command := range commands {
		patterns[i] = ipmi.Pattern{
			NetFn:    ipmi.NetFn(command[0].(byte)),
			Command:  ipmi.Command(command[1].(byte)),
			Group:    command[2].(uint32),
			Channels: ipmi.ChannelMask(command[3].(uint32)),
		}
	}
	return patterns, nil
}

func unregisterHandler(_ context.Context, c *call) ([]any, error) {
	path := string(c.args[0].(dbus.ObjectPath))
	if !c.server.removeHandlers(func(h *remoteHandler) bool { return h.destination == c.sender && h.path == path }) {
		return nil, errNotRegistered
	}
	return nil, nil
}

// addHandler registers a handler in the name of an owner, with whose connection ctx ends.
func (s *Server) addHandler(ctx context.Context, owner string, h *remoteHandler) error {
	r := s.router
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil { // If the owner leaves after this, clientLeft finds the handler.
		return errGone
	}
	if err := r.admitHandler(h); err != nil {
		return err
	}
	registration, err := r.mux.Register(owner, h, h.patterns...)
	if err != nil {
		r.releaseHandler(h)
		return err
	}
	r.calls.countHandlers(h.client, 1)
	r.last++
	h.registration = registration
	h.object = newObject(s, handlersPath+"/"+dbus.ObjectPath(strconv.FormatUint(r.last, 10)), xml.HandlerInterface)
	h.object.handler = h
	s.objects.addObject(h.object)
	r.handlers = append(r.handlers, h)
	s.wakeEmitter()
	return nil
}

// admitHandler takes the places of a handler. The error does not depend on its commands.
func (r *router) admitHandler(h *remoteHandler) error {
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

// releaseHandler gives the places of a handler back.
func (r *router) releaseHandler(h *remoteHandler) {
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
		r.releaseHandler(h)
		r.calls.countHandlers(h.client, -1)
		s.objects.removeObject(h.object.path)
		return true
	})
	if len(r.handlers) == before {
		return false
	}
	s.wakeEmitter()
	return true
}

// listHandlers is the handlers registered now.
func (r *router) listHandlers() []*remoteHandler {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.handlers)
}

// emitHandlers announces the handlers that have come and gone since its last call.
func (s *Server) emitHandlers() {
	before, now := s.router.told, s.router.listHandlers()
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
	s.emitPropertiesChanged(BasePath, xml.RouterInterface, map[string]dbus.Variant{"Handlers": dbus.MakeVariant(handlerRows(now))})
}

// ServeStorage makes a handler answer SendStorageRequest. Before that, no handler does. Its
// requests have no interface, and the channel of the system interface.
func (s *Server) ServeStorage(h ipmi.Handler) {
	mux := new(ipmi.Mux)
	mux.SetDefault("", h)
	s.storage.Store(mux)
}

func sendStorageRequest(ctx context.Context, c *call) ([]any, error) {
	storage := c.server.storage.Load()
	if storage == nil {
		return nil, ipmi.ErrNotPresent
	}
	res, err := ipmi.Do(ctx, storage, &ipmi.Request{
		Channel: ipmi.ChannelSystemInterface,
		NetFn:   ipmi.NetFnStorage,
		Command: ipmi.Command(c.args[0].(byte)),
		Data:    c.args[1].([]byte),
	})
	if err != nil {
		return nil, err
	}
	return []any{byte(res.Code), res.Data}, nil
}
