package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/ipmi/host"
)

// Do implements dbusapi.Bus. Responder 0 and our own address are the management
// controller itself.
func (b *openIPMIBus) Do(ctx context.Context, req ipmb.Request) (ipmi.Response, error) {
	b.mu.Lock()
	d, own := b.device, b.own
	b.mu.Unlock()
	if req.Responder == 0 {
		req.Responder = own
	}
	if err := req.Check(); err != nil {
		return ipmi.Response{}, err
	}
	if d == nil {
		return ipmi.Response{}, ipmb.ErrClosed
	}
	policy := req.Policy.Or(b.engine.Policy())
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
	response, err := d.Do(ctx, r)
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
