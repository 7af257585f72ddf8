package ipmb

import (
	"bytes"
	"hash/maphash"
	"time"

	"ipmbd/ipmi"
)

// On a transport that delivers each frame once, numbers have no quarantine. The program behind a
// socket may still send a response twice, and the next call with the number would get the
// copy. The engine knows a copy by its content: it equals the response to an earlier and different
// request with the number. But the call's own response may equal that one too: many commands
// answer only "done". So the engine keeps a response in doubt for a while, and drops it if another
// response comes and shows that it was a copy. When enough responses of a command were alike and
// no response was a copy, the engine believes them at once.

const (
	// pastLength is how many responses of a number are remembered: those of the time in which a
	// copy comes, if each call takes 3 ms.
	pastLength = 16
	// doubtTime is how long after a response an equal one may be its copy.
	doubtTime = 100 * time.Millisecond
	// keepTime is how long a response is in doubt, at most until the call would be sent again.
	keepTime = 250 * time.Millisecond
	// enoughEqual is how many equal responses without a copy make a command's responses trusted.
	enoughEqual = 32
)

// pastResponses remembers the latest exchanges with each number of a responder.
type pastResponses struct {
	seed      maphash.Seed
	exchanges [SequenceNumbers][pastLength]exchange
	oldest    [SequenceNumbers]uint8 // the one of exchanges that is replaced next
	last      exchange               // of all numbers
	equal     map[commandKey]int     // responses that were alike and no copies, or hasCopies
}

// hasCopies marks a command whose response was copied.
const hasCopies = -1

// exchange has the parts of a request and its response that distinguish them from others.
type exchange struct {
	at                time.Duration // 0 for none
	request, response uint32        // digests
	key               commandKey
}

// doubt is a response that may be a copy of an earlier one.
type doubt struct {
	deadline
	call     *Call
	exchange exchange
	response ipmi.Response
	pending  bool
	several  bool // others came that may be copies: none of them is believed
}

// pastResponses is r.past, made at its first use.
func (r *responder) pastResponses() *pastResponses {
	if r.past == nil {
		r.past = &pastResponses{seed: maphash.MakeSeed(), equal: make(map[commandKey]int)}
	}
	return r.past
}

// exchangeOf is the exchange of f and the data of the request, nil if they are not known any more.
func (p *pastResponses) exchangeOf(request []byte, f Frame, at time.Duration) exchange {
	x := exchange{at: at, key: keyOf(f.NetFn.Request(), f.Command)}
	if request != nil {
		x.request = uint32(maphash.Bytes(p.seed, request))
	}
	luns := uint32(f.SourceLUN)<<2 | uint32(f.DestinationLUN)
	x.response = uint32(maphash.Bytes(p.seed, f.Data)) ^ uint32(f.Code)<<4 ^ luns
	return x
}

// noteLate notes a response to a call that had ended. A copy of it may follow.
func (p *pastResponses) noteLate(f Frame, at time.Duration) {
	x := p.exchangeOf(nil, f, at)
	for i := range p.exchanges[f.Sequence] {
		if old := &p.exchanges[f.Sequence][i]; old.response == x.response && old.key == x.key {
			old.at = at
			return
		}
	}
	p.note(f.Sequence, x)
}

// note notes an exchange with a number.
func (p *pastResponses) note(sequence uint8, x exchange) {
	if p.last.key == x.key && p.last.response == x.response && p.last.request != x.request {
		p.noteEqual(x.key)
	}
	p.last = x
	oldest := &p.oldest[sequence]
	p.exchanges[sequence][*oldest] = x
	*oldest = (*oldest + 1) % pastLength
}

// noteEqual notes that two responses of a command were alike, and no copies.
func (p *pastResponses) noteEqual(key commandKey) {
	if n := p.equal[key]; n != hasCopies && n < enoughEqual {
		p.equal[key] = n + 1
	}
}

// mayBeCopy reports whether the response of x may be a copy of an earlier one.
func (p *pastResponses) mayBeCopy(sequence uint8, x exchange) bool {
	for i := range p.exchanges[sequence] {
		old := &p.exchanges[sequence][i]
		if old.response == x.response && old.key == x.key && old.request != x.request &&
			old.at > 0 && x.at-old.at < doubtTime {
			return true
		}
	}
	return false
}

// believeResponse reports whether f is surely the response to a call. It keeps one in doubt.
func (e *Engine) believeResponse(c *Call, f Frame) bool {
	p, d := c.responder.pastResponses(), c.doubt
	x := p.exchangeOf(c.frame[c.header+MinRequest-2:len(c.frame)-1], f, e.readAt)
	mayBeCopy := p.mayBeCopy(c.sequence, x)
	switch pending := d != nil && d.pending; {
	case mayBeCopy && pending:
		d.several = d.several || d.exchange.response != x.response
		return false
	case mayBeCopy && p.equal[c.key] < enoughEqual:
		e.keepInDoubt(c, x, f)
		return false
	case pending:
		p.equal[c.key] = hasCopies
	}
	p.note(c.sequence, x)
	return true
}

func (e *Engine) keepInDoubt(c *Call, x exchange, f Frame) {
	if c.doubt == nil {
		c.doubt = &doubt{call: c}
		c.doubt.owner = c.doubt
	}
	d := c.doubt
	d.exchange, d.pending, d.several = x, true, false
	d.response = ipmi.Response{Code: f.Code, Data: bytes.Clone(f.Data)}
	e.setDeadline(&d.deadline, min(x.at+keepTime, c.slotEnd-time.Millisecond))
}

// expire ends the doubt. A call with several responses in doubt is sent again, or times out.
func (d *doubt) expire(e *Engine, _ time.Duration) {
	if d.several {
		e.dropDoubt(d)
		return
	}
	c := d.call
	p := c.responder.past
	p.noteEqual(c.key)
	p.note(c.sequence, d.exchange)
	e.answerCall(c, d.response, d.exchange.at)
}

// dropDoubt forgets a response in doubt. d may be nil.
func (e *Engine) dropDoubt(d *doubt) {
	if d != nil && d.pending {
		d.pending, d.response = false, ipmi.Response{}
		e.clearDeadline(&d.deadline)
	}
}
