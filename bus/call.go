package bus

import (
	"context"
	"slices"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Call is a request of a client on its way through a bus. It can be sent again when it has ended.
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

// NewCall makes a call of a client; nil is the daemon itself. The bus calls done when a request
// has ended, with the response, whose data is valid until done returns, or with the error. It
// calls done without a lock held, for responses in the order in which the link delivered them;
// done must not block. The call may be sent again as soon as done has begun.
func NewCall(client *Client, done func(ipmi.Response, error)) *Call {
	c := &Call{client: client, done: done}
	c.wire = ipmb.NewCall(c.End)
	return c
}

// SetClient gives the call to another client. The call must not be in progress.
func (c *Call) SetClient(client *Client) { c.client = client }

// OnAccepted has f called when the bus has taken a request; only an engine reports that. f is not
// called for a request that the bus never takes. If the response comes at the same moment, done
// may be called first. Set f before the call is sent; a call with f is for one request only.
func (c *Call) OnAccepted(f func()) { c.wire.OnAccepted(f) }

// Address is our own address in the request, to which the response comes; only an engine sets it.
func (c *Call) Address() ipmi.Address { return c.wire.Address() }

// Trace is the request on the wire, and how often it was written, for done; see ipmb.Call. Only an
// engine tells that.
func (c *Call) Trace() (frame []byte, writes int) { return c.wire.Trace() }

// ForgetTrace makes Trace return nothing until the call is sent again.
func (c *Call) ForgetTrace() { c.wire.ForgetTrace() }

// Cancel ends the request with context.Canceled, if it has not ended. Only the goroutine that
// sends may call it. done may be called after Cancel has returned. If the call is sent again after
// Cancel while the bus begins, it may be cancelled again.
func (c *Call) Cancel() {
	if c.bus != nil {
		c.bus.cancelCall(c)
	}
}

// End ends the call with the result of its request. The link calls it.
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

// admitCall gives a call its place, or holds it until it may have one, or may be sent.
func (b *Bus) admitCall(c *Call, req *ipmb.Request) (held bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	admission, err := b.takePlace(c.client)
	if err != nil {
		return false, err
	}
	c.placed = admission == Admitted
	if c.placed && b.begun {
		return false, nil
	}
	if err := req.Check(); err != nil && !c.broadcast {
		if c.placed {
			b.shares.Leave(c.client, 1)
		}
		return false, err
	}
	c.request, c.held = *req, true
	c.request.Data = slices.Clone(req.Data)
	if c.placed {
		b.waiting = append(b.waiting, c)
	} else {
		b.unsure[c.client] = append(b.unsure[c.client], c)
	}
	return true, nil
}

// takePlace takes a place for a client, with the mutex held, unless it is Unsure.
func (b *Bus) takePlace(client *Client) (Admission, error) {
	if b.leaving && client != nil {
		return Refused, ErrRemoved
	}
	earlier, behind := b.unsure[client]
	if !behind {
		switch b.shares.Enter(client, 1) {
		case Admitted:
			return Admitted, nil
		case Unsure:
			if !client.Await(func() { b.sendUnsure(client) }) { // It was identified just now.
				return b.takePlace(client)
			}
			behind = true
		}
	}
	if !behind || len(earlier) >= b.shares.limits.Program {
		b.refused++
		return Refused, ErrLimit
	}
	return Unsure, nil
}

// sendUnsure sends the requests that waited for their client, as far as there are places.
func (b *Bus) sendUnsure(client *Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.unsure[client]) > 0 {
		next := b.unsure[client][0]
		b.unsure[client] = b.unsure[client][1:] // Others come behind it until all are sent.
		var err error
		if b.leaving {
			err = ErrRemoved
		} else if b.shares.Enter(client, 1) != Admitted {
			b.refused++
			err = ErrLimit
		}
		next.placed = err == nil
		if next.placed && !b.begun {
			b.waiting = append(b.waiting, next)
			continue
		}
		r := b.beginRelease(next)
		b.mu.Unlock()
		b.release(r, err)
		b.mu.Lock()
	}
	delete(b.unsure, client)
}

// releasing is a held call on its way to the link. Its client may send it again when done begins.
type releasing struct {
	call     *Call
	request  ipmb.Request
	unwanted bool // it was cancelled meanwhile
}

// beginRelease takes the request from a call that has waited, with the mutex held.
func (b *Bus) beginRelease(c *Call) *releasing {
	r := &releasing{call: c, request: c.request}
	c.request.Data = nil
	c.held = false
	b.releases = append(b.releases, r)
	return r
}

// release sends the request or broadcast of beginRelease, or ends it with an error.
func (b *Bus) release(r *releasing, err error) {
	if err == nil {
		err = b.transmit(r.call, &r.request)
	}
	if err != nil {
		r.call.End(ipmi.Response{}, err)
	}
	b.mu.Lock()
	b.releases = slices.DeleteFunc(b.releases, func(other *releasing) bool { return other == r })
	unwanted := r.unwanted
	b.mu.Unlock()
	if unwanted {
		b.link.Cancel(r.call)
	}
}

// Begin sends the requests that wait; later ones are sent at once. The owner of the bus calls it
// when the link takes requests, and also when the link is known not to take any: then the link
// refuses them. It may be called again.
func (b *Bus) Begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun || b.beginning {
		return
	}
	b.beginning = true
	for len(b.waiting) > 0 {
		next := b.waiting[0]
		b.waiting = b.waiting[1:]
		r := b.beginRelease(next)
		b.mu.Unlock()
		b.release(r, nil)
		b.mu.Lock()
	}
	b.begun, b.waiting = true, nil
}

// cancelCall ends a call of Send.
func (b *Bus) cancelCall(c *Call) {
	b.mu.Lock()
	if c.held {
		c.held = false
		isCall := func(other *Call) bool { return other == c }
		b.waiting = slices.DeleteFunc(b.waiting, isCall)
		if behind, ok := b.unsure[c.client]; ok {
			b.unsure[c.client] = slices.DeleteFunc(behind, isCall)
		}
		b.mu.Unlock()
		c.End(ipmi.Response{}, context.Canceled)
		return
	}
	onItsWay := false
	for _, r := range b.releases {
		if r.call == c {
			r.unwanted, onItsWay = true, true
		}
	}
	b.mu.Unlock()
	if !onItsWay { // else release cancels it
		b.link.Cancel(c)
	}
}
