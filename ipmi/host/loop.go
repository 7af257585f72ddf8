package host

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"ipmbd/ipmi"
)

const (
	// maxQueued is how many requests wait for those before them. Hosts have one
	// outstanding, on SSIF a few at their start; what comes beyond is dropped.
	maxQueued = 16
	// maxLate is how many handlers may be late before requests are answered busy.
	maxLate = 8
	// relief is how long the one who reads may be with a handler: then somebody
	// else reads.
	relief = 5 * time.Millisecond
	// yieldEvery is how often the one who serves directly gives way. Who has not for
	// 10 ms is made to by the runtime's monitor, which is then awake for long.
	yieldEvery = 5 * time.Millisecond
)

// Config describes a Loop.
type Config struct {
	// Interface, Channel and Host go into each request handed to the handler.
	Interface string
	Channel   ipmi.Channel
	Host      int

	Handler ipmi.Handler
	// Attention is what the host is to be shown now. It must not block; nil is
	// never any.
	Attention func() Attention
}

// Loop serves one system interface, by one Port after the other.
type Loop struct {
	config  Config
	changed chan struct{}
	jobs    chan job
	counts  counters

	mu    sync.Mutex
	port  Port              // that is served, nil for none
	ended chan struct{}     // closed when it is no more
	past  map[string]uint64 // counters of the Ports before it
}

// job is something to be done with the Port between two answers.
type job struct {
	do   func(Port) error
	done chan<- error // has room
}

// NewLoop makes a loop. It serves nothing until Run.
func NewLoop(config Config) *Loop {
	if config.Attention == nil {
		config.Attention = func() Attention { return Attention{} }
	}
	return &Loop{config: config, changed: make(chan struct{}, 1), jobs: make(chan job), past: make(map[string]uint64)}
}

// AttentionChanged makes a Loop that runs look at Config.Attention. It does not
// block.
func (l *Loop) AttentionChanged() {
	select {
	case l.changed <- struct{}{}:
	default: // It will look already.
	}
}

// Do has something done with the Port, between two answers. ErrUnsupported also
// means that there is no Port before ctx ends.
func (l *Loop) Do(ctx context.Context, do func(Port) error) error {
	done := make(chan error, 1)
	select {
	case l.jobs <- job{do, done}:
		return <-done
	case <-ctx.Done():
		return fmt.Errorf("%w: no host is connected", ErrUnsupported)
	}
}

// Pulse returns when the loop has had a turn; where it hangs, so does Pulse, until
// ctx ends. Without a Port there is nothing that could hang.
func (l *Loop) Pulse(ctx context.Context) {
	l.mu.Lock()
	port, ended := l.port, l.ended
	l.mu.Unlock()
	if port == nil {
		return
	}
	done := make(chan error, 1)
	select {
	case l.jobs <- job{func(Port) error { return nil }, done}:
	case <-ended:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Run serves a Port until it fails or ctx ends, closes it, and returns the
// cause.
func (l *Loop) Run(ctx context.Context, p Port) error {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &run{
		Loop:     l,
		port:     p,
		limits:   p.Limits(),
		requests: make(chan *pending, maxQueued),
		answers:  make(chan *pending, maxLate+1), // all that may be under way
		deadline: time.NewTimer(0),
		watch:    time.NewTimer(0),
	}
	defer r.deadline.Stop()
	defer r.watch.Stop()
	l.setPort(p)
	defer l.setPort(nil)
	var loops sync.WaitGroup
	r.startReader = func() {
		loops.Go(func() {
			if err := r.read(ctx); err != nil {
				cancel(err)
			}
		})
	}
	loops.Go(func() {
		<-ctx.Done()
		p.Close()
	})
	cancel(r.serve(ctx))
	loops.Wait()
	r.handlers.Wait()
	return context.Cause(ctx)
}

// run is a Loop on a Port.
type run struct {
	*Loop
	port        Port
	limits      Limits
	requests    chan *pending
	answers     chan *pending
	handlers    sync.WaitGroup
	startReader func()
	deadline    *time.Timer // of current, unless it is direct
	watch       *time.Timer // for relief

	// mu is of who serves and who reads, and makes one of looking at what follows
	// and writing to the Port. A Port writes in bounded time.
	mu       sync.Mutex
	current  *pending // being served, nil for none
	queued   int      // requests that are to be served after it
	watching bool     // watch runs
	late     int      // handlers that were answered for
	told     Attention
}

// pending is a request on its way to its answer. The host counts its time from
// when it was read.
type pending struct {
	Request
	deadline time.Time
	response ipmi.Response
	direct   bool // served by the one who reads, under run.mu
}

// read takes requests off the Port until that fails, or until somebody else does
// so; then it returns nil.
func (r *run) read(ctx context.Context) error {
	var yielded time.Time
	for {
		req, err := r.port.Read()
		if err != nil {
			return err
		}
		req.Data = slices.Clone(req.Data)
		now := time.Now()
		p := &pending{Request: req, deadline: now.Add(r.limits.Deadline)}
		if !r.take(p) {
			continue
		}
		if relieved, err := r.serveDirect(ctx, p); relieved || err != nil {
			return err
		}
		if now.Sub(yielded) > yieldEvery {
			yielded = now
			runtime.Gosched()
		}
	}
}

// take queues a request, or reports that it can be served at once by the one who
// has read it.
func (r *run) take(p *pending) (direct bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limits.Direct && r.current == nil && r.queued == 0 && r.late < maxLate {
		r.counts.add(requestsReceived)
		r.current, p.direct = p, true
		if !r.watching {
			r.watching = true
			r.watch.Reset(relief)
		}
		return true
	}
	select {
	case r.requests <- p:
		r.queued++
		r.counts.add(requestsReceived)
	default:
		r.counts.add(requestsDropped)
	}
	return false
}

// serveDirect serves a request without a change of the goroutine, which takes
// longer than most handlers. relieved: somebody else reads now.
func (r *run) serveDirect(ctx context.Context, p *pending) (relieved bool, err error) {
	p.response = r.handle(ctx, p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !p.direct {
		r.answers <- p // has room
		return true, nil
	}
	r.current = nil
	return false, r.answer(p, p.response)
}

// relieve has somebody else read when the one who reads is with a handler for
// long. That request is then as others.
func (r *run) relieve() {
	r.watching = false
	p := r.current
	if p == nil || !p.direct {
		return
	}
	since := r.limits.Deadline - time.Until(p.deadline)
	if since < relief {
		r.watching = true
		r.watch.Reset(relief - since)
		return
	}
	p.direct = false
	r.deadline.Reset(time.Until(p.deadline))
	r.startReader()
}

// serve shows the host the attention, and then answers the requests in order until
// ctx ends or the Port fails.
func (r *run) serve(ctx context.Context) error {
	err := r.locked(func() error { return r.tell(true) })
	if err == nil {
		r.startReader() // No answer comes before that.
	}
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case p := <-r.waiting():
			err = r.locked(func() error { return r.begin(ctx, p) })
		case p := <-r.answers:
			err = r.locked(func() error { return r.finish(p) })
		case <-r.deadline.C:
			err = r.locked(r.expire)
		case <-r.watch.C:
			err = r.locked(func() error { r.relieve(); return nil })
		case <-r.changed:
			err = r.locked(func() error { return r.tell(false) })
		case j := <-r.jobs:
			err = r.locked(func() error { j.done <- j.do(r.port); return nil })
		}
	}
	return err
}

func (r *run) locked(do func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return do()
}

// waiting is where the next request comes from: nowhere while one is being
// served. While one is served directly nothing is queued.
func (r *run) waiting() <-chan *pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil && !r.current.direct {
		return nil
	}
	return r.requests
}

// begin hands a request to the handler.
func (r *run) begin(ctx context.Context, p *pending) error {
	r.queued--
	if !time.Now().Before(p.deadline) {
		r.counts.add(handlersTooSlow)
		return r.answer(p, ipmi.Response{Code: ipmi.CodeTimeout})
	}
	if r.late >= maxLate {
		r.counts.add(handlersBusy)
		return r.answer(p, ipmi.Response{Code: ipmi.CodeNodeBusy})
	}
	r.current = p
	r.deadline.Reset(time.Until(p.deadline))
	r.handlers.Go(func() {
		p.response = r.handle(ctx, p)
		r.answers <- p
	})
	return nil
}

// handle is the answer of the handler, or what its error says.
func (r *run) handle(ctx context.Context, in *pending) (response ipmi.Response) {
	timed := &deadlineContext{Context: ctx, deadline: in.deadline}
	defer timed.end()
	req := ipmi.Request{
		Interface: r.config.Interface, Channel: r.config.Channel, Host: r.config.Host,
		NetFn: in.NetFn, LUN: in.LUN, Command: in.Command, Data: in.Data,
	}
	defer func() {
		if recover() != nil {
			r.counts.add(handlersFailed)
			response = ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrPanic)}
		}
	}()
	response, err := r.config.Handler.ServeIPMI(timed, &req)
	if err != nil {
		if !ipmi.NotServed(err) {
			r.counts.add(handlersFailed)
		}
		return ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	return response
}

// finish answers a request that was served, unless its deadline has done so.
func (r *run) finish(p *pending) error {
	if p != r.current {
		r.late--
		r.counts.add(answersLate)
		return nil
	}
	r.current = nil
	r.deadline.Stop()
	return r.answer(p, p.response)
}

// expire answers for a handler that has missed the deadline.
func (r *run) expire() error {
	p := r.current
	if p == nil || p.direct {
		return nil
	}
	r.current = nil
	r.late++
	r.counts.add(handlersTooSlow)
	return r.answer(p, ipmi.Response{Code: ipmi.CodeTimeout})
}

// answer shows the host what waits for it now, and then writes the answer.
func (r *run) answer(p *pending, response ipmi.Response) error {
	if err := r.tell(false); err != nil {
		return err
	}
	if len(response.Data) > r.limits.MaxData {
		response = ipmi.Response{Code: ipmi.CodeOf(ipmi.ErrAnswerTooLong)}
	}
	r.counts.add(answersWritten)
	return r.port.Write(Response{
		Tag: p.Tag, NetFn: p.NetFn.Response(), LUN: p.LUN, Command: p.Command, Code: response.Code, Data: response.Data,
	})
}

// tell shows the host whether messages wait, if that has changed or it must be
// shown.
func (r *run) tell(always bool) error {
	now := r.config.Attention()
	if now == r.told && !always {
		return nil
	}
	r.told = now
	return r.port.SetAttention(now)
}
