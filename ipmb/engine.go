package ipmb

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// Config describes an engine. The zero value of every field is its default.
type Config struct {
	// Address is our own address on the bus. The default is 20h, the BMC's.
	Address ipmi.Address
	// Interface, Channel and Host go into each request handed to the handler.
	Interface string
	Channel   ipmi.Channel
	Host      int
	// RetryPolicy is the policy of calls that bring none.
	RetryPolicy RetryPolicy
	// MaxFrame limits the frames sent, in bytes; 0 leaves it to the transport.
	MaxFrame int
	// MaxWaiting is how many calls may wait for a number of one responder,
	// network function and command. 0 is 256.
	MaxWaiting int

	// Handler answers requests; nil answers them all C1h.
	Handler ipmi.Handler
	// HandlerTimeout is how long a handler has before the requester is
	// answered C3h. 0 is 5 s.
	HandlerTimeout time.Duration
	// BridgeTimeout returns how long the handler has for a request that may take longer than
	// others, because it is sent on to another bus for example; 0 is HandlerTimeout. Such
	// requests have a MaxHandlers of their own, so that they hold up no others. It is
	// called without a lock held; nil is 0 for all. f.Data is valid until it returns.
	BridgeTimeout func(f Frame) time.Duration
	// Served is told how each request ended that a handler had: the completion code of
	// the answer, and the error that it stands for. It is called without a lock held
	// and must not block; nil for nobody.
	Served func(req *ipmi.Request, code ipmi.CompletionCode, err error)
	// MaxHandlers is how many requests may be in handlers at a time; more are
	// answered C0h. 0 is 64.
	MaxHandlers int
	// MaxResponses is how many answers may wait to be written; when they do,
	// requests are dropped before a handler runs. 0 is 256.
	MaxResponses int
	// DuplicateWindow is how long an answer is kept for repeats of its request, see
	// Repeats in the package's documentation. 0 is 5 s; negative keeps none.
	DuplicateWindow time.Duration
	// Effect says what it means to serve a request twice; that decides which frames count
	// as its repeats. It is called without a lock held, must not block, and must not keep
	// the request. nil asks Handler, if it is an ipmi.EffectTeller, and else ipmi.EffectOf.
	Effect func(*ipmi.Request) ipmi.Effect

	// Received is given each valid frame, before anything is done about it. The loop that
	// reads calls it without a lock held, so it must not block. f.Data is valid until it
	// returns. nil is a function that does nothing.
	Received func(f Frame)
	// Stalled is called when a write has been in the kernel for StallTime (true), and when
	// that write has returned (false), as Received is. nil is a function that does nothing.
	Stalled func(stalled bool)
	// Together is given the work on the frames of a read that brought several, and calls
	// it once: what others are sent meanwhile may leave in one write. nil calls it.
	Together func(work func())
	// UnsolicitedResponse gets the responses to our LUN 2 that no call waits for; nil drops
	// them like all others. It must not block. f.Data is valid until it returns.
	UnsolicitedResponse func(f Frame)
}

// DefaultAddress is the BMC's address (IPMB v1.0, section 3.1).
const DefaultAddress ipmi.Address = 0x20

// withDefaults fills in what was left open.
func (c Config) withDefaults() Config {
	setDefault(&c.Address, DefaultAddress)
	c.RetryPolicy = c.RetryPolicy.Or(RetryPolicy{})
	setDefault(&c.MaxWaiting, 256)
	setDefault(&c.HandlerTimeout, 5*time.Second)
	setDefault(&c.MaxHandlers, 64)
	setDefault(&c.MaxResponses, 256)
	setDefault(&c.DuplicateWindow, sequenceExpiration)
	if c.Handler == nil {
		c.Handler = new(ipmi.Mux)
	}
	if c.Served == nil {
		c.Served = func(*ipmi.Request, ipmi.CompletionCode, error) {}
	}
	if c.Together == nil {
		c.Together = func(work func()) { work() }
	}
	if c.Effect == nil {
		c.Effect = effectBy(c.Handler)
	}
	if c.Received == nil {
		c.Received = func(Frame) {}
	}
	if c.Stalled == nil {
		c.Stalled = func(bool) {}
	}
	return c
}

// effectBy asks a handler for the effects of its commands, or the table of package ipmi.
func effectBy(h ipmi.Handler) func(*ipmi.Request) ipmi.Effect {
	if teller, ok := h.(ipmi.EffectTeller); ok {
		return teller.Effect
	}
	return ipmi.EffectOf
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Engine is the requester and the responder on one bus. See the package's
// promises.
//
// One mutex guards the state below it and is never held over I/O, a handler, a callback
// or the observer. Three loops work on the state while Run lasts: receive reads and calls
// the handler, transmit writes, tick watches the deadlines. Where the transport can write
// without a wait, the goroutine that has something to write writes it, see unlock.
type Engine struct {
	config  Config
	epoch   time.Time
	counts  counters
	calls   sync.Pool     // of *Call, for Do, whose calls nobody keeps
	earlier chan struct{} // tells tick of a deadline before the one it sleeps for

	// The loop of its name holds each of these locks, except while it waits: for the
	// transport, for something to do, or for the next deadline. See Ping.
	receiving, transmitting, ticking sync.Mutex
	// Of receive.
	asked      ipmi.Request // what Config.Effect is shown
	frames     [][]byte
	takeFrames func() // receiveFrames, as a value that is made once

	mu         sync.Mutex
	address    ipmi.Address
	policy     RetryPolicy
	occupied   bool          // a Run has not returned
	running    bool          // calls and requests are taken
	batch      uint64        // of frames, counted as they are read
	readAt     time.Duration // when the last batch was read
	openedAt   time.Duration // when the transport was opened
	closedAt   time.Duration // when the transport before it was closed
	limits     i2c.Limits
	copyTime   time.Duration // how long after an answer its copy may come
	broadcasts map[commandKey]*broadcast
	spare      []*command // states that no command needs now
	deadlines  deadlines
	responders [128]*responder // by address >> 1
	outbox     outbox
	requests   requestTable
	handlers   slots
	patient    slots         // for requests with Patience
	callbacks  []callback    // to be called when the mutex is free
	unused     []callback    // memory for them
	unanswered int           // requests in handlers that no answer was given for
	deferrals  int           // requests that wait for Respond
	drained    chan struct{} // nil but in Drain; closed when no answer is owed
}

// New makes an engine. It is at rest until Run.
func New(config Config) *Engine {
	config = config.withDefaults()
	e := &Engine{
		config:  config,
		epoch:   time.Now(),
		earlier: make(chan struct{}, 1),
		address: config.Address,
		policy:  config.RetryPolicy,
	}
	e.broadcasts = make(map[commandKey]*broadcast)
	e.takeFrames = e.receiveFrames
	e.calls.New = func() any { return newCall() }
	e.deadlines.sleepsUntil = math.MaxInt64
	e.handlers.limit, e.patient.limit = config.MaxHandlers, config.MaxHandlers
	e.outbox.init(&e.mu)
	e.requests.init(config.DuplicateWindow)
	return e
}

// now is the time since the engine was made, on the monotonic clock: a jump of
// the wall clock moves no deadline.
func (e *Engine) now() time.Duration { return time.Since(e.epoch) }

var errRunning = errors.New("ipmb: engine is running already")

// Run serves the bus on t until ctx ends, Close is called on t, or t fails,
// and returns the cause. It closes t and ends all calls with ErrClosed. Requests that
// handlers have are answered when Run is called again, with another transport, when it has
// returned; until then a second Run returns at once and leaves its transport alone.
func (e *Engine) Run(ctx context.Context, t i2c.Transport) error {
	ctx, cancel := context.WithCancelCause(ctx)
	if err := e.open(t); err != nil {
		cancel(err)
		return err
	}
	var loops sync.WaitGroup
	loops.Go(func() { e.transmit(t) })
	loops.Go(func() { e.tick(ctx) })
	loops.Go(func() {
		<-ctx.Done()
		e.close()
		t.Close()
	})
	cancel(e.receive(t))
	loops.Wait()
	e.mu.Lock()
	e.occupied = false
	e.mu.Unlock()
	return context.Cause(ctx)
}

func (e *Engine) open(t i2c.Transport) error {
	limits := t.Limits()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.occupied {
		return errRunning
	}
	e.occupied, e.running = true, true
	e.limits = limits
	if own := e.config.MaxFrame; own != 0 {
		e.limits.MaxFrame = min(own, limits.MaxFrame)
	}
	e.copyTime = limits.Copies()
	e.openedAt = e.now()
	e.extendHolds(e.closedAt, e.openedAt)
	e.outbox.open(t)
	return nil
}

// close ends everything that waits, before the transport's Close waits for a
// write that is in the kernel.
func (e *Engine) close() {
	e.mu.Lock()
	defer e.unlock()
	e.running = false
	e.closedAt = e.now()
	for _, r := range e.responders {
		if r != nil {
			e.endAll(r, func(*Call) bool { return true }, ErrClosed)
		}
	}
	e.outbox.close(e)
	e.checkDrained()
}

// callback is a function that is called when the mutex is free: done, with the end of a
// call, or call if done is nil.
type callback struct {
	done     func(ipmi.Response, error)
	response ipmi.Response
	err      error
	call     func()
}

func (c callback) run() {
	if c.done != nil {
		c.done(c.response, c.err)
		return
	}
	c.call()
}

// later calls f when the mutex is free.
func (e *Engine) later(f func()) { e.callbacks = append(e.callbacks, callback{call: f}) }

// unlock writes what the transport takes at once, unlocks the mutex, and then calls the
// callbacks, in order. Each goroutine calls the callbacks that it has caused itself, so
// that answers reach their callers in the order in which the bus delivered them.
func (e *Engine) unlock() {
	e.writeDirect()
	for len(e.callbacks) > 0 {
		callbacks := e.callbacks
		e.callbacks, e.unused = e.unused, nil
		e.mu.Unlock()
		for _, c := range callbacks {
			c.run()
		}
		clear(callbacks)
		e.mu.Lock()
		e.unused = callbacks[:0]
	}
	e.mu.Unlock()
}

// runCallbacks calls what is to be called, and has the mutex again when it returns.
func (e *Engine) runCallbacks() {
	if len(e.callbacks) > 0 {
		e.unlock()
		e.mu.Lock()
	}
}

// setAside keeps the callbacks of a goroutine from others that have the mutex while it
// writes: what it has read is valid for its own calls only, and in their order.
func (e *Engine) setAside() []callback {
	if len(e.callbacks) == 0 {
		return nil
	}
	mine := e.callbacks
	e.callbacks, e.unused = e.unused, nil
	return mine
}

// takeBack ends what setAside began.
func (e *Engine) takeBack(mine []callback) {
	if len(mine) == 0 {
		return
	}
	others := e.callbacks
	e.callbacks = append(mine, others...)
	clear(others)
	e.unused = others[:0]
}

// Drain takes no more requests from the bus and waits until those taken are
// answered, at most until ctx ends; those that were deferred it answers CEh.
// Calls go on, and so does Run.
func (e *Engine) Drain(ctx context.Context) {
	e.mu.Lock()
	if e.drained == nil {
		e.drained = make(chan struct{})
		e.abandon()
	}
	drained := e.drained
	e.checkDrained()
	e.unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

// checkDrained is to be called when an answer has been written or given up.
func (e *Engine) checkDrained() {
	if e.drained == nil || e.running && (e.unanswered > 0 || e.outbox.pending > 0) {
		return
	}
	select {
	case <-e.drained:
	default:
		close(e.drained)
	}
}

// Address is our own address.
func (e *Engine) Address() ipmi.Address {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.address
}

// SetAddress changes our own address; calls that are under way keep the
// address they were sent from.
func (e *Engine) SetAddress(a ipmi.Address) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.address = a
}

// RetryPolicy is the policy of calls that bring none.
func (e *Engine) RetryPolicy() RetryPolicy {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.policy
}

// SetRetryPolicy changes the policy of calls that bring none, from the next call
// on. What p leaves open gets its default.
func (e *Engine) SetRetryPolicy(p RetryPolicy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.policy = p.Or(RetryPolicy{})
}

// responder is the state kept for an address, made at its first use.
func (e *Engine) responder(a ipmi.Address) *responder {
	r := e.responders[a>>1]
	if r == nil {
		r = newResponder()
		e.responders[a>>1] = r
	}
	return r
}

// MaxFrame is the longest frame that can be sent, in bytes; 0 before the first
// Run.
func (e *Engine) MaxFrame() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.limits.MaxFrame
}
