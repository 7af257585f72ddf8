package dbusapi

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
)

// maxServed is how many requests are answered at a time; ipmbd asks for no more
// of one handler.
const maxServed = maxCallsOfOwner

// leaving bounds the time to unregister, and that to send the last answers.
const leaving = time.Second

// Serve has h answer the requests that match a pattern, until ctx ends (nil) or
// the message bus is lost (ErrDisconnected). A registration that ipmbd refuses
// is a *ServiceError; that of ErrNotAllowed names in its text who serves the
// requests.
//
// When ipmbd leaves the message bus, Serve waits until it is back and registers
// again. tell is told of ServiceStarted each time that this has succeeded, the
// first included, and of ServiceStopped.
//
// At most 16 requests are answered at a time, to ipmbd only. They have neither
// requester's LUN nor sequence number. Their context ends with ctx, and Serve
// waits for them. An error of h becomes the completion code of ipmi.CodeOf.
func (c *Client) Serve(ctx context.Context, patterns []ipmi.Pattern, h ipmi.Handler, tell func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := newFollower(tell)
	slots := make(slots, maxServed)
	object := executeObject(func(sender string, req *ipmi.Request) (ipmi.Response, error) {
		if !f.isService(sender) {
			return ipmi.Response{}, errNotService
		}
		return slots.serve(ctx, h, req), nil
	})
	if err := f.connect(ctx, c, object, func(*dbus.Signal) {}); err != nil {
		return unlessEnded(ctx, err)
	}
	defer f.conn.Close()
	defer f.endServing(ctx, slots)
	defer cancel()
	register := func(service string) error {
		return f.callRouter(ctx, service, "RegisterHandler", servedPath, commandRows(patterns))
	}
	for {
		if err := f.keep(register); err != nil {
			return unlessEnded(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.conn.Done():
			return ErrDisconnected
		case <-f.changed:
		}
	}
}

// errNotService is what others than ipmbd are told.
var errNotService = &dbus.Error{Name: errorAccessDenied, Body: []any{"only ipmbd is answered"}}

// endServing ends the registration, and returns when the requests in progress
// are answered. The end of the connection would end the registration too, but
// leave requests without an answer that come before it.
func (f *follower) endServing(ctx context.Context, slots slots) {
	ctx = context.WithoutCancel(ctx)
	f.unregister(ctx)
	slots.close()
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	f.conn.stream.replies.wait(ctx)
}

// unregister ends the registration, if there is one.
func (f *follower) unregister(ctx context.Context) {
	service := f.registered()
	if service == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	_ = f.callRouter(ctx, service, "UnregisterHandler", servedPath)
}

// slots are places for requests in progress.
type slots chan struct{}

// serve has a request answered, if there is a slot.
func (s slots) serve(ctx context.Context, h ipmi.Handler, req *ipmi.Request) ipmi.Response {
	select {
	case s <- struct{}{}:
	default:
		return ipmi.Response{Code: ipmi.CodeNodeBusy}
	}
	defer func() { <-s }()
	response, err := h.ServeIPMI(ctx, req)
	if err != nil {
		return ipmi.Response{Code: ipmi.CodeOf(err)}
	}
	return response
}

// close waits for the requests in progress and lets no more in.
func (s slots) close() {
	for range cap(s) {
		s <- struct{}{}
	}
}
