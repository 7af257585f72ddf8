package dbusapi

import (
	"bytes"
	"context"
	"sync"
)

// opening is the calls to a bus that has not begun, in order. Its object and the name
// of the service are there a moment before it takes calls, and a client that hears of
// them, or has started the service, may call at once.
type opening struct {
	mu    sync.Mutex
	calls []*busCall
	over  bool
}

// keep keeps a call until the bus has begun. It reports whether it has not yet.
func (w *opening) keep(x *busCall) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	x.request.Data = bytes.Clone(x.request.Data)
	w.calls = append(w.calls, x)
	return true
}

// take takes the calls that wait, and ends the opening when there is none.
func (w *opening) take() []*busCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	w.over = len(calls) == 0
	return calls
}

// open starts the calls that wait when the bus has begun, or ctx ends: then they have
// been ended.
func (o *BusObject) open(ctx context.Context, begun <-chan struct{}) {
	select {
	case <-begun:
	case <-ctx.Done():
	}
	w := o.opening.Load()
	for calls := w.take(); len(calls) > 0; calls = w.take() {
		for _, x := range calls {
			if err := o.startNow(x); err != nil {
				x.fail(err)
			}
		}
	}
	o.opening.Store(nil)
}
