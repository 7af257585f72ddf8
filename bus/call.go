package bus

import (
	"slices"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Call is a request of a client on its way through a bus. It is sent time and again, on
// any bus, but once at a time.
type Call struct {
	client   *Client
	done     func(ipmi.Response, error)
	accepted func()
	wire     *ipmb.Call // what an engine knows of it

	bus     *Bus         // of the last Send
	request ipmb.Request // for Config.Ended, without data; with it while held

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

// OnAccepted has f called when the bus has taken a request, before done is; of a request
// that the bus never takes it is not called. It is for a call that is not on its way.
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

// End is for the link: how the request has ended.
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

// release implements waiter. When the link has the call, its client may send it again, on
// another bus too.
func (c *Call) release(b *Bus) {
	req := c.request
	c.request.Data = nil
	c.held = false
	r := &releasing{call: c}
	b.releases = append(b.releases, r)
	b.mu.Unlock()
	if err := b.link.Send(c, &req); err != nil {
		c.End(ipmi.Response{}, err)
	}
	b.mu.Lock()
	b.releases = slices.DeleteFunc(b.releases, func(other *releasing) bool { return other == r })
	if r.unwanted {
		b.mu.Unlock()
		b.link.Cancel(c)
		b.mu.Lock()
	}
}

// refuse implements waiter.
func (c *Call) refuse(b *Bus, err error) {
	c.held = false
	b.mu.Unlock()
	defer b.mu.Lock()
	c.End(ipmi.Response{}, err)
}

// note keeps of a request what Config.Ended is told.
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
