package dbusapi

import (
	"context"
	"sync"
)

// maxAnswerers is how many clients are remembered. That there is one is enough.
const maxAnswerers = 64

// answerers is the clients on the message bus that have answered a request by
// sendResponse, in time or not.
type answerers struct {
	mu    sync.Mutex
	names map[string]struct{}
}

// add remembers a client, with whose connection ctx ends.
func (a *answerers) add(ctx context.Context, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// If the client leaves after this look, left finds its name.
	if ctx.Err() != nil || len(a.names) >= maxAnswerers {
		return
	}
	if a.names == nil {
		a.names = make(map[string]struct{})
	}
	a.names[name] = struct{}{}
}

// left forgets a client.
func (a *answerers) left(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.names, name)
}

// any reports whether there is a client.
func (a *answerers) any() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.names) > 0
}
