package dbusapi

import (
	"context"
	"sync"
)

// replies counts the calls that were read and not replied to yet. A call has
// been served before its reply is written, and a connection must not close
// between the two.
type replies struct {
	mu   sync.Mutex
	owed int
	none chan struct{} // closed when none is owed; nil while nobody waits
}

func (r *replies) owe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owed++
}

// give counts a reply. The library sends an error to a call that wants none,
// too.
func (r *replies) give() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owed == 0 {
		return
	}
	r.owed--
	if r.owed == 0 && r.none != nil {
		close(r.none)
		r.none = nil
	}
}

// wait waits until no reply is owed, at most until ctx ends.
func (r *replies) wait(ctx context.Context) {
	r.mu.Lock()
	if r.owed == 0 {
		r.mu.Unlock()
		return
	}
	if r.none == nil {
		r.none = make(chan struct{})
	}
	none := r.none
	r.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}
