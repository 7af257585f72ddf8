package ipmb

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Pulse goes through the engine's lock and its loops, and returns when each has
// had its turn; where one hangs, so does it. It ends early with ctx, but not from
// a lock that hangs. An engine at rest has nothing that could hang.
//
// A loop that waits for the kernel is not one that hangs: neither the reader nor
// a write, of which Observer.Stalled tells.
func (e *Engine) Pulse(ctx context.Context) {
	pass(&e.receiving)
	p := &pulse{done: make(chan struct{})}
	p.owner = p
	if !e.begin(p) {
		return
	}
	select {
	case <-p.done:
	case <-ctx.Done():
	}
}

// pass waits until a lock can be had.
func pass(l sync.Locker) {
	l.Lock()
	defer l.Unlock()
}

// pulse is on its way: first to tick, as a deadline that has come, then to
// transmit.
type pulse struct {
	deadline
	done chan struct{}
}

// begin sends a pulse on its way, if Run is there to take it.
func (e *Engine) begin(p *pulse) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		e.set(&p.deadline, e.now())
	}
	return e.running
}

// expire is the turn of tick. A writer that is in the kernel has none to take.
func (p *pulse) expire(e *Engine, _ time.Duration) {
	if e.outbox.writing || !e.running {
		close(p.done)
		return
	}
	e.outbox.pulses = append(e.outbox.pulses, p)
	e.outbox.work.Signal()
}

// pulsed is the turn of transmit.
func (o *outbox) pulsed() {
	for _, p := range o.pulses {
		close(p.done)
	}
	o.pulses = nil
}

// endPulses lets go of those that no loop will take any more.
func (e *Engine) endPulses() {
	for _, d := range slices.Clone(e.deadlines.heap) {
		if p, ok := d.owner.(*pulse); ok {
			e.unset(d)
			close(p.done)
		}
	}
	e.outbox.pulsed()
}
