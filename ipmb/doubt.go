package ipmb

import (
	"bytes"
	"hash/maphash"
	"time"

	"ipmbd/ipmi"
)

// On a transport that delivers each frame once no number rests. The program behind a
// socket may double answers all the same, and the next call with the number would get the
// copy. The engine tells a copy by its content: it equals the answer to an earlier and
// different request with the number. But the call's own answer may equal that one too: many
// commands answer nothing but "done". So an answer in doubt is kept for a while, and dropped
// if another answer comes and shows that it was a copy. When enough answers of a command
// were alike and none was a copy, the engine believes them at once.

const (
	// recentAnswers is how many answers are remembered of a number: those of the
	// time in which a copy comes, if each call takes 3 ms.
	recentAnswers = 16
	// doubtTime is how long after an answer a copy of it is looked out for.
	doubtTime = 100 * time.Millisecond
	// keepTime is how long an answer in doubt is kept for the call's own to come, at
	// most until the call would be sent again.
	keepTime = 250 * time.Millisecond
	// enoughEqual is how many answers of a command have to equal the one before them,
	// without being copies, before such answers are believed at once.
	enoughEqual = 32
)

// recent remembers the latest exchanges with each number of a responder.
type recent struct {
	seed    maphash.Seed
	answers [SequenceNumbers][recentAnswers]exchange
	next    [SequenceNumbers]uint8 // which one of answers is the oldest
	last    exchange               // the latest of all numbers
	equal   map[commandKey]int     // how many answers were alike and no copies, or neverEqual
}

// neverEqual marks a command of which a copy has come.
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

// recently is r.recent, made at its first use.
func (r *responder) recently() *recent {
	if r.recent == nil {
		r.recent = &recent{seed: maphash.MakeSeed(), equal: make(map[commandKey]int)}
	}
	return r.recent
}

// exchangeOf is the exchange of f and the data of the request that it may answer, nil for
// one that is not known any more.
func (t *recent) exchangeOf(request []byte, f Frame, at time.Duration) exchange {
	x := exchange{at: at, key: keyOf(f.NetFn.Request(), f.Command)}
	if request != nil {
		x.request = uint32(maphash.Bytes(t.seed, request))
	}
	luns := uint32(f.SourceLUN)<<2 | uint32(f.DestinationLUN)
	x.answer = uint32(maphash.Bytes(t.seed, f.Data)) ^ uint32(f.Code)<<4 ^ luns
	return x
}

// rememberLate notes an answer that came when its call had ended: a copy of it is
// looked out for from then on.
func (t *recent) rememberLate(f Frame, at time.Duration) {
	x := t.exchangeOf(nil, f, at)
	for i := range t.answers[f.Sequence] {
		if old := &t.answers[f.Sequence][i]; old.answer == x.answer && old.key == x.key {
			old.at = at
			return
		}
	}
	t.remember(f.Sequence, x)
}

// remember notes an exchange with a number.
func (t *recent) remember(sequence uint8, x exchange) {
	if t.last.key == x.key && t.last.answer == x.answer && t.last.request != x.request {
		t.alike(x.key)
	}
	t.last = x
	next := &t.next[sequence]
	t.answers[sequence][*next] = x
	*next = (*next + 1) % recentAnswers
}

// alike notes that two answers of a command were alike, and no copies.
func (t *recent) alike(key commandKey) {
	if n := t.equal[key]; n != neverEqual && n < enoughEqual {
		t.equal[key] = n + 1
	}
}

// isCopy reports whether the answer of x may be a copy of an earlier one.
func (t *recent) isCopy(sequence uint8, x exchange) bool {
	for i := range t.answers[sequence] {
		old := &t.answers[sequence][i]
		if old.answer == x.answer && old.key == x.key && old.request != x.request && old.at > 0 && x.at-old.at < doubtTime {
			return true
		}
	}
	return false
}

// believe reports whether f is the answer to a call without a doubt. One in doubt
// is kept.
func (e *Engine) believe(c *Call, f Frame) bool {
	t, d := c.responder.recently(), c.doubt
	x := t.exchangeOf(c.frame[c.header+MinRequest-2:len(c.frame)-1], f, e.readAt)
	copied := t.isCopy(c.sequence, x)
	switch pending := d != nil && d.pending; {
	case copied && pending:
		d.several = d.several || d.exchange.answer != x.answer
		return false
	case copied && t.equal[c.key] < enoughEqual:
		e.keepInDoubt(c, x, f)
		return false
	case pending:
		t.equal[c.key] = neverEqual
	}
	t.remember(c.sequence, x)
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
	e.set(&d.deadline, min(x.at+keepTime, c.slotEnd-time.Millisecond))
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
	t.alike(c.key)
	t.remember(c.sequence, d.exchange)
	e.answered(c, d.response, d.exchange.at)
}

// drop forgets an answer in doubt, as the call has ended. d may be nil.
func (d *doubt) drop(e *Engine) {
	if d != nil && d.pending {
		d.pending, d.response = false, ipmi.Response{}
		e.unset(&d.deadline)
	}
}
