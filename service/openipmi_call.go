package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/host"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// openIPMILink is a driver as the link of its bus.
type openIPMILink struct {
	*bus.Workers
	bus *openIPMIBus
}

// StartBroadcast implements bus.Link: the driver sends nothing without awaiting an answer.
func (openIPMILink) StartBroadcast(func(error), ipmi.NetFn, ipmi.LUN, ipmi.Command, []byte) error {
	return ipmb.ErrUnsupported
}

// StartRespond implements bus.Link: messages are not bridged to the bus.
func (openIPMILink) StartRespond([]byte, func(error)) error { return ipmb.ErrUnsupported }

// Address implements bus.Link.
func (l openIPMILink) Address() ipmi.Address { return l.bus.Properties().OwnAddress }

// RetryPolicy implements bus.Link.
func (l openIPMILink) RetryPolicy() ipmb.RetryPolicy { return l.bus.engine.RetryPolicy() }

// MaxFrame implements bus.Link: each responder has its own.
func (openIPMILink) MaxFrame() int { return 0 }

// exchange is the bus.Exchange of the driver. Our own address is the management controller
// itself.
func (b *openIPMIBus) exchange(ctx context.Context, req ipmb.Request, sent func()) (ipmi.Response, error) {
	b.mu.Lock()
	d, own := b.device, b.own
	b.mu.Unlock()
	if d == nil {
		return ipmi.Response{}, ipmb.ErrClosed
	}
	policy := req.RetryPolicy.Or(b.engine.RetryPolicy())
	r := host.OpenIPMIRequest{
		Responder: req.Responder, NetFn: req.NetFn, LUN: req.LUN, RequesterLUN: req.RequesterLUN, Command: req.Command, Data: req.Data,
		Broadcast: req.GeneralCall, Tries: policy.Tries, Timeout: policy.Timeout, NoWait: req.NoWait,
	}
	switch {
	case req.Responder == own:
		r.Responder = 0
	case len(req.Data) > d.MaxData():
		return ipmi.Response{}, fmt.Errorf("%w: %d bytes of data, %d are possible", ipmb.ErrTooLong, len(req.Data), d.MaxData())
	case req.FailFast: // The driver repeats what nobody acknowledges.
		r.Tries = 1
	}
	response, err := d.Do(ctx, r, sent)
	return response, asBusError(err)
}

// openIPMIErrors is the table from the errors of an OpenIPMI device to those of a
// bus.
var openIPMIErrors = []struct{ err, is error }{
	{host.ErrSilent, ipmb.ErrTimeout},
	{host.ErrUnsupported, ipmb.ErrUnsupported},
	{ipmi.ErrBusy, ipmb.ErrBusy},
	{unix.EAGAIN, ipmb.ErrBusy}, // no number is free
	{unix.EBUSY, ipmb.ErrBusy},  // a program has too many requests
	{unix.ENOMEM, ipmb.ErrBusy},
	{unix.EMSGSIZE, ipmb.ErrTooLong},
	{unix.EINVAL, ipmb.ErrUnsupported}, // the channel is no IPMB
	{unix.EAFNOSUPPORT, ipmb.ErrUnsupported},
	{unix.ENODEV, ipmb.ErrClosed},
	{io.EOF, ipmb.ErrClosed},
	{os.ErrClosed, ipmb.ErrClosed},
}

// asBusError is an error of an OpenIPMI device as one of a bus; what is in no row
// stays as it is.
func asBusError(err error) error {
	for _, row := range openIPMIErrors {
		if errors.Is(err, row.err) {
			return fmt.Errorf("%w: %w", row.is, err)
		}
	}
	return err
}
