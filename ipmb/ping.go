package ipmb

import "sync"

// Ping returns when the engine's lock can be had and each loop waits, or goes on to wait.
// If a loop hangs, Ping does not return. It wakes no loop. An engine at rest has nothing
// that could hang.
//
// A loop that waits for the kernel does not hang: neither one that reads nor one that
// writes. Observer.Stalled tells of a write that takes long.
func (e *Engine) Ping() {
	for _, busy := range []sync.Locker{&e.receiving, &e.transmitting, &e.ticking, &e.mu} {
		pass(busy)
	}
}

// pass waits until a lock can be had.
func pass(l sync.Locker) {
	l.Lock()
	defer l.Unlock()
}
