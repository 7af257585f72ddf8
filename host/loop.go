package host

import (
	"context"
	"fmt"
	"sync"

	"ipmbd/internal/counters"
	"ipmbd/ipmi"
)

// Config describes a Loop.
type Config struct {
	// Interface, Channel and Host go into each request that the handler gets.
	Interface string
	Channel   ipmi.Channel
	Host      int

	Handler ipmi.Handler
	// Served is told how each request ended that the handler had: the completion code of the
	// response, and the error that the code stands for. It must not block and may be nil.
	Served func(req *ipmi.Request, code ipmi.CompletionCode, err error)
	// Attention returns what the host is to be shown now. It must not block; nil stands for
	// no attention.
	Attention func() ipmi.Attention
}

// Loop serves one system interface, by one Port after the other.
type Loop struct {
	config  Config
	changed chan struct{} // the attention may have changed
	tasks   chan task
	counts  counters.Set[counter]

	mu    sync.Mutex
	port  Port              // being served, nil for none
	ended chan struct{}     // closed when port is no longer served
	past  map[string]uint64 // counters of the Ports before port
}

// task is something to be done with the Port between two responses; that of a Ping is nothing.
type task struct {
	do   func(Port) error
	done chan<- error // has room
}

// NewLoop makes a loop. It serves nothing until Run.
func NewLoop(config Config) *Loop {
	if config.Attention == nil {
		config.Attention = func() ipmi.Attention { return ipmi.Attention{} }
	}
	if config.Served == nil {
		config.Served = func(*ipmi.Request, ipmi.CompletionCode, error) {}
	}
	return &Loop{
		config:  config,
		changed: make(chan struct{}, 1), tasks: make(chan task),
		counts: counters.New[counter](counterNames), past: make(map[string]uint64),
	}
}

// AttentionChanged makes a Loop that runs look at Config.Attention. It does not block.
func (l *Loop) AttentionChanged() {
	select {
	case l.changed <- struct{}{}:
	default: // It will look already.
	}
}

// Do calls a function with the Port, between two responses, and returns its error. It returns
// ErrUnsupported if there is no Port before ctx ends.
func (l *Loop) Do(ctx context.Context, do func(Port) error) error {
	done := make(chan error, 1)
	select {
	case l.tasks <- task{do, done}:
		return <-done
	case <-ctx.Done():
		return fmt.Errorf("%w: no host is connected", ErrUnsupported)
	}
}

// Ping returns when the loop has had a turn. If the loop hangs, Ping returns when ctx ends.
// Without a Port there is nothing that could hang.
func (l *Loop) Ping(ctx context.Context) {
	l.mu.Lock()
	port, ended := l.port, l.ended
	l.mu.Unlock()
	if port == nil {
		return
	}
	select {
	case l.tasks <- task{}:
	case <-ended:
	case <-ctx.Done():
	}
}

// Run serves a Port until it fails or ctx ends, closes it, and returns the cause. Responses that
// handlers have later are dropped.
func (l *Loop) Run(ctx context.Context, p Port) error {
	ctx, cancel := context.WithCancelCause(ctx)
	r := newRun(l, p, cancel)
	defer r.dropReplies()
	l.setPort(p)
	defer l.setPort(nil)
	var loops sync.WaitGroup
	loops.Go(func() {
		<-ctx.Done()
		p.Close()
	})
	// The host is shown the attention before anything else.
	r.shown = l.config.Attention()
	if err := p.SetAttention(r.shown); err != nil {
		cancel(err)
	}
	loops.Go(func() { cancel(r.readRequests()) })
	r.serve(ctx)
	loops.Wait()
	return context.Cause(ctx)
}

// setPort sets the Port that is served, nil for none, and keeps the counters of the one before.
func (l *Loop) setPort(p Port) {
	l.mu.Lock()
	defer l.mu.Unlock()
	addCounters(l.past, l.port)
	l.port = p
	if p != nil {
		l.ended = make(chan struct{})
	} else {
		close(l.ended)
	}
}
