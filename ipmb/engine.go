package ipmb

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"ipmbd/i2c"
	"ipmbd/internal/counters"
	"ipmbd/ipmi"
)

// Engine is the requester and the responder on one bus. See the package's promises.
//
// One mutex guards the state below it. It is never held over I/O, a handler or a callback. Three
// loops work on the state while Run lasts: readFrames reads and calls the handler, writeFrames
// writes, and watchDeadlines expires deadlines. If the transport can write without a wait, the
// goroutine that has a frame to write writes it itself; see unlock.
type Engine struct {
	config  Config
	epoch   time.Time
	counts  counters.Set[counter]
	earlier chan struct{} // wakes watchDeadlines before the deadline that it sleeps for

	// Each loop holds its lock, except while it waits for the transport, work or a deadline.
	reading, writing, watching sync.Mutex

	// Used by readFrames alone.
	asked        ipmi.Request // the argument of Config.Effect
	frames       [][]byte
	handleFrames func() // receiveFrames as a value, made once

	mu          sync.Mutex
	address     ipmi.Address
	retryPolicy RetryPolicy
	occupied    bool          // a Run has not returned
	running     bool          // the engine accepts calls and requests
	batch       uint64        // number of the batch of frames that was read last
	readAt      time.Duration // when it was read
	openedAt    time.Duration // when the transport was opened
	closedAt    time.Duration // when the transport before it was closed
	limits      i2c.Limits
	copyTime    time.Duration // how long after a response its copy may arrive
	broadcasts  map[commandKey]*broadcast
	spare       []*commandState // for reuse
	deadlines   deadlines
	sleepsUntil time.Duration   // the deadline for which watchDeadlines sleeps
	responders  [128]*responder // by address >> 1
	outbox      outbox
	requests    requestTable
	handlers    slots
	bridging    slots         // for requests with a BridgeTimeout
	callbacks   []callback    // unlock calls them
	unused      []callback    // memory for them
	unanswered  int           // requests in handlers that have no response
	deferrals   int           // requests that wait for StartRespond
	drained     chan struct{} // closed when no request lacks its response; nil before Drain
}

// New makes an engine. It does nothing until Run.
func New(config Config) *Engine {
	config = config.withDefaults()
	e := &Engine{
		config: config, epoch: time.Now(), counts: counters.New[counter](counterNames),
		earlier: make(chan struct{}, 1), broadcasts: make(map[commandKey]*broadcast), sleepsUntil: math.MaxInt64,
	}
	e.handleFrames = e.receiveFrames
	e.outbox.init(&e.mu)
	e.requests.init()
	e.applyConfig()
	return e
}

// Renew gives an engine other settings, as New does, between two Runs. The engine keeps its
// knowledge of the bus: the sequence numbers that are held, and the responses kept for repeats.
// Renew fails while a Run has not returned.
func (e *Engine) Renew(config Config) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.occupied {
		return errRunning
	}
	e.config = config.withDefaults()
	e.applyConfig()
	e.drained = nil
	e.counts.Reset()
	return nil
}

func (e *Engine) applyConfig() {
	e.address, e.retryPolicy = e.config.Address, e.config.RetryPolicy
	e.handlers.limit, e.bridging.limit = e.config.MaxHandlers, e.config.MaxHandlers
	e.requests.window = e.config.DuplicateWindow
}

// now is the time since the engine was made, on the monotonic clock.
func (e *Engine) now() time.Duration { return time.Since(e.epoch) }

var errRunning = errors.New("ipmb: engine is running already")

// Run serves the bus on t until ctx ends, Close is called on t, or t fails, and returns the cause.
// It closes t and ends all calls with ErrClosed. The requests that handlers then have are answered
// when Run is called again, with another transport. While a Run has not returned, a second one
// returns an error at once and does not touch its transport.
func (e *Engine) Run(ctx context.Context, t i2c.Transport) error {
	ctx, cancel := context.WithCancelCause(ctx)
	if err := e.open(t); err != nil {
		cancel(err)
		return err
	}
	var loops sync.WaitGroup
	loops.Go(func() { e.writeFrames(t) })
	loops.Go(func() { e.watchDeadlines(ctx) })
	loops.Go(func() {
		<-ctx.Done()
		e.close()
		t.Close()
	})
	cancel(e.readFrames(t))
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

// close ends everything that waits. The transport's Close then waits for a write in the kernel.
func (e *Engine) close() {
	e.mu.Lock()
	defer e.unlock()
	e.running = false
	e.closedAt = e.now()
	e.endCalls(func(*Call) bool { return true }, ErrClosed)
	e.outbox.isOpen = false
	e.dropDeliveries(func(*delivery) bool { return true }, ErrClosed)
	e.outbox.work.Broadcast()
	e.checkDrained()
}

// callback is a function that unlock calls: done, with the end of a call, or call if done is nil.
type callback struct {
	done     func(ipmi.Response, error)
	response ipmi.Response
	err      error
	call     func()
}

// callLater has unlock call f.
func (e *Engine) callLater(f func()) { e.callbacks = append(e.callbacks, callback{call: f}) }

// unlock unlocks the mutex. First it calls the callbacks and writes directly, without the mutex,
// until nothing is left to do. Each goroutine calls the callbacks that it caused, so that
// responses reach their callers in the order in which the bus delivered them.
func (e *Engine) unlock() {
	for written := 0; ; {
		callbacks := e.callbacks
		switch {
		case len(callbacks) > 0:
			e.callbacks, e.unused = e.unused, nil
			e.mu.Unlock()
			for _, c := range callbacks {
				if c.done != nil {
					c.done(c.response, c.err)
				} else {
					c.call()
				}
			}
			clear(callbacks)
			e.mu.Lock()
			e.unused = callbacks[:0]
		case e.beginDirectWrite(written):
			written++
			direct, frame := e.outbox.direct, e.outbox.frame
			e.mu.Unlock()
			done, err := direct.TryWriteFrame(frame)
			if done {
				e.config.Wrote(err)
			}
			e.mu.Lock()
			e.endDirectWrite(done, err)
		case len(e.callbacks) == 0: // beginDirectWrite may have added some
			e.mu.Unlock()
			return
		}
	}
}

// Ping returns when the engine's lock is free, and each loop waits for something or is about to
// wait. If a loop hangs, Ping does not return. It wakes no loop.
//
// A loop that waits for the kernel does not hang, neither in a read nor in a write; see
// Config.Stalled. An engine at rest cannot hang.
func (e *Engine) Ping() {
	for _, busy := range []sync.Locker{&e.reading, &e.writing, &e.watching, &e.mu} {
		waitForLock(busy)
	}
}

func waitForLock(l sync.Locker) {
	l.Lock()
	defer l.Unlock()
}

// Drain accepts no more requests from the bus and waits until the accepted ones are answered, at
// most until ctx ends. It answers CEh to the requests that wait for StartRespond. Calls and Run go
// on.
func (e *Engine) Drain(ctx context.Context) {
	e.mu.Lock()
	if e.drained == nil {
		e.drained = make(chan struct{})
		for _, n := range e.requests.deferredRequests() {
			e.abandonRequest(n)
		}
	}
	drained := e.drained
	e.checkDrained()
	e.unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

// checkDrained ends Drain if no request lacks its response. Each response that ends calls it.
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

// Address returns our own address.
func (e *Engine) Address() ipmi.Address {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.address
}

// SetAddress changes our own address. Calls in progress keep the address they were sent from.
func (e *Engine) SetAddress(a ipmi.Address) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.address = a
}

// RetryPolicy returns the policy of calls without a policy of their own.
func (e *Engine) RetryPolicy() RetryPolicy {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.retryPolicy
}

// SetRetryPolicy changes the policy of further calls without their own. Zero fields get defaults.
func (e *Engine) SetRetryPolicy(p RetryPolicy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retryPolicy = p.Or(RetryPolicy{})
}

// MaxFrame returns the longest frame that can be sent, in bytes. It is 0 before the first Run.
func (e *Engine) MaxFrame() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.limits.MaxFrame
}
