package bus

import (
	"context"
	"errors"
	"slices"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Call is a request of a client on its way through a bus. It can be sent again and again,
// on any bus, but only when it is not on its way.
type Call struct {
	client   *Client
	done     func(ipmi.Response, error)
	accepted func()
	wire     *ipmb.Call // the engine's part of it

	bus     *Bus         // of the last Send
	request ipmb.Request // for Config.Ended; it has data only while it is held

	held   bool // of the bus's mutex: it waits there, and the link does not have it
	placed bool // it has a place
}

// NewCall makes a call of a client; nil is the daemon itself. done is told how each
// request ended: its answer, whose data is valid until done returns, or the error. It is
// called without a lock held, for answers in the order in which the bus delivered them; it
// must not block. The call may be sent again as soon as done has begun.
func NewCall(client *Client, done func(ipmi.Response, error)) *Call {
	c := &Call{client: client, done: done}
	c.wire = ipmb.NewCall(c.End)
	return c
}

// SetClient makes the call another client's. It is for a call that is not on its way.
func (c *Call) SetClient(client *Client) { c.client = client }

// OnAccepted has f called when the bus has taken a request. It is not called for a request
// that the bus never takes. If the answer comes at the same moment, done may be called
// first. Set f before the call is sent; a call with f is for one request only.
func (c *Call) OnAccepted(f func()) {
	c.accepted = f
	c.wire.OnAccepted(f)
}

// Address is our own address in the request, to which the answer comes; only an engine
// tells it.
func (c *Call) Address() ipmi.Address { return c.wire.Address() }

// Cancel ends the request with context.Canceled, if it has not ended. It is for the
// goroutine that sends. done may be told of the end after Cancel has returned. While the
// bus begins, a call that is sent again after Cancel may be cancelled again.
func (c *Call) Cancel() {
	if c.bus != nil {
		c.bus.cancel(c)
	}
}

// End is called by the link when the request has ended.
func (c *Call) End(response ipmi.Response, err error) {
	b := c.bus
	if b.config.Ended != nil {
		b.config.Ended(&c.request, response, err)
	}
	if c.placed {
		b.leave(c.client)
	}
	c.done(response, err)
}

// place implements waiter.
func (c *Call) place() { c.placed = true }

// depart implements waiter. When the link has the call, its client may send it again, on
// another bus too.
func (c *Call) depart(b *Bus) (send func()) {
	req := c.request
	c.request.Data = nil
	c.held = false
	r := &releasing{call: c}
	b.releases = append(b.releases, r)
	return func() {
		if err := b.link.Send(c, &req); err != nil {
			c.End(ipmi.Response{}, err)
		}
		if b.departed(r) {
			b.link.Cancel(c)
		}
	}
}

// refuse implements waiter.
func (c *Call) refuse(err error) (end func()) {
	c.held = false
	return func() { c.End(ipmi.Response{}, err) }
}

// note keeps the part of a request that Config.Ended is told.
func (c *Call) note(req *ipmb.Request) {
	c.request = *req
	c.request.Data = nil
}

// hold keeps a request that is sent later.
func (c *Call) hold(req *ipmb.Request) {
	c.request = *req
	c.request.Data = slices.Clone(req.Data)
	c.held = true
}

// broadcast is a frame to address 0.
type broadcast struct {
	bus    *Bus
	client *Client
	done   func(error)
	placed bool // it has a place

	netFn ipmi.NetFn
	lun   ipmi.LUN
	cmd   ipmi.Command
	data  []byte
}

func (f *broadcast) send() error {
	return f.bus.link.StartBroadcast(f.end, f.netFn, f.lun, f.cmd, f.data)
}

// end is told how the broadcast has ended.
func (f *broadcast) end(err error) {
	if f.placed {
		f.bus.leave(f.client)
	}
	f.done(err)
}

// place implements waiter.
func (f *broadcast) place() { f.placed = true }

// depart implements waiter.
func (f *broadcast) depart(*Bus) (send func()) {
	return func() {
		if err := f.send(); err != nil {
			f.end(err)
		}
	}
}

// refuse implements waiter.
func (f *broadcast) refuse(err error) (end func()) { return func() { f.end(err) } }

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
