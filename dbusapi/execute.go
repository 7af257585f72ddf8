package dbusapi

import (
	"fmt"
	"sync/atomic"
	"time"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
)

// execution is a request on its way to a target and back.
type execution struct {
	conn  callConn
	to    *target
	req   *ipmi.Request
	reply ipmi.Reply
	late  *atomic.Uint64 // counts replies that came when nobody waited for them

	handler *handlerCall // of a call to a registered handler, else nil
}

// callConn is a *dbuswire.Conn as far as an execution needs it.
type callConn interface {
	NewSerial() uint32
	StartCall(serial uint32, message []byte, call dbuswire.Call, place dbuswire.Place) error
}

// start makes the call. Its reply, or what went wrong, answers the request; the errors
// are those of HostDaemon.ServeIPMI.
func (x *execution) start() {
	serial := x.conn.NewSerial()
	place := dbuswire.Place{Share: x.req.Interface}
	if x.handler != nil {
		place = dbuswire.Place{Extra: reserved} // The queue has given it a place.
	}
	switch err := x.conn.StartCall(serial, x.to.marshal(serial, x.req), x, place); err {
	case nil:
	case dbuswire.ErrBusy:
		x.end(ipmi.Response{}, ipmi.ErrBusy, false)
	default:
		x.Lost()
	}
}

// reserved is how many more calls of registered handlers there may be, so that a host
// daemon that hangs leaves room for them.
const reserved = 20

// Replied implements dbuswire.Call. An answer that the owner of the request does not take
// came after the deadline.
func (x *execution) Replied(m *dbuswire.Message) {
	fromTarget := string(m.Sender) != dbuswire.BusName // the message bus replies for a program that has left
	res, err := parseExecuted(m).answer(x.to, x.req)
	if !x.end(res, err, fromTarget) && fromTarget {
		x.late.Add(1)
	}
}

// Lost implements dbuswire.Call. Requests in line end after those in progress.
func (x *execution) Lost() {
	last := x.handler != nil && x.handler.leave(false)
	x.reply.Answer(ipmi.Response{}, errBusLost)
	if last {
		x.handler.queue.start()
	}
}

// end answers the request, and reports whether the answer was taken. replied says that
// the target has replied.
func (x *execution) end(res ipmi.Response, err error, replied bool) bool {
	if x.handler != nil {
		x.handler.leave(replied)
		defer x.handler.queue.start() // which the answer does not wait for
	}
	return x.reply.Answer(res, err)
}

// errBusLost: the connection is lost, so no answer will come.
var errBusLost = fmt.Errorf("%w: %w", ipmi.ErrAbandoned, dbuswire.ErrDisconnected)

// isLate reports whether a request was answered by its owner, at its deadline.
func isLate(req *ipmi.Request, now time.Time) bool {
	return !req.Deadline.IsZero() && !now.Before(req.Deadline)
}
