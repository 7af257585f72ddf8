package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ipmbd/ipmb"
)

const (
	// FirstRetry and LastRetry bound the time between two attempts to open a device. It doubles
	// with each: a device that comes and goes is back soon, and an absent one costs nothing.
	FirstRetry = 100 * time.Millisecond
	LastRetry  = 5 * time.Second
	// endTime is how long a device may take to end before it counts as one that hangs.
	endTime = 2 * time.Second
	// settleTime is how long a device must be served for its next retry to come as soon as the
	// first.
	settleTime = 10 * time.Second
)

// A Lifecycle opens and serves a Device. One goroutine at a time calls its methods.
type Device interface {
	// Connect opens the device.
	Connect(ctx context.Context) error
	// Serve serves the open device until ctx ends or the device fails, and closes it. It calls
	// Lifecycle.Serving when it takes requests, and Lifecycle.Ending when it takes no more. The
	// error is why the device has failed.
	Serve(ctx context.Context) error
	// Close is called at the end of Run: it closes the device, if that is open.
	Close(ctx context.Context)
	// Watch watches the place of the device, where a change since the last Connect began may
	// mean that the device can be opened. If it returns an error, the Lifecycle tries to open the
	// device less often.
	Watch() (Watch, error)
}

// Watch has the methods of i2c.Watch that a Lifecycle needs.
type Watch interface {
	// Wait waits for the next change.
	Wait(ctx context.Context) error
	Close() error
}

// Lifecycle opens a device, serves it until it fails, and opens it again: when something changes
// at its place, and at growing intervals. It keeps the state of the device and the reason for it.
type Lifecycle struct {
	device  Device
	changed func(State, string)
	begun   chan struct{}
	begin   func() // closes begun, once
	jobs    chan job
	ending  chan struct{} // Ending was called; has room
	over    chan struct{} // closed when Run has returned

	// Of Open and, from then on, of Run.
	tried     bool   // to open the device
	open      bool   // the device is open
	performed func() // wakes the caller of Change when its job is done; may be nil

	// Of Wrote.
	stuck      int       // failed writes in a row
	stuckSince time.Time // when the first of them ended

	mu        sync.Mutex
	condition condition
}

// job is a change of the device.
type job struct {
	reason string // why the device is Down meanwhile
	do     func(ctx context.Context) error
	done   chan<- error // has room
}

// NewLifecycle makes the life cycle of a device that is not open. It calls begin once, when the
// device takes requests or is known to be Down, and changed after each change of state or reason.
// It calls neither with a lock held, and changed must not block.
func NewLifecycle(device Device, begin func(), changed func(state State, reason string)) *Lifecycle {
	l := &Lifecycle{
		device: device, changed: changed, begun: make(chan struct{}),
		jobs: make(chan job), ending: make(chan struct{}, 1), over: make(chan struct{}),
		condition: condition{down: "not opened yet"},
	}
	l.begin = sync.OnceFunc(func() { begin(); close(l.begun) })
	return l
}

// Open opens the device before Run, so that the state shows a fault before Run reads the device.
func (l *Lifecycle) Open(ctx context.Context) {
	if l.Reopen(ctx) == nil {
		l.update(func(c *condition) { c.opened("") })
	}
}

// Reopen opens the device, for jobs. An error also becomes the reason of the state.
func (l *Lifecycle) Reopen(ctx context.Context) error {
	l.tried, l.stuck = true, 0
	err := l.device.Connect(ctx)
	l.open = err == nil
	if err != nil {
		l.SetDown(err.Error())
	}
	return err
}

// hangs is the reason of a device that does not end.
var hangs = fmt.Sprintf("the kernel has not let go of the device for %v", endTime)

// Run serves the device, and opens it again whenever it fails, until ctx ends. It is called once.
// If a device hangs at its end, Run leaves it to the kernel after 2 s.
func (l *Lifecycle) Run(ctx context.Context) {
	defer close(l.over)
	defer l.begin() // Requests that still wait are refused then.
	if !l.tried && ctx.Err() == nil {
		_ = l.Reopen(ctx)
	}
	var retry Backoff
	for ctx.Err() == nil {
		begin := time.Now()
		if l.open && !l.serveDevice(ctx) {
			return
		}
		if !l.open && ctx.Err() == nil {
			l.begin()
			l.awaitDevice(ctx, &retry, retry.After(time.Since(begin)))
		}
	}
	l.device.Close(ctx)
	l.open = false
	l.endJob()
}

// serveDevice serves the device until it fails, or there is a job, which it does. It returns false
// if ctx has ended and the device hangs.
func (l *Lifecycle) serveDevice(ctx context.Context) (ended bool) {
	select {
	case <-l.ending: // of the device before
	default:
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- l.device.Serve(running) }()
	var wanted job
	select {
	case err := <-served:
		served <- err
	case <-l.ending:
	case <-ctx.Done():
	case wanted = <-l.jobs:
		stop()
	}
	err, ended := l.awaitEnd(ctx, served, &wanted)
	if !ended {
		l.endJob()
		return false
	}
	l.open = false
	switch {
	case wanted.do != nil:
		l.doJob(ctx, wanted)
	case ctx.Err() == nil && !errors.Is(err, context.Canceled):
		l.SetDown(err.Error())
	}
	return true
}

// awaitEnd waits until Serve has returned. While the device hangs it is Down, and jobs are refused,
// wanted too; then the end of ctx ends the wait.
func (l *Lifecycle) awaitEnd(ctx context.Context, served <-chan error, wanted *job) (err error, ended bool) {
	timer := time.NewTimer(endTime)
	defer timer.Stop()
	select {
	case err := <-served:
		return err, true
	case <-timer.C:
	}
	l.SetDown(hangs)
	refusal := fmt.Errorf("%w: %s", ErrDevice, hangs)
	if wanted.do != nil {
		wanted.done <- refusal
		*wanted = job{}
	}
	for {
		select {
		case err := <-served:
			return err, true
		case j := <-l.jobs:
			j.done <- refusal
		case <-ctx.Done():
			return nil, false
		}
	}
}

// awaitDevice waits until the device is open, or ctx ends. It tries after each change at the
// device's place, and after each time of the back-off, beginning with pause. Meanwhile it does the
// jobs.
func (l *Lifecycle) awaitDevice(ctx context.Context, retry *Backoff, pause time.Duration) {
	changes, stop := l.watchPlace(ctx)
	defer stop()
	for {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			_ = l.Reopen(ctx)
		case <-changes:
			_ = l.Reopen(ctx)
		case j := <-l.jobs:
			l.doJob(ctx, j)
		}
		if ctx.Err() != nil || l.open {
			return
		}
		pause = retry.After(0)
	}
}

// watchPlace reports changes at the place of the device, if they can be watched, until stop.
func (l *Lifecycle) watchPlace(ctx context.Context) (changes <-chan struct{}, stop func()) {
	watch, err := l.device.Watch()
	if err != nil {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{}, 1)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for watch.Wait(ctx) == nil {
			select {
			case told <- struct{}{}:
			default: // An earlier change has not been looked at yet.
			}
		}
	})
	return told, func() {
		cancel()
		waiting.Wait()
		_ = watch.Close()
	}
}

// Begun is closed when the device takes requests for the first time, or is known to be Down.
func (l *Lifecycle) Begun() <-chan struct{} { return l.begun }

// Serving makes the device Up, or Waiting if there is a reason: that no machine is connected.
// Device.Serve calls it when it takes requests.
func (l *Lifecycle) Serving(reason string) {
	l.update(func(c *condition) { c.opened(reason) })
	l.begin()
	l.endJob()
}

// Change has Run do a job with the device closed, and waits for its end, at most until ctx ends;
// then the job goes on. reason is why the device is Down meanwhile. The end of Run does not
// interrupt the job, which must take a few seconds at most. After Run the error is ipmb.ErrClosed.
func (l *Lifecycle) Change(ctx context.Context, reason string, do func(context.Context) error) error {
	done := make(chan error, 1)
	return HandOver(ctx, l.jobs, job{reason, do, done}, done, l.over, ipmb.ErrClosed)
}

// HandOver gives a job to the goroutine that receives from jobs, and waits until done has its
// result, at most until ctx ends; then the job goes on. When over is closed before the goroutine
// receives the job, the error is ended. done must have room.
func HandOver[J any](ctx context.Context, jobs chan<- J, j J, done <-chan error, over <-chan struct{}, ended error) error {
	select {
	case jobs <- j:
	case <-over:
		return ended
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// doJob does a job. The caller of Change learns of its end when the device takes requests again.
func (l *Lifecycle) doJob(ctx context.Context, j job) {
	l.SetDown(j.reason)
	err := j.do(context.WithoutCancel(ctx))
	l.performed = func() { j.done <- err }
	if !l.open {
		l.endJob()
	}
}

// endJob wakes the caller of Change, if there is a job.
func (l *Lifecycle) endJob() {
	if l.performed != nil {
		l.performed()
		l.performed = nil
	}
}

// Backoff is the time between attempts, from FirstRetry to LastRetry.
type Backoff struct{ next time.Duration }

// After returns how long to wait after an attempt that lasted the given time.
func (b *Backoff) After(lasted time.Duration) time.Duration {
	if b.next == 0 || lasted >= settleTime {
		b.next = FirstRetry
	}
	wait := b.next
	b.next = min(2*b.next, LastRetry)
	return wait
}
