package service

import (
	"context"
	"sync"
	"time"
)

// await waits until the transport is open, or ctx ends. It tries to open it
// whenever something has come or gone at its path, and after each of the
// back-off's times, beginning with pause; failures are in the state. It does
// what jobs there are.
func (b *engineBus) await(ctx context.Context, retry *backoff, pause time.Duration) {
	changes, stop := b.device.changes(ctx, b.device.path)
	defer stop()
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
			_ = b.connect(ctx)
		case <-changes:
			_ = b.connect(ctx)
		case j := <-b.jobs:
			b.perform(ctx, j)
		}
		timer.Stop()
		if ctx.Err() != nil || b.opened() != nil {
			return
		}
		pause = retry.after(0)
	}
}

// changes tells when something has come or gone at a path, until stop. It never
// does where there is no watch to be had.
func (s system) changes(ctx context.Context, path string) (changes <-chan struct{}, stop func()) {
	watch, err := s.watch(path)
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
			default: // What was told before has not been looked at yet.
			}
		}
	})
	return told, func() {
		cancel()
		waiting.Wait()
		watch.Close()
	}
}
