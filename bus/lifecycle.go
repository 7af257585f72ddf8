package bus

import (
	"context"
	"sync"
	"time"

	"ipmbd/ipmb"
)

const (
	// FirstRetry and LastRetry bound the time between two attempts to open a device. It doubles
	// with each: a device that comes and goes is back soon, and an absent one costs nothing.
	FirstRetry = 100 * time.Millisecond
	LastRetry  = 5 * time.Second
	// settleTime is how long a device must be served for its next retry to come as soon as the
	// first.
	settleTime = 10 * time.Second
)

// A Lifecycle opens and serves a Device. One goroutine at a time calls its methods.
type Device interface {
	// Connect opens the device.
	Connect(ctx context.Context) error
	// Serve serves the open device until ctx ends or the device fails, and closes it. It
	// calls Lifecycle.Serving when it takes requests. The error is why the device has failed.
	Serve(ctx context.Context) error
	// Close is called at the end of Run: it closes the device, if that is open.
	Close(ctx context.Context)
	// Watch watches the place of the device, where a change may mean that the device can be
	// opened. If it returns an error, the Lifecycle tries to open the device less often.
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
		device: device, changed: changed, begun: make(chan struct{}), jobs: make(chan job), over: make(chan struct{}),
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

// Run serves the device, and opens it again whenever it fails, until ctx ends. It is called once.
func (l *Lifecycle) Run(ctx context.Context) {
	defer close(l.over)
	defer l.begin() // Requests that still wait are refused then.
	if !l.tried && ctx.Err() == nil {
		_ = l.Reopen(ctx)
	}
	var retry Backoff
	for ctx.Err() == nil {
		begin := time.Now()
		if l.open {
			l.serveDevice(ctx)
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

// serveDevice serves the device until it fails, or there is a job, which it does.
func (l *Lifecycle) serveDevice(ctx context.Context) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() { ended <- l.device.Serve(running) })
	select {
	case err := <-ended:
		l.open = false
		if ctx.Err() == nil {
			l.SetDown(err.Error())
		}
	case j := <-l.jobs:
		stop()
		<-ended
		l.open = false
		l.doJob(ctx, j)
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

// Serving makes the device Up, unless a reason is given for which it is still Down, for example
// that no machine is connected. Device.Serve calls it when it takes requests.
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
