package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/ipmi"
)

// maxOpenIPMICalls is how many requests the driver may have, as many as it has
// numbers on IPMB.
const maxOpenIPMICalls = 64

// openIPMITick is how late the driver's clock may find that nobody answers.
const openIPMITick = time.Second

// ErrSilent: nobody has answered in time.
var ErrSilent = errors.New("no answer in time")

// OpenIPMIRequest is a request to be sent.
type OpenIPMIRequest struct {
	// Responder is an address on the channel; 0 is the management controller itself,
	// by its system interface.
	Responder    ipmi.Address
	NetFn        ipmi.NetFn
	LUN          ipmi.LUN
	RequesterLUN ipmi.LUN // other than 0 only where the device is Direct
	Command      ipmi.Command
	Data         []byte
	// Broadcast sends to all nodes and lets Responder answer: Get Device ID only.
	Broadcast bool

	// Tries is how often the driver sends it on IPMB, and Timeout how long it waits
	// each time, to the full second of its clock. Both together are the time that the
	// controller itself has, and below ipmi_ipmb.c everybody.
	Tries   int
	Timeout time.Duration
	// NoWait ends the call with ipmi.ErrBusy rather than wait for others to end.
	NoWait bool
}

// kept are commands to the controller that the driver keeps to itself: Get Message,
// Send Message, Read Event Message Buffer.
var kept = [...]ipmi.Command{0x33, 0x34, 0x35}

// check returns an error for a request that the driver cannot send.
func (d *OpenIPMI) check(r OpenIPMIRequest) error {
	own := r.Responder == 0
	switch {
	case own && r.NetFn == ipmi.NetFnApp && slices.Contains(kept[:], r.Command):
		return unsupported("the driver keeps %s to itself", ipmi.CommandName(r.NetFn, r.Command))
	case r.RequesterLUN != 0 && (own || !d.direct):
		return unsupported("requester LUN %d: it is the driver's", r.RequesterLUN)
	case r.Broadcast && (own || d.direct):
		return unsupported("a broadcast")
	case len(r.Data) > openIPMIMaxMessage: // The driver's own length field may not hold it.
		return d.failed("send", unix.EMSGSIZE)
	}
	return nil
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

// to is where the request goes.
func (d *OpenIPMI) to(r OpenIPMIRequest) openIPMIAddress {
	switch {
	case r.Responder == 0:
		return openIPMIAddress{kind: openIPMISystemInterface, channel: ipmi.ChannelSystemInterface, lun: r.LUN}
	case r.Broadcast:
		return openIPMIAddress{kind: openIPMIBroadcast, channel: d.channel, address: r.Responder, lun: r.LUN}
	}
	return openIPMIAddress{kind: d.kind(), channel: d.channel, address: r.Responder, lun: r.LUN, requesterLUN: r.RequesterLUN}
}

// limit is how long the call may take. At its end the driver itself answers for a node
// that has not, but not for the controller.
func (d *OpenIPMI) limit(r OpenIPMIRequest) time.Duration {
	limit := time.Duration(r.Tries) * r.Timeout
	if r.Responder != 0 && !d.direct {
		limit += openIPMITick
	}
	return limit
}

// openIPMICall is a request that the driver has. It keeps its number until the
// driver has answered, also if its caller waits no more.
type openIPMICall struct {
	id      int
	netFn   ipmi.NetFn
	command ipmi.Command
	ended   chan openIPMIOutcome // has room for the one
	givenUp bool
}

type openIPMIOutcome struct {
	response ipmi.Response
	err      error
}

// Do sends a request and waits for the answer. It calls sent, unless that is nil, when the
// driver has the request. The errors are ErrSilent,
// ErrUnsupported, ipmi.ErrBusy while the driver has 64 requests, that of ctx,
// os.ErrClosed and io.EOF when the device is closed or has gone, and *fs.PathErrors
// for what the driver refuses: EINVAL or EAFNOSUPPORT for an address that it does
// not know, EMSGSIZE, EAGAIN and EBUSY for too much at once, ENODEV.
//
// A completion code is the responder's or the driver's, which look alike.
func (d *OpenIPMI) Do(ctx context.Context, r OpenIPMIRequest, sent func()) (ipmi.Response, error) {
	response, err := d.do(ctx, r, sent)
	d.endings(err).Add(1)
	return response, err
}

// endings counts calls that ended as err says.
func (d *OpenIPMI) endings(err error) *atomic.Uint64 {
	c := &d.counts
	switch {
	case err == nil:
		return &c.answered
	case errors.Is(err, ErrSilent):
		return &c.silent
	case errors.Is(err, ipmi.ErrBusy):
		return &c.busy
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &c.cancelled
	case errors.Is(err, os.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, unix.ENODEV):
		return &c.closed
	}
	return &c.refused
}

func (d *OpenIPMI) do(ctx context.Context, r OpenIPMIRequest, sent func()) (ipmi.Response, error) {
	if err := d.check(r); err != nil {
		return ipmi.Response{}, err
	}
	timer := time.NewTimer(d.limit(r))
	defer timer.Stop()
	if err := d.enter(ctx, timer, r.NoWait); err != nil {
		return ipmi.Response{}, err
	}
	c, err := d.begin(r)
	if err != nil {
		return ipmi.Response{}, err
	}
	err = d.control("send", func(fd int) error {
		return d.kernel.send(fd, c.id, d.to(r), r.NetFn, r.Command, r.Data, int32(r.Tries-1), uint32(r.Timeout.Milliseconds()))
	})
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.settle(c, openIPMIOutcome{})
		return ipmi.Response{}, err
	}
	d.counts.started.Add(1)
	if sent != nil {
		sent()
	}
	timer.Reset(d.limit(r))
	select {
	case o := <-c.ended:
		return o.response, o.err
	case <-timer.C:
		return d.giveUp(c, ErrSilent)
	case <-ctx.Done():
		return d.giveUp(c, ctx.Err())
	}
}

// enter waits for a place among the requests that the driver has.
func (d *OpenIPMI) enter(ctx context.Context, timer *time.Timer, noWait bool) error {
	select {
	case d.slots <- struct{}{}:
		return nil
	default:
	}
	if noWait {
		return ipmi.ErrBusy
	}
	select {
	case d.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return ipmi.ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin gives a call a number that no other has.
func (d *OpenIPMI) begin(r OpenIPMIRequest) (*openIPMICall, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.cause != nil {
		<-d.slots
		return nil, os.ErrClosed
	}
	for taken := true; taken; _, taken = d.calls[d.last] {
		d.last = d.last%math.MaxInt32 + 1
	}
	c := &openIPMICall{id: d.last, netFn: r.NetFn, command: r.Command, ended: make(chan openIPMIOutcome, 1)}
	d.calls[c.id] = c
	return c, nil
}

// settle ends a call that the driver has answered. It is called with the mutex held.
func (d *OpenIPMI) settle(c *openIPMICall, o openIPMIOutcome) {
	if d.calls[c.id] != c {
		return
	}
	delete(d.calls, c.id)
	<-d.slots
	c.ended <- o
}

// giveUp ends a call for its caller; the driver still has it. An answer that has just come
// counts.
func (d *OpenIPMI) giveUp(c *openIPMICall, err error) (ipmi.Response, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case o := <-c.ended:
		return o.response, o.err
	default:
		c.givenUp = true
		return ipmi.Response{}, err
	}
}

// answer gives an answer to its call. One that is no answer to the call of its
// number is dropped, and the call waits on.
func (d *OpenIPMI) answer(in openIPMIReceived) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.calls[in.id]
	switch {
	case c == nil || in.netFn != c.netFn.Response() || in.command != c.command:
		d.counts.unexpected.Add(1)
		return
	case c.givenUp:
		d.counts.late.Add(1)
	}
	d.settle(c, openIPMIOutcome{response: openIPMIAnswer(in.data)})
}

// openIPMIAnswer is the answer in a message. One without a completion code is FFh,
// which the driver makes of those that are even shorter.
func openIPMIAnswer(b []byte) ipmi.Response {
	if len(b) == 0 {
		return ipmi.Response{Code: ipmi.CodeUnspecified}
	}
	return ipmi.Response{Code: ipmi.CompletionCode(b[0]), Data: slices.Clone(b[1:])}
}
