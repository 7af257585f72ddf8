package ipmb

import (
	"slices"
	"time"

	"ipmbd/ipmi"
)

const (
	// holdTime keeps a number from reuse while its answer may be on its way:
	// the sequence number expiration and a margin.
	holdTime = sequenceExpiration + time.Second
	// serialHolds is how many numbers of one command time-outs may hold before
	// its calls go one at a time: those that remain outlast a hold.
	serialHolds = 48
	// maxHolds bounds the memory that the holds of one responder take.
	maxHolds = 4096
)

// hold keeps a number from being given to the same command again.
type hold struct {
	deadline
	responder    *responder
	key          commandKey
	sequence     uint8
	lun          ipmi.LUN
	requesterLUN ipmi.LUN
	expected     int    // answers until the hold ends; 0 holds for its time
	answeredIn   uint64 // the batch that brought the last answer
}

// hold holds a number for its command for holdTime, or until the answers that
// are expected have come.
func (e *Engine) hold(r *responder, sequence uint8, expected int, now time.Duration) {
	n := &r.numbers[sequence]
	h := &hold{
		responder:    r,
		key:          n.key,
		sequence:     sequence,
		lun:          n.lun,
		requesterLUN: n.requesterLUN,
		expected:     expected,
		answeredIn:   n.answeredIn,
	}
	h.owner = h
	c := r.command(n.key)
	c.held |= 1 << sequence
	c.holds = append(c.holds, h)
	if expected == 0 {
		c.timeouts++
	}
	r.holds++
	e.set(&h.deadline, now+holdTime)
}

// expire ends the hold.
func (h *hold) expire(e *Engine, now time.Duration) {
	r := h.responder
	c := r.commands[h.key]
	c.held &^= 1 << h.sequence
	c.holds = slices.DeleteFunc(c.holds, func(other *hold) bool { return other == h })
	if h.expected == 0 {
		c.timeouts--
	}
	r.holds--
	r.forget(h.key, c)
	e.admit(r, now)
}

// late takes an answer to a call that has ended, and reports whether f is one.
func (e *Engine) late(r *responder, f Frame, now time.Duration) bool {
	key := keyOf(f.NetFn.Request(), f.Command)
	n := &r.numbers[f.Sequence]
	if n.call == nil && n.writing && n.key == key && n.lun == f.SourceLUN && n.requesterLUN == f.DestinationLUN {
		if n.answeredIn != e.batch {
			n.answers++
			n.answeredIn = e.batch
		}
		return true
	}
	c := r.commands[key]
	if c == nil || c.held&(1<<f.Sequence) == 0 {
		return false
	}
	for _, h := range c.holds {
		if h.sequence != f.Sequence || h.lun != f.SourceLUN || h.requesterLUN != f.DestinationLUN {
			continue
		}
		e.lateFor(h, now)
		return true
	}
	return false
}

// lateFor counts an answer that a hold waits for. One that was read together
// with the answer before is that answer once more, not another transmission's.
func (e *Engine) lateFor(h *hold, now time.Duration) {
	switch {
	case h.expected == 0 || h.answeredIn == e.batch:
	case h.expected == 1:
		e.unset(&h.deadline)
		h.expire(e, now)
	default:
		h.expected--
		h.answeredIn = e.batch
	}
}
