package bus

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

var (
	// ErrLimit: the bus, or the program that calls, has as many calls in progress as it may have.
	ErrLimit = fmt.Errorf("%w: too many calls in progress", ipmb.ErrBusy)
	// ErrNoRemote: a request names no responder, and the bus has no remote address.
	ErrNoRemote = fmt.Errorf("%w: the request names no responder, and the bus has no remote address", ipmb.ErrInvalid)
	// ErrRemoved: the bus is being removed.
	ErrRemoved = fmt.Errorf("%w: the bus has been removed", ipmb.ErrClosed)
)

// defaultMaxCalls is Config.MaxCalls where it is 0.
const defaultMaxCalls = 256

// Config describes a Bus.
type Config struct {
	Name    string
	Index   uint8 // devIndex<<2 | type, or NoIndex
	Channel ipmi.Channel
	Handler string // of Properties
	// MaxCalls is how many requests and broadcasts of clients may be in progress; one
	// program may have half of them, and so may a user other than root. 0 is 256.
	MaxCalls int
	// RemoteAddress is the responder of requests that name no responder, see Bus.Responder; 0 if
	// there is none.
	RemoteAddress ipmi.Address
	// Statistics returns counters of other packages that the bus shows with its own. It may be
	// nil.
	Statistics func() map[string]uint64
	// Ended is called, for logs, when a request has ended. It must not block. It may be nil.
	Ended func(req *ipmb.Request, res ipmi.Response, err error)
	// StateChanged is called with each new state or reason, without a lock held. It must not
	// block.
	StateChanged func(state State, reason string)
	// Changed is called, in the same way, when Properties may have changed, the state too.
	Changed func()
}

// Bus sends the requests and broadcasts of its clients. Until Begin they wait, in order.
type Bus struct {
	*Lifecycle
	Controls // of the link

	config Config
	link   Link
	remote atomic.Uint32

	mu        sync.Mutex
	shares    *Shares
	refused   uint64
	begun     bool
	beginning bool                // Begin is sending what waits
	waiting   []*Call             // until begun
	unsure    map[*Client][]*Call // until their clients are identified; they have no place yet
	releases  []*releasing
	leaving   bool
	drained   chan struct{} // closed when clients have nothing in progress; nil while no Drain waits
}

// New makes a bus. It sends nothing before Begin.
func New(config Config, link Link) *Bus {
	if config.MaxCalls == 0 {
		config.MaxCalls = defaultMaxCalls
	}
	if config.StateChanged == nil {
		config.StateChanged = func(State, string) {}
	}
	if config.Changed == nil {
		config.Changed = func() {}
	}
	b := &Bus{
		Controls: link, config: config, link: link,
		shares: NewShares(Halves(config.MaxCalls)), unsure: make(map[*Client][]*Call),
	}
	b.Lifecycle = NewLifecycle(link, b.Begin, func(state State, reason string) {
		config.StateChanged(state, reason)
		config.Changed()
	})
	b.SetRemoteAddress(config.RemoteAddress)
	return b
}

// Name is the name in the configuration.
func (b *Bus) Name() string { return b.config.Name }

// Index is devIndex<<2 | type, or NoIndex.
func (b *Bus) Index() uint8 { return b.config.Index }

// MaxCalls is how many requests and broadcasts of clients may be in progress.
func (b *Bus) MaxCalls() int { return b.config.MaxCalls }

// Responder returns the responder for an address that a client may leave 0: then it is the remote
// address, 0 if there is none.
func (b *Bus) Responder(a ipmi.Address) ipmi.Address {
	if a == 0 {
		return ipmi.Address(b.remote.Load())
	}
	return a
}

// SetRemoteAddress changes the responder of requests that name no responder.
func (b *Bus) SetRemoteAddress(a ipmi.Address) { b.remote.Store(uint32(a)) }

// Send sends a request and returns at once. After an error the request was not sent, and the
// call's done is not called. The errors are ErrNoRemote, ErrLimit, ErrRemoved and those of
// ipmb.Engine.Send.
func (b *Bus) Send(c *Call, req *ipmb.Request) error {
	if req.Responder == 0 && !c.broadcast {
		return ErrNoRemote
	}
	c.bus = b
	if held, err := b.admitCall(c, req); held || err != nil {
		return err
	}
	if b.config.Ended != nil {
		c.request = *req
		c.request.Data = nil
	}
	err := b.transmit(c, req)
	if err != nil {
		b.returnPlace(c.client)
	}
	return err
}

// StartBroadcast sends a frame to address 0, to which there is no response, for a client (nil is
// the daemon itself). If it returns nil, it calls done when the bus has taken the frame or not,
// without a lock held; done must not block. It returns the errors of Send.
func (b *Bus) StartBroadcast(
	client *Client, done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte,
) error {
	c := &Call{client: client, done: func(_ ipmi.Response, err error) { done(err) }, broadcast: true}
	return b.Send(c, &ipmb.Request{NetFn: netFn, RequesterLUN: lun, Command: cmd, Data: data})
}

// transmit gives a call to the link.
func (b *Bus) transmit(c *Call, req *ipmb.Request) error {
	if c.broadcast {
		end := func(err error) { c.End(ipmi.Response{}, err) }
		return b.link.StartBroadcast(end, req.NetFn, req.RequesterLUN, req.Command, req.Data)
	}
	return b.link.Send(c, req)
}

// returnPlace gives a place of a client back.
func (b *Bus) returnPlace(client *Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares.Leave(client, 1)
	if b.drained != nil && b.shares.Used() == 0 {
		close(b.drained)
		b.drained = nil
	}
}

// Properties returns the present properties of the bus. It does not block.
func (b *Bus) Properties() Properties {
	p := Properties{
		Name: b.config.Name, Index: b.config.Index, Channel: b.config.Channel, Handler: b.config.Handler,
		RemoteAddress: b.Responder(0),
	}
	p.State, p.Reason = b.State()
	b.link.Describe(&p)
	return p
}

// Changed handles a change of the link's part of Properties. The link calls it.
func (b *Bus) Changed() { b.config.Changed() }

// Statistics returns the counters of the link, of Config and of the bus itself, by name: requests
// and broadcasts that the bus refused with ErrLimit. The caller may change the map.
func (b *Bus) Statistics() map[string]uint64 {
	statistics := b.link.Statistics()
	if b.config.Statistics != nil {
		maps.Copy(statistics, b.config.Statistics())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	statistics["refused-over-limit"] = b.refused
	return statistics
}

// Ping returns when each loop of the bus waits. If one hangs, Ping does not return.
func (b *Bus) Ping(context.Context) { b.link.Ping() }

// InProgress returns how many requests and broadcasts of clients have not ended.
func (b *Bus) InProgress() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shares.Used()
}

// Leave makes the bus refuse further requests of clients with ErrRemoved.
func (b *Bus) Leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaving = true
}

// Leaving reports whether Leave or Drain was called.
func (b *Bus) Leaving() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leaving
}

// Drain makes the link take no more requests from the bus, and refuses the requests of clients. It
// waits until the requests that were taken have ended, or ctx ends. The daemon itself may still
// send.
func (b *Bus) Drain(ctx context.Context) {
	var draining sync.WaitGroup
	draining.Go(func() { b.link.Drain(ctx) })
	defer draining.Wait()
	b.mu.Lock()
	b.leaving = true
	if b.shares.Used() == 0 {
		b.mu.Unlock()
		return
	}
	if b.drained == nil {
		b.drained = make(chan struct{})
	}
	drained := b.drained
	b.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

// Listed is a bus in a Directory.
type Listed interface {
	comparable
	Index() uint8
	Leaving() bool
}

// NoIndex is the index of a bus whose number makes no index. No entry of a configuration has it:
// types end at 2.
const NoIndex = 0xFF

// Directory finds buses by index. If several have the same, it finds the first; it finds none by
// NoIndex. The zero value is empty.
type Directory[B Listed] struct {
	mu    sync.RWMutex
	buses [256]B
}

// Find returns the bus with an index, or the zero value.
func (d *Directory[B]) Find(index uint8) B {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.buses[index]
}

// Add gives a bus its index, unless another bus has the index and is not leaving.
func (d *Directory[B]) Add(b B) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var none B
	if other := d.buses[b.Index()]; b.Index() != NoIndex && (other == none || other.Leaving()) {
		d.buses[b.Index()] = b
	}
}

// Free frees the index of a bus, unless another bus has it. Until then clients find a bus that has
// left, and it refuses their requests: they see a bus that is replaced as Down, not as unknown.
func (d *Directory[B]) Free(b B) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.buses[b.Index()] == b {
		var none B
		d.buses[b.Index()] = none
	}
}
