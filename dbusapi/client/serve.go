package client

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/ipmi"
	"ipmbd/xml"
)

// maxServed is how many requests are answered at a time; ipmbd asks for no more
// of one handler.
const maxServed = xml.MaxExecutes

// leaving bounds the time to unregister, and that to send the last answers.
const leaving = time.Second

// Serve has h answer the requests that match a pattern, until ctx ends (nil) or
// the message bus is lost (ErrDisconnected). A registration that ipmbd refuses
// is a *ServiceError; the text of ErrNotAllowed names the program that serves the
// requests.
//
// When ipmbd leaves the message bus, Serve waits until it is back and registers
// again. tell is told of ServiceStarted each time that this has succeeded, the
// first included, and of ServiceStopped.
//
// The requests reach h in the order in which ipmbd calls, from the goroutine that reads
// the connection: a handler that may block is one of ipmi.NewBlocking. At most 16 requests
// are answered at a time, to ipmbd only. They have neither requester's LUN nor sequence
// number nor deadline. Serve waits until they are answered, and calls h no more when it has
// returned. An error becomes the completion code of ipmi.CodeOf.
func (c *Client) Serve(ctx context.Context, patterns []ipmi.Pattern, h ipmi.Handler, tell func(Event)) error {
	f := newFollower(tell)
	served := newExecuteServer(h, f.isService)
	if err := f.connect(ctx, c, served.take, func(*dbus.Signal) {}); err != nil {
		return unlessEnded(ctx, err)
	}
	defer f.conn.Close()
	defer f.endServing(ctx, served)
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

// endServing ends the registration, and returns when the requests in progress
// are answered. The end of the connection would end the registration too, but
// leave requests without an answer that come before it.
func (f *follower) endServing(ctx context.Context, served *executeServer) {
	ctx = context.WithoutCancel(ctx)
	f.unregister(ctx)
	served.close()
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	f.conn.AwaitReplies(ctx)
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
