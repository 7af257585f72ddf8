package openipmi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

const (
	// maxCalls is how many requests the driver may have, as many as it has numbers on IPMB.
	maxCalls = ipmb.SequenceNumbers
	// clockTick is how late the driver's clock may find that there is no response.
	clockTick = time.Second
)

// call is a request on its way. It keeps its number until the driver has answered it.
type call struct {
	// request has the responder, 0 for the controller itself by its system interface; a policy
	// without defaults; and a RequesterLUN other than 0 only where the device is Direct. The
	// driver itself retries on IPMB, and waits each time to the full second of its clock. The
	// controller itself, and every node on direct IPMB, has as long as Tries and time-out make
	// together.
	request ipmb.Request
	done    func(ipmi.Response, error)
	owner   *bus.Call // for Cancel

	id    int         // 0 while it waits
	timer *time.Timer // nil while it waits, except for the first in line if calls were given up
	ended bool        // done has been called, or will be
}

// kept are the commands to the controller that the driver does not pass on: Get Message, Send
// Message, Read Event Message Buffer.
var kept = []ipmi.Command{0x33, 0x34, 0x35}

// checkRequest returns an error for a request that the driver cannot send.
func (d *Device) checkRequest(r *ipmb.Request) error {
	own := r.Responder == 0
	switch {
	case own && r.NetFn == ipmi.NetFnApp && slices.Contains(kept, r.Command):
		return unsupported("the driver keeps %s to itself", ipmi.CommandName(r.NetFn, r.Command))
	case r.RequesterLUN != 0 && (own || !d.direct):
		return unsupported("requester LUN %d: it is the driver's", r.RequesterLUN)
	case r.GeneralCall && (own || d.direct):
		return unsupported("a broadcast")
	case len(r.Data) > maxMessage: // The driver's own length field may not hold it.
		return d.wrap("send", unix.EMSGSIZE)
	}
	return nil
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ipmb.ErrUnsupported, fmt.Sprintf(format, args...))
}

// responder is where a request goes.
func (d *Device) responder(r *ipmb.Request) node {
	if r.Responder == 0 {
		return node{kind: systemInterface, channel: ipmi.ChannelSystemInterface, lun: r.LUN}
	}
	n := node{kind: d.kind(), channel: d.channel, address: r.Responder, lun: r.LUN, requesterLUN: r.RequesterLUN}
	if r.GeneralCall {
		n.kind = broadcast
	}
	return n
}

// limit is how long a call may take. The driver ends it for a silent node, not for the controller.
func (d *Device) limit(r *ipmb.Request) time.Duration {
	limit := time.Duration(r.RetryPolicy.Tries) * r.RetryPolicy.Timeout
	if r.Responder != 0 && !d.direct {
		limit += clockTick
	}
	return limit
}

// Send sends the request of a call and returns at once. Requests enter the driver in the order of
// Send. Those for which it has no room wait, or end with ipmb.ErrBusy with NoWait. If Send returns
// no error, the device calls the call's done once, without a lock held: with the response, whose
// data is valid until done returns, or with an error. The errors are ipmb.ErrTimeout,
// ipmb.ErrUnsupported, ipmb.ErrBusy while the driver has no room, context.Canceled, os.ErrClosed
// and io.EOF when the device is closed or has gone, and *fs.PathErrors when the driver refuses:
// EINVAL or EAFNOSUPPORT for an unknown address, EMSGSIZE, EAGAIN and EBUSY for too much at once,
// ENODEV.
//
// A completion code comes from the responder or from the driver; nothing tells the two apart.
func (d *Device) Send(c *call) error {
	err := d.checkRequest(&c.request)
	if err == nil {
		err = d.enqueue(c)
	}
	if err != nil {
		d.countEnd(err)
		return err
	}
	d.sendWaiting()
	return nil
}

func (d *Device) enqueue(c *call) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed || d.cause != nil:
		return os.ErrClosed
	case c.request.NoWait && len(d.calls)+len(d.waiting) >= maxCalls:
		return ipmb.ErrBusy
	}
	c.request.Data = slices.Clone(c.request.Data)
	d.waiting = append(d.waiting, c)
	return nil
}

// sendWaiting sends the waiting requests, in order, as far as the driver has room.
func (d *Device) sendWaiting() {
	for c := d.nextToSend(); c != nil; c = d.nextToSend() {
		r := &c.request
		m := outgoing{
			id: c.id, to: d.responder(r), netFn: r.NetFn, command: r.Command, data: r.Data,
			retries: int32(r.RetryPolicy.Tries - 1), retryTime: uint32(r.RetryPolicy.Timeout.Milliseconds()),
		}
		err := d.control("send", func(fd int) error { return d.kernel.send(fd, m) })
		d.endSend(c, err)
	}
}

// nextToSend returns the call that may enter the driver now, with a number of its own, or nil.
func (d *Device) nextToSend() *call {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sending != nil || len(d.waiting) == 0 {
		return nil
	}
	c := d.waiting[0]
	if len(d.calls) >= maxCalls {
		// Calls end in time, but those that were given up keep their numbers.
		if d.givenUp > 0 && c.timer == nil {
			d.startTimer(c)
		}
		return nil
	}
	d.waiting = slices.Delete(d.waiting, 0, 1)
	for taken := true; taken; _, taken = d.calls[d.last] {
		d.last = d.last%math.MaxInt32 + 1
	}
	c.id = d.last
	d.calls[c.id] = c
	d.sending = c
	d.startTimer(c)
	return c
}

// startTimer gives a call its limit, with the mutex held: for its number, or for its response.
func (d *Device) startTimer(c *call) {
	if c.timer != nil {
		c.timer.Stop()
	}
	id, err := c.id, ipmb.ErrTimeout
	if id == 0 {
		err = ipmb.ErrBusy
	}
	c.timer = time.AfterFunc(d.limit(&c.request), func() {
		d.mu.Lock()
		passed := c.id == id
		d.mu.Unlock()
		if passed {
			d.endCall(c, ipmi.Response{}, err)
		}
	})
}

// endSend takes the outcome of sending a call.
func (d *Device) endSend(c *call, err error) {
	d.mu.Lock()
	d.sending = nil
	if err == nil && d.closed {
		err = os.ErrClosed
	}
	if err != nil {
		d.freeNumber(c)
	} else {
		d.counts.Count(callsStarted)
	}
	d.mu.Unlock()
	if err != nil {
		d.tellEnd(c, ipmi.Response{}, err)
	}
}

// freeNumber frees the number of a call, with the mutex held.
func (d *Device) freeNumber(c *call) {
	if d.calls[c.id] != c {
		return
	}
	delete(d.calls, c.id)
	if c.ended {
		d.givenUp--
	}
}

// endCall ends a call, and sends those that wait for its place.
func (d *Device) endCall(c *call, response ipmi.Response, err error) {
	d.tellEnd(c, response, err)
	d.sendWaiting()
}

// tellEnd tells a call once how it has ended. One that the driver still has is given up.
func (d *Device) tellEnd(c *call, response ipmi.Response, err error) {
	d.mu.Lock()
	if c.ended {
		d.mu.Unlock()
		return
	}
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if d.calls[c.id] == c {
		d.givenUp++
	}
	d.waiting = slices.DeleteFunc(d.waiting, func(other *call) bool { return other == c })
	d.mu.Unlock()
	d.countEnd(err)
	c.done(response, err)
}

// Cancel ends the call of an owner with context.Canceled, if it has not ended.
func (d *Device) Cancel(owner *bus.Call) {
	if c := d.findCall(owner); c != nil {
		d.endCall(c, ipmi.Response{}, context.Canceled)
	}
}

// findCall returns the call of an owner that has not ended, or nil.
func (d *Device) findCall(owner *bus.Call) *call {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.calls {
		if c.owner == owner && !c.ended {
			return c
		}
	}
	if i := slices.IndexFunc(d.waiting, func(c *call) bool { return c.owner == owner }); i >= 0 {
		return d.waiting[i]
	}
	return nil
}

// endAnswered gives a response to its call. It drops a response that does not fit the call of its
// number, and the call goes on waiting. A response without a completion code becomes FFh, which
// the driver makes of responses that are even shorter.
func (d *Device) endAnswered(in received) {
	d.mu.Lock()
	c := d.calls[in.id]
	if c == nil || in.netFn != c.request.NetFn.Response() || in.command != c.request.Command {
		d.counts.Count(responsesUnexpected)
		d.mu.Unlock()
		return
	}
	late := c.ended
	d.freeNumber(c)
	d.mu.Unlock()
	response := ipmi.Response{Code: ipmi.CodeUnspecified}
	if len(in.data) > 0 {
		response = ipmi.Response{Code: ipmi.CompletionCode(in.data[0]), Data: in.data[1:]}
	}
	if late {
		d.counts.Count(responsesLate)
		d.sendWaiting()
		return
	}
	d.endCall(c, response, nil)
}

// Close ends Receive and all calls.
func (d *Device) Close() error {
	d.mu.Lock()
	d.closed = true
	all := d.waiting
	for _, c := range d.calls {
		if c != d.sending { // which endSend ends
			all = append(all, c)
			delete(d.calls, c.id)
		}
	}
	d.waiting, d.givenUp = nil, 0
	d.mu.Unlock()
	for _, c := range all {
		d.endCall(c, ipmi.Response{}, os.ErrClosed)
	}
	return d.file.Close()
}

// countEnd counts a call that has ended with err.
func (d *Device) countEnd(err error) {
	which := callsRefused
	switch {
	case err == nil:
		which = callsAnswered
	case errors.Is(err, ipmb.ErrTimeout):
		which = callsTimeout
	case errors.Is(err, ipmb.ErrBusy):
		which = callsBusy
	case errors.Is(err, context.Canceled):
		which = callsCancelled
	case errors.Is(err, os.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, unix.ENODEV):
		which = callsClosed
	}
	d.counts.Count(which)
}
