package dbusapi

import (
	"context"
	"errors"
	"fmt"

	"ipmbd/ipmi"
)

// maxExecutes is how many execute calls one connection has in progress, with
// those that were given up and not answered yet. The system bus lets a
// connection wait for 128 replies (dbus-daemon, max_replies_per_connection).
const maxExecutes = 100

// execute has a request answered by a target. ended is called when the call has
// its reply, however long after execute has returned, or when there was no
// call; it must not block. The errors are those of HostDaemon.ServeIPMI.
func (c *Conn) execute(ctx context.Context, to *target, req *ipmi.Request, ended func()) (ipmi.Response, error) {
	stream := c.stream
	serial := stream.serials.GetSerial()
	replies := make(chan executed, 1)
	call := owedReply{ended: ended, reply: func(m wireMessage) { replies <- parseExecuted(&m) }}
	if !stream.pending.add(serial, maxExecutes, call) {
		ended()
		return ipmi.Response{}, ipmi.ErrBusy
	}
	if _, err := stream.Write(to.marshal(serial, req)); err != nil {
		return ipmi.Response{}, errBusLost
	}
	select {
	case x := <-replies:
		return x.answer(to, req)
	case <-c.Done():
		return ipmi.Response{}, errBusLost
	case <-ctx.Done():
	}
	if !stream.pending.giveUp(serial) {
		x := <-replies
		return x.answer(to, req)
	}
	return ipmi.Response{}, endOf(ctx)
}

// errBusLost: nobody will answer.
var errBusLost = fmt.Errorf("%w: %w", ipmi.ErrGone, ErrDisconnected)

// endOf is what the end of ctx means to a request that is being answered.
func endOf(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ipmi.ErrTooSlow
	}
	return ctx.Err()
}
