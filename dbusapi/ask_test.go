package dbusapi

import (
	"context"
	"errors"
	"slices"
	"sync"

	"ipmbd/ipmi"
)

// owner is the owner of a request, as an engine is: it takes one answer, and no answer after its
// deadline.
type owner struct {
	mu    sync.Mutex
	ended bool
	done  chan served // has room
}

// served is how a request ended.
type served struct {
	res ipmi.Response
	err error
}

func newOwner() *owner { return &owner{done: make(chan served, 1)} }

// Answer implements ipmi.Reply.
func (o *owner) Answer(res ipmi.Response, err error) bool {
	res.Data = slices.Clone(res.Data)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return false
	}
	o.ended = true
	o.done <- served{res, err}
	return true
}

// request has a handler serve a request, without waiting.
func request(h ipmi.Handler, req *ipmi.Request) *owner {
	o := newOwner()
	h.ServeIPMI(req, o)
	return o
}

// wait is how a request ends, at the latest with ctx, whose deadline it has.
func (o *owner) wait(ctx context.Context) served {
	select {
	case got := <-o.done:
		return got
	case <-ctx.Done():
	}
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		err = ipmi.ErrTooSlow
	}
	o.Answer(ipmi.Response{}, err)
	return <-o.done
}

// answerOf has a handler answer a request, at the latest when ctx ends.
func answerOf(ctx context.Context, h ipmi.Handler, req *ipmi.Request) (ipmi.Response, error) {
	req.Deadline, _ = ctx.Deadline()
	got := request(h, req).wait(ctx)
	return got.res, got.err
}

// serve has a handler answer a request in the background.
func serve(ctx context.Context, h ipmi.Handler, req *ipmi.Request) <-chan served {
	done := make(chan served, 1)
	req.Deadline, _ = ctx.Deadline()
	o := request(h, req)
	go func() { done <- o.wait(ctx) }()
	return done
}
