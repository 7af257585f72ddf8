package host

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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
	// Deadline takes the place of that in the Limits of the Port, if it is not 0.
	Deadline time.Duration
	// Served is called when a request that the handler had has ended, with the completion code of
	// the response, and the error that the code stands for. It must not block and may be nil.
	Served func(req *ipmi.Request, code ipmi.CompletionCode, err error)
	// Attention returns the attention that the host should see now. It must not block; nil stands
	// for no attention.
	Attention func() ipmi.Attention
	// Ending is called before a Port is closed, which may take long. It must not block and may be
	// nil.
	Ending func()
}

// Loop serves one system interface, by one Port after the other.
type Loop struct {
	config  Config
	changed chan struct{} // the attention may have changed
	tasks   chan task

	counts       counters.Set[counter]
	deviceCounts counters.Set[deviceCounter]
	hasDevice    atomic.Bool // a Port at a device was served

	mu    sync.Mutex
	ended chan struct{} // closed when no Port is served
}

// task is something to be done with the Port between two responses; a Ping does nothing.
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
	if config.Ending == nil {
		config.Ending = func() {}
	}
	l := &Loop{
		config: config, changed: make(chan struct{}, 1), tasks: make(chan task), ended: make(chan struct{}),
		counts: counters.New[counter](counterNames), deviceCounts: counters.New[deviceCounter](deviceCounterNames),
	}
	close(l.ended)
	return l
}

// AttentionChanged makes a Loop that runs look at Config.Attention. It does not block.
func (l *Loop) AttentionChanged() {
	select {
	case l.changed <- struct{}{}:
	default: // It will look already.
	}
}

// Do calls a function with the Port, between two responses, and returns its error, or that of ctx.
// It returns ErrUnsupported if there is no Port before ctx ends.
func (l *Loop) Do(ctx context.Context, do func(Port) error) error {
	done := make(chan error, 1)
	select {
	case l.tasks <- task{do, done}:
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	case <-ctx.Done():
		return fmt.Errorf("%w: no host is connected", ErrUnsupported)
	}
}

// Ping returns when the loop has had a turn. If the loop hangs, Ping returns when ctx ends.
// Without a Port nothing can hang.
func (l *Loop) Ping(ctx context.Context) {
	l.mu.Lock()
	ended := l.ended
	l.mu.Unlock()
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
	ended := make(chan struct{})
	defer close(ended)
	l.mu.Lock()
	l.ended = ended
	l.mu.Unlock()
	if d, ok := p.(interface {
		countIn(counters.Set[deviceCounter])
	}); ok {
		d.countIn(l.deviceCounts)
		l.hasDevice.Store(true)
	}
	var loops sync.WaitGroup
	loops.Go(func() {
		<-ctx.Done()
		l.config.Ending()
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
