package bus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

var (
	// ErrLimit: the bus has as many calls in progress as it may have, or the program that
	// calls has its share of them.
	ErrLimit = fmt.Errorf("%w: too many calls in progress", ipmb.ErrBusy)
	// ErrRemoved: the bus is being removed.
	ErrRemoved = fmt.Errorf("%w: the bus has been removed", ipmb.ErrClosed)
)

// defaultMaxCalls is Config.MaxCalls where it is 0.
const defaultMaxCalls = 256

// Config describes a Bus.
type Config struct {
	Name    string
	Index   uint8 // devIndex<<2 | type
	Channel ipmi.Channel
	Handler string // of Properties
	// MaxCalls is how many requests and broadcasts of clients may be in progress; one
	// program may have half of them, and so may a user other than root. 0 is 256.
	MaxCalls int
	// RemoteAddress is the responder of requests that leave it open, see Bus.Responder.
	RemoteAddress ipmi.Address
	// Ended is told how each request ended, for logs. req has no data. It must not block
	// and keep nothing; nil for nobody.
	Ended func(req *ipmb.Request, res ipmi.Response, err error)
	// StateChanged is told of each change of the state or its reason, without a lock held.
	// It must not block; nil for nobody.
	StateChanged func(state State, reason string)
	// Changed is told, in the same way, that Properties may have changed, the state too.
	Changed func()
}

// Bus sends the requests and broadcasts of its clients. Until Begin it keeps them waiting,
// in order. Its life cycle calls Begin.
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
	beginning bool                 // Begin is sending what waits
	waiting   []waiter             // until begun
	unsure    map[*Client][]waiter // until their clients are identified; they have no place yet
	releases  []*releasing
	leaving   bool
	drained   chan struct{} // closed when clients have nothing in progress; nil while no Drain waits
}

// waiter is a request or a broadcast that is to be sent later. Its methods are called with the
// mutex of the bus held, and the functions that they return without it.
type waiter interface {
	// place notes that it has a place.
	place()
	// depart returns the function that sends it.
	depart(b *Bus) (send func())
	// refuse returns the function that ends it instead.
	refuse(err error) (end func())
}

// releasing is a call on its way to the link, from those that have waited.
type releasing struct {
	call     *Call
	unwanted bool // it was cancelled meanwhile
}

// New makes a bus, which has not begun.
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
		shares: NewShares(Halves(config.MaxCalls)), unsure: make(map[*Client][]waiter),
	}
	b.Lifecycle = NewLifecycle(link, b.Begin, func(state State, reason string) {
		config.StateChanged(state, reason)
		config.Changed()
	})
	b.SetRemoteAddress(config.RemoteAddress)
	return b
}

// Name is the one in the configuration.
func (b *Bus) Name() string { return b.config.Name }

// Index is devIndex<<2 | type.
func (b *Bus) Index() uint8 { return b.config.Index }

// MaxCalls is how many requests and broadcasts of clients may be in progress.
func (b *Bus) MaxCalls() int { return b.config.MaxCalls }

// Responder is a responder for clients that may leave it open: 0 is the remote address.
func (b *Bus) Responder(a ipmi.Address) ipmi.Address {
	if a == 0 {
		return ipmi.Address(b.remote.Load())
	}
	return a
}

// SetRemoteAddress changes the address of requests that leave the responder open.
func (b *Bus) SetRemoteAddress(a ipmi.Address) { b.remote.Store(uint32(a)) }

// Send sends a request and returns at once. An error means that the request never was
// sent, and that the call's done is not called: ErrLimit, ErrRemoved, and those of the
// link, as of ipmb.Engine.Send. A responder of 0 is ipmb.ErrInvalid.
func (b *Bus) Send(c *Call, req *ipmb.Request) error {
	c.bus = b
	if held, err := b.admit(c, req); held || err != nil {
		return err
	}
	if b.config.Ended != nil {
		c.note(req)
	}
	err := b.link.Send(c, req)
	if err != nil {
		b.leave(c.client)
	}
	return err
}

// admit gives a call its place, or holds it until it may have one, or may be sent.
func (b *Bus) admit(c *Call, req *ipmb.Request) (held bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.placed = false
	wait, err := b.enter(c.client)
	if err != nil {
		return false, err
	}
	if wait == sendNow {
		c.placed = true
		return false, nil
	}
	if err := req.Check(); err != nil {
		if wait == untilBegun {
			b.shares.Leave(c.client, 1)
		}
		return false, err
	}
	c.hold(req)
	b.keep(c.client, c, wait)
	return true, nil
}

// wait says what a request has to wait for.
type wait uint8

const (
	sendNow wait = iota
	untilBegun
	untilIdentified // it has no place yet
)

// enter takes a place for a client, with the mutex held.
func (b *Bus) enter(client *Client) (wait, error) {
	if b.leaving && client != nil {
		return 0, ErrRemoved
	}
	earlier, behind := b.unsure[client]
	if !behind {
		switch b.shares.Enter(client, 1) {
		case Admitted:
			if b.begun {
				return sendNow, nil
			}
			return untilBegun, nil
		case Unsure:
			if !client.Await(func() { b.identified(client) }) { // It was identified just now.
				return b.enter(client)
			}
			behind = true
		}
	}
	if !behind || len(earlier) >= b.shares.limits.Program {
		b.refused++
		return 0, ErrLimit
	}
	return untilIdentified, nil
}

// keep keeps what is to be sent later, with the mutex held.
func (b *Bus) keep(client *Client, w waiter, wait wait) {
	if wait == untilIdentified {
		b.unsure[client] = append(b.unsure[client], w)
		return
	}
	w.place()
	b.waiting = append(b.waiting, w)
}

// identified sends the requests that waited until their client was identified, as far as
// there are places for them.
func (b *Bus) identified(client *Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.unsure[client]) > 0 {
		next := b.unsure[client][0]
		b.unsure[client] = b.unsure[client][1:] // Others come behind it until all are sent.
		var act func()
		switch err := b.enterLate(client); {
		case err != nil:
			act = next.refuse(err)
		case b.begun:
			next.place()
			act = next.depart(b)
		default:
			b.keep(client, next, untilBegun)
			continue
		}
		b.mu.Unlock()
		act()
		b.mu.Lock()
	}
	delete(b.unsure, client)
}

// enterLate takes a place for a request that waited until its client was identified.
func (b *Bus) enterLate(client *Client) error {
	if b.leaving {
		return ErrRemoved
	}
	if b.shares.Enter(client, 1) != Admitted {
		b.refused++
		return ErrLimit
	}
	return nil
}

// leave gives a place of a client back.
func (b *Bus) leave(client *Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares.Leave(client, 1)
	if b.drained != nil && b.shares.Used() == 0 {
		close(b.drained)
		b.drained = nil
	}
}

// cancel ends a call of Send.
func (b *Bus) cancel(c *Call) {
	b.mu.Lock()
	if c.held {
		c.held = false
		b.withdraw(c)
		b.mu.Unlock()
		c.End(ipmi.Response{}, context.Canceled)
		return
	}
	onItsWay := false
	for _, r := range b.releases {
		if r.call == c {
			r.unwanted, onItsWay = true, true
		}
	}
	b.mu.Unlock()
	if !onItsWay { // else the function of depart cancels it
		b.link.Cancel(c)
	}
}

// departed ends what Call.depart began, and reports whether the call was cancelled meanwhile.
func (b *Bus) departed(r *releasing) (unwanted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.releases = slices.DeleteFunc(b.releases, func(other *releasing) bool { return other == r })
	return r.unwanted
}

// withdraw takes a call out of what waits, with the mutex held.
func (b *Bus) withdraw(c *Call) {
	isCall := func(w waiter) bool { return w == waiter(c) }
	b.waiting = slices.DeleteFunc(b.waiting, isCall)
	if behind, ok := b.unsure[c.client]; ok {
		b.unsure[c.client] = slices.DeleteFunc(behind, isCall)
	}
}

// Begin sends the requests that wait; later ones are sent at once. The owner of the bus
// calls it when the link takes requests, and also when it knows that the link does not:
// then the link refuses them. It may be called again.
func (b *Bus) Begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun || b.beginning {
		return
	}
	b.beginning = true
	for len(b.waiting) > 0 {
		next := b.waiting[0]
		b.waiting = b.waiting[1:]
		send := next.depart(b)
		b.mu.Unlock()
		send()
		b.mu.Lock()
	}
	b.begun, b.waiting = true, nil
}

// StartBroadcast sends a frame to address 0, to which nobody answers, for a client (nil is
// the daemon itself). When it returns nil, done is told whether the bus has taken the
// frame, without a lock held; it must not block. The errors are those of Send.
func (b *Bus) StartBroadcast(client *Client, done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	f := &broadcast{bus: b, client: client, done: done, netFn: netFn, lun: lun, cmd: cmd, data: data}
	b.mu.Lock()
	wait, err := b.enter(client)
	if err == nil && wait != sendNow {
		f.data = slices.Clone(data)
		b.keep(client, f, wait)
	}
	b.mu.Unlock()
	if err != nil || wait != sendNow {
		return err
	}
	f.placed = true
	if err := f.send(); err != nil {
		b.leave(client)
		return err
	}
	return nil
}

// Properties is how the bus is now. It does not block.
func (b *Bus) Properties() Properties {
	p := Properties{
		Name: b.config.Name, Index: b.config.Index, Channel: b.config.Channel, Handler: b.config.Handler,
		RemoteAddress: b.Responder(0),
	}
	p.State, p.Reason = b.State()
	b.link.Describe(&p)
	return p
}

// Changed is called by the link when its part of Properties has changed.
func (b *Bus) Changed() { b.config.Changed() }

// Statistics is the counters of the link and of the bus itself, by name: requests and
// broadcasts that were refused with ErrLimit. The caller may change the map.
func (b *Bus) Statistics() map[string]uint64 {
	statistics := b.link.Statistics()
	b.mu.Lock()
	defer b.mu.Unlock()
	statistics["refused-over-limit"] = b.refused
	return statistics
}

// Ping returns when each loop of the bus waits. If one hangs, Ping does not return.
func (b *Bus) Ping(context.Context) { b.link.Ping() }

// InProgress is how many requests and broadcasts of clients have not ended.
func (b *Bus) InProgress() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shares.Used()
}

// Leave refuses further requests of clients: ErrRemoved.
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

// Drain takes no more requests from the bus, and refuses those of clients. It waits until those
// that were taken have ended, at most until ctx ends. The daemon itself may still send: requests
// that are being drained may need that.
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
