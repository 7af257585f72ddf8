package service

import (
	"context"

	"ipmbd/ipmb"
)

// job is a change of the device. The goroutine that runs the bus does it, with
// the transport closed.
type job struct {
	// why is the reason for which the bus is down meanwhile.
	why  string
	do   func(ctx context.Context) error
	done chan<- error // has room
}

// change does a job and waits for its end, at most until ctx's; the job goes on
// then. A bus that is not run yet does none, and one that has ended is closed.
func (b *engineBus) change(ctx context.Context, why string, do func(context.Context) error) error {
	done := make(chan error, 1)
	return handOver(ctx, b.jobs, job{why, do, done}, done, b.over, ipmb.ErrClosed)
}

// handOver gives work to the loop that does it, and waits for what it says when that
// is done, at most until ctx ends; the work goes on then. over is closed when the loop
// takes no more, and ended the error for that.
func handOver[W any](ctx context.Context, to chan<- W, work W, done <-chan error, over <-chan struct{}, ended error) error {
	select {
	case to <- work:
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

// perform does a job. It is not cut short when the service stops, so that a
// device does not stay half changed; it takes a few bindTimes at most. Who asked
// for it hears of it when the bus takes calls again.
func (b *engineBus) perform(ctx context.Context, j job) {
	b.setClosed(j.why)
	err := j.do(context.WithoutCancel(ctx))
	b.performed = func() { j.done <- err }
	if b.opened() == nil {
		b.answer()
	}
}

// answer tells who asked for a job that it is done, if nobody has yet.
func (b *engineBus) answer() {
	if b.performed != nil {
		b.performed()
		b.performed = nil
	}
}
