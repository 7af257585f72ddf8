package ipmb

import (
	"bytes"
	"hash/maphash"
	"time"

	"ipmbd/ipmi"
)

// On a transport that delivers each frame once no number rests. What is behind a
// socket may double answers all the same; a call that has the number of the first
// one would get its copy. The copy is known by its content: it is the answer to an
// earlier and different request with the number. But so may the call's own answer be,
// as that of each command that says nothing but "done". It is kept until a copy
// would have come, unless another answer shows that it was one. Where answers to
// different requests look the same often, and none was a copy, they are not kept.

const (
	// recentAnswers is how many answers are remembered of a number: those of the
	// time in which a copy comes, if each call takes 3 ms.
	recentAnswers = 16
	// enoughEqual is how many answers of a command have to look like an earlier
	// one's, and be none, before they are believed.
	enoughEqual = 32
)

// recent is what the numbers of a responder brought lately.
type recent struct {
	seed    maphash.Seed
	answers [SequenceNumbers][recentAnswers]exchange
	next    [SequenceNumbers]uint8 // which one of answers is the oldest
	equal   map[commandKey]int     // answers that looked like copies and were none; neverEqual after a copy
}

// neverEqual is of a command of which a copy has come.
const neverEqual = -1

// exchange is a request and its answer, as far as they need to be told from others.
type exchange struct {
	at              time.Duration // 0 for none
	request, answer uint32        // digests
	key             commandKey
}

// doubt is an answer that may be a copy of an earlier one.
type doubt struct {
	deadline
	call     *Call
	exchange exchange
	response ipmi.Response
	pending  bool
	several  bool // others came that may be copies: none of them is believed
}

// exchangeOf is the exchange that f would make of a call.
func (e *Engine) exchangeOf(c *Call, f Frame) exchange {
	r := c.responder
	if r.recent == nil {
		r.recent = &recent{seed: maphash.MakeSeed(), equal: make(map[commandKey]int)}
	}
	luns := uint32(f.SourceLUN)<<2 | uint32(f.DestinationLUN)
	return exchange{
		at:      e.readAt,
		request: uint32(maphash.Bytes(r.recent.seed, c.frame)),
		answer:  uint32(maphash.Bytes(r.recent.seed, f.Data)) ^ uint32(f.Code)<<4 ^ luns,
		key:     c.key,
	}
}

// remember notes an exchange with a number.
func (t *recent) remember(sequence uint8, x exchange) {
	next := &t.next[sequence]
	t.answers[sequence][*next] = x
	*next = (*next + 1) % recentAnswers
}

// original is when an answer came of which that of x may be a copy.
func (t *recent) original(sequence uint8, x exchange) (at time.Duration, found bool) {
	for i := range t.answers[sequence] {
		old := &t.answers[sequence][i]
		if old.answer == x.answer && old.key == x.key && old.request != x.request && old.at > 0 && x.at-old.at < copyWindow {
			return old.at, true
		}
	}
	return 0, false
}

// believe reports whether f is the answer to a call without a doubt. One in doubt
// is kept.
func (e *Engine) believe(c *Call, f Frame) bool {
	x := e.exchangeOf(c, f)
	t, d := c.responder.recent, c.doubt
	at, copied := t.original(c.sequence, x)
	switch pending := d != nil && d.pending; {
	case copied && pending:
		d.several = d.several || d.exchange.answer != x.answer
		return false
	case copied && t.equal[c.key] < enoughEqual:
		e.keepInDoubt(c, x, f, at+copyWindow)
		return false
	case pending:
		t.equal[c.key] = neverEqual
	}
	t.remember(c.sequence, x)
	return true
}

func (e *Engine) keepInDoubt(c *Call, x exchange, f Frame, until time.Duration) {
	if c.doubt == nil {
		c.doubt = &doubt{call: c}
		c.doubt.owner = c.doubt
	}
	d := c.doubt
	d.exchange, d.pending, d.several = x, true, false
	d.response = ipmi.Response{Code: f.Code, Data: bytes.Clone(f.Data)}
	e.set(&d.deadline, until)
}

// expire is the end of the doubt: no other answer came. A call with several in
// doubt is sent again, or times out.
func (d *doubt) expire(e *Engine, _ time.Duration) {
	if d.several {
		d.drop(e)
		return
	}
	c := d.call
	t := c.responder.recent
	if t.equal[c.key] != neverEqual {
		t.equal[c.key]++
	}
	t.remember(c.sequence, d.exchange)
	response := d.response
	e.answered(c, response, d.exchange.at)
	if c.done != nil {
		c.done(response, nil)
	}
}

// drop forgets an answer in doubt, as the call has ended. d may be nil.
func (d *doubt) drop(e *Engine) {
	if d != nil && d.pending {
		d.pending, d.response = false, ipmi.Response{}
		e.unset(&d.deadline)
	}
}
