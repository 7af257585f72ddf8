package bus

import (
	"context"
	"slices"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Call is a request of a client on its way through a bus. It can be sent again and again,
// on any bus, but only when it is not on its way.
type Call struct {
	client    *Client
	done      func(ipmi.Response, error)
	wire      *ipmb.Call // the engine's part of it
	broadcast bool       // to address 0: it has no wire

	bus     *Bus         // of the last Send
	request ipmb.Request // for Config.Ended; it has data only while it is held

	held   bool // of the bus's mutex: it waits there, and the link does not have it
	placed bool // it has a place
}

// NewCall makes a call of a client; nil is the daemon itself. done is told how each request ended:
// the response, whose data is valid until done returns, or the error. It is called without a lock
// held, for responses in the order in which the bus delivered them; it must not block. The call may
// be sent again as soon as done has begun.
func NewCall(client *Client, done func(ipmi.Response, error)) *Call {
	c := &Call{client: client, done: done}
	c.wire = ipmb.NewCall(c.End)
	return c
}

// SetClient makes the call another client's. It is for a call that is not on its way.
func (c *Call) SetClient(client *Client) { c.client = client }

// OnAccepted has f called when the bus has taken a request; only an engine tells that. It is not
// called for a request that the bus never takes. If the response comes at the same moment, done may
// be called first. Set f before the call is sent; a call with f is for one request only.
func (c *Call) OnAccepted(f func()) { c.wire.OnAccepted(f) }

// Address is our own address in the request, to which the response comes; only an engine tells it.
func (c *Call) Address() ipmi.Address { return c.wire.Address() }

// Cancel ends the request with context.Canceled, if it has not ended. It is for the
// goroutine that sends. done may be told of the end after Cancel has returned. While the
// bus begins, a call that is sent again after Cancel may be cancelled again.
func (c *Call) Cancel() {
	if c.bus != nil {
		c.bus.cancelCall(c)
	}
}

// End is called by the link when the request has ended.
func (c *Call) End(response ipmi.Response, err error) {
	b := c.bus
	if b.config.Ended != nil && !c.broadcast {
		b.config.Ended(&c.request, response, err)
	}
	if c.placed {
		b.returnPlace(c.client)
	}
	c.done(response, err)
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

// Do sends a request of the daemon's own and waits for the response, which belongs to the caller.
// If ctx ends before, Do returns its error. A responder of 0 is the remote address.
func (b *Bus) Do(ctx context.Context, req ipmb.Request) (ipmi.Response, error) {
	req.Responder = b.Responder(req.Responder)
	if err := req.Check(); err != nil {
		return ipmi.Response{}, err
	}
	return ipmb.Await(ctx, func(done func(ipmi.Response, error)) (cancel func(), err error) {
		c := NewCall(nil, done)
		return c.Cancel, b.Send(c, &req)
	})
}
