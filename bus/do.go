package bus

import (
	"context"
	"errors"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Do sends a request of the daemon's own and waits for the answer, which belongs to the
// caller, at most until ctx ends, whose error it returns then. A responder of 0 is the
// remote address.
func (b *Bus) Do(ctx context.Context, req ipmb.Request) (ipmi.Response, error) {
	req.Responder = b.Responder(req.Responder)
	if ctx.Err() != nil {
		err := req.Check()
		if err == nil {
			err = ctx.Err()
		}
		return ipmi.Response{}, err
	}
	ended := make(chan outcome, 1)
	c := NewCall(nil, func(res ipmi.Response, err error) {
		res.Data = append([]byte(nil), res.Data...)
		ended <- outcome{res, err}
	})
	if err := b.Send(c, &req); err != nil {
		return ipmi.Response{}, err
	}
	select {
	case o := <-ended:
		return o.response, o.err
	case <-ctx.Done():
	}
	c.Cancel()
	o := <-ended
	if errors.Is(o.err, context.Canceled) {
		o.err = ctx.Err()
	}
	return o.response, o.err
}

// outcome is how a request ended.
type outcome struct {
	response ipmi.Response
	err      error
}

// Broadcast sends a frame of the daemon's own to address 0 and waits until the bus has
// taken it, at most until ctx ends.
func (b *Bus) Broadcast(ctx context.Context, netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	ended := make(chan error, 1)
	err := b.StartBroadcast(nil, func(err error) { ended <- err }, netFn, lun, cmd, data)
	if err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
