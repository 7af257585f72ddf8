package bus

import (
	"context"
	"slices"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// admitCall gives a call its place, or holds it until it may have one, or may be sent.
func (b *Bus) admitCall(c *Call, req *ipmb.Request) (held bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.placed = false
	wait, err := b.takePlace(c.client)
	if err != nil {
		return false, err
	}
	if wait == sendNow {
		c.placed = true
		return false, nil
	}
	if err := req.Check(); err != nil && !c.broadcast {
		if wait == untilBegun {
			b.shares.Leave(c.client, 1)
		}
		return false, err
	}
	c.hold(req)
	b.keepWaiting(c, wait)
	return true, nil
}

// wait says what a request has to wait for.
type wait uint8

const (
	sendNow wait = iota
	untilBegun
	untilIdentified // it has no place yet
)

// takePlace takes a place for a client, with the mutex held.
func (b *Bus) takePlace(client *Client) (wait, error) {
	if b.leaving && client != nil {
		return 0, ErrRemoved
	}
	earlier, behind := b.unsure[client]
	if !behind {
		switch b.shares.Enter(client, 1) {
		case Admitted:
			if b.begun {
				return sendNow, nil
			}
			return untilBegun, nil
		case Unsure:
			if !client.Await(func() { b.sendUnsure(client) }) { // It was identified just now.
				return b.takePlace(client)
			}
			behind = true
		}
	}
	if !behind || len(earlier) >= b.shares.limits.Program {
		b.refused++
		return 0, ErrLimit
	}
	return untilIdentified, nil
}

// keepWaiting keeps a call that is to be sent later, with the mutex held.
func (b *Bus) keepWaiting(c *Call, wait wait) {
	if wait == untilIdentified {
		b.unsure[c.client] = append(b.unsure[c.client], c)
		return
	}
	c.placed = true
	b.waiting = append(b.waiting, c)
}

// sendUnsure sends the requests that waited until their client was identified, as far as
// there are places for them.
func (b *Bus) sendUnsure(client *Client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.unsure[client]) > 0 {
		next := b.unsure[client][0]
		b.unsure[client] = b.unsure[client][1:] // Others come behind it until all are sent.
		err := b.takePlaceLate(client)
		if err == nil && !b.begun {
			b.keepWaiting(next, untilBegun)
			continue
		}
		r := b.beginRelease(next)
		next.placed = err == nil
		b.mu.Unlock()
		b.release(r, err)
		b.mu.Lock()
	}
	delete(b.unsure, client)
}

// takePlaceLate takes a place for a request that waited until its client was identified.
func (b *Bus) takePlaceLate(client *Client) error {
	if b.leaving {
		return ErrRemoved
	}
	if b.shares.Enter(client, 1) != Admitted {
		b.refused++
		return ErrLimit
	}
	return nil
}

// releasing is a call on its way to the link, from those that have waited. When the link has the
// call, its client may send it again, on another bus, too.
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

// release sends what beginRelease has returned, or ends it with an error.
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

// Begin sends the requests that wait; later ones are sent at once. The owner of the bus
// calls it when the link takes requests, and also when it knows that the link does not:
// then the link refuses them. It may be called again.
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
		b.withdrawCall(c)
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

// withdrawCall takes a call out of what waits, with the mutex held.
func (b *Bus) withdrawCall(c *Call) {
	isCall := func(other *Call) bool { return other == c }
	b.waiting = slices.DeleteFunc(b.waiting, isCall)
	if behind, ok := b.unsure[c.client]; ok {
		b.unsure[c.client] = slices.DeleteFunc(behind, isCall)
	}
}
