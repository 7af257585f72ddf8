package ipmb

import "sync"

// Pulse returns when the engine's lock can be had and each of its loops waits, or can go on
// to wait; where one hangs, so does Pulse. It wakes no loop. An engine at rest has nothing
// that could hang.
//
// A loop that waits for the kernel is not one that hangs: neither the reader nor
// a write, of which Observer.Stalled tells.
func (e *Engine) Pulse() {
	for _, busy := range []sync.Locker{&e.receiving, &e.transmitting, &e.ticking, &e.mu} {
		pass(busy)
	}
}

// pass waits until a lock can be had.
func pass(l sync.Locker) {
	l.Lock()
	defer l.Unlock()
}
