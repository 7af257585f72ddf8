package host

import (
	"context"
	"fmt"
	"runtime"
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
	// yieldEvery is how often the goroutine that reads gives way. If it does not for 10 ms,
	// the runtime's monitor makes it, and stays awake for long after that.
	yieldEvery = 5 * time.Millisecond
)

// Config describes a Loop.
type Config struct {
	// Interface, Channel and Host go into each request handed to the handler.
	Interface string
	Channel   ipmi.Channel
	Host      int

	Handler ipmi.Handler
	// Served is told how each request ended that the handler had: the completion code of
	// the answer, and the error that it stands for. It must not block; nil for nobody.
	Served func(req *ipmi.Request, code ipmi.CompletionCode, err error)
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
	port  Port              // being served, nil for none
	ended chan struct{}     // closed when port is no longer served
	past  map[string]uint64 // counters of the Ports before port
}

// job is something to be done with the Port between two answers.
type job struct {
	do   func(Port) error
	done chan<- error // has room
}

var errEnded = fmt.Errorf("%w: the host has gone", ErrUnsupported)

// NewLoop makes a loop. It serves nothing until Run.
func NewLoop(config Config) *Loop {
	if config.Attention == nil {
		config.Attention = func() Attention { return Attention{} }
	}
	if config.Served == nil {
		config.Served = func(*ipmi.Request, ipmi.CompletionCode, error) {}
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

// Pulse returns when the loop has had a turn. If the loop hangs, Pulse returns when
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
// cause. Answers that handlers have later reach nobody.
func (l *Loop) Run(ctx context.Context, p Port) error {
	ctx, cancel := context.WithCancelCause(ctx)
	r := newRun(l, p, cancel)
	defer r.end()
	l.setPort(p)
	defer l.setPort(nil)
	var loops sync.WaitGroup
	loops.Go(func() {
		<-ctx.Done()
		p.Close()
	})
	if err := r.greet(); err != nil {
		cancel(err)
	}
	loops.Go(func() { cancel(r.read()) }) // No answer comes before the greeting.
	r.serve(ctx)
	loops.Wait()
	return context.Cause(ctx)
}

// run is a Loop on a Port. Two goroutines work for it: one reads requests and hands them
// to the handler; the other, in serve, does the work that has to wait. The goroutine that
// brings an answer writes it, if the Port can do that without a wait.
type run struct {
	*Loop
	port     Port
	direct   DirectWriter // the Port, if it can write without a wait
	limits   Limits
	cancel   context.CancelCauseFunc
	work     chan struct{} // wakes serve
	deadline *time.Timer   // of the request that is being served

	// mu guards the state below. It is not held over the handler, the Port or a function
	// of Config.
	mu      sync.Mutex
	stopped bool
	current *pending   // being served or answered, nil for none
	queue   []*pending // to be served after it
	late    int        // handlers that were answered for
	armed   bool       // deadline runs

	answer     *pending      // current, when its answer is to be written
	response   ipmi.Response // that answer
	room       []byte        // memory for its data
	show       bool          // the attention may have changed
	tasks      []job
	writing    bool // a goroutine uses the Port
	unfinished bool // the Port has part of an answer left

	told Attention // what the host is shown; used by the goroutine that is writing
}

func newRun(l *Loop, p Port, cancel context.CancelCauseFunc) *run {
	r := &run{Loop: l, port: p, limits: p.Limits(), cancel: cancel, work: make(chan struct{}, 1), deadline: time.NewTimer(time.Hour)}
	r.deadline.Stop()
	r.direct, _ = p.(DirectWriter)
	return r
}

// greet shows the host the attention before anything else.
func (r *run) greet() error {
	r.told = r.config.Attention()
	return r.port.SetAttention(r.told)
}

// read takes requests off the Port until that fails.
func (r *run) read() error {
	var yielded time.Time
	for {
		req, err := r.port.Read()
		if err != nil {
			return err
		}
		now := time.Now()
		if p := newPending(r, req, now); r.take(p) {
			r.begin(p, now)
		}
		if now.Sub(yielded) > yieldEvery {
			yielded = now
			runtime.Gosched()
		}
	}
}

// serve does the work that has to wait, in turn, until ctx ends.
func (r *run) serve(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-r.work:
		case <-r.deadline.C:
			r.expire()
		case <-r.changed:
			r.showLater()
		case j := <-r.jobs:
			r.addTask(j)
		}
		r.write()
		for p := r.next(); p != nil; p = r.next() {
			r.begin(p, time.Now())
			r.write()
		}
	}
}

// wake makes serve look for something to do.
func (r *run) wake() {
	select {
	case r.work <- struct{}{}:
	default: // It has been woken already.
	}
}

// end drops what is left.
func (r *run) end() {
	r.deadline.Stop()
	r.mu.Lock()
	r.stopped = true
	tasks := r.tasks
	r.tasks = nil
	r.mu.Unlock()
	for _, j := range tasks {
		j.done <- errEnded
	}
}
