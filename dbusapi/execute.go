package dbusapi

import (
	"fmt"
	"time"

	"ipmbd/ipmi"
)

// execution is a request on its way to a target and back.
type execution struct {
	conn  *Conn
	to    *target
	req   *ipmi.Request
	reply ipmi.Reply

	handler *handlerCall // of a call to a registered handler, else nil
}

// start makes the call. Its reply, or what went wrong, answers the request; the errors
// are those of HostDaemon.ServeIPMI.
func (x *execution) start() {
	stream := x.conn.stream
	serial := stream.serials.GetSerial()
	iface := x.req.Interface
	if x.handler != nil {
		iface = "" // The queue has given it a place.
	}
	if err := stream.pending.add(serial, x, iface); err != nil {
		x.end(ipmi.Response{}, err, false)
		return
	}
	if err := stream.send(x.to.marshal(serial, x.req)); err != nil && stream.pending.remove(serial) != nil {
		x.lost()
	}
}

// replied implements awaited. An answer that the owner of the request does not take came
// after the deadline.
func (x *execution) replied(m wireMessage) {
	fromTarget := string(m.sender) != busName // the message bus replies for a program that has left
	res, err := parseExecuted(&m).answer(x.to, x.req)
	if !x.end(res, err, fromTarget) && fromTarget {
		x.conn.stream.pending.late.Add(1)
	}
}

// lost implements awaited. Requests in line end after those in progress.
func (x *execution) lost() {
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
var errBusLost = fmt.Errorf("%w: %w", ipmi.ErrAbandoned, ErrDisconnected)

// isLate reports whether a request was answered by its owner, at its deadline.
func isLate(req *ipmi.Request, now time.Time) bool {
	return !req.Deadline.IsZero() && !now.Before(req.Deadline)
}
