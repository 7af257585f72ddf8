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

// callEnds are told how a call ends; they must not block.
type callEnds struct {
	// gaveUp: nobody waits for the reply any more.
	gaveUp func()
	// ended: the call has its reply, however long after execute has returned, or
	// there was no call.
	ended func()
}

// execute has a request answered by a target. The errors are those of
// HostDaemon.ServeIPMI.
func (c *Conn) execute(ctx context.Context, to *target, req *ipmi.Request, ends callEnds) (ipmi.Response, error) {
	stream := c.stream
	serial := stream.serials.GetSerial()
	replies := make(chan executed, 1)
	call := owedReply{ended: ends.ended, reply: func(m wireMessage) { replies <- parseExecuted(&m) }}
	if !stream.pending.add(serial, maxExecutes, call) {
		ends.ended()
		return ipmi.Response{}, ipmi.ErrBusy
	}
	if err := stream.send(to.marshal(serial, req)); err != nil {
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
	ends.gaveUp()
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
