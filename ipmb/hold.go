package ipmb

import (
	"math"
	"time"

	"ipmbd/ipmi"
)

const (
	// holdTime keeps a number from reuse while its answer may be on its way:
	// the sequence number expiration and a margin.
	holdTime = sequenceExpiration + time.Second
	// copyWindow is the time in which two answers count as one: how long after
	// an answer its copy may come on I2C (i2c.DefaultCopyTime), and a margin.
	copyWindow = 50 * time.Millisecond
	// serialHolds: when time-outs hold so many numbers of a command, its calls go one
	// at a time. The numbers that are left then last until the first hold ends.
	serialHolds = 48
	// tidyTime is how long the state of a command is kept after its last hold,
	// for the next one.
	tidyTime = time.Second
)

// hold keeps a number from being given to the same command again. A command has
// at most one hold for each number, and the holds of one command take no numbers
// from another.
type hold struct {
	sequence     uint8
	lun          ipmi.LUN
	requesterLUN ipmi.LUN
	expected     uint8 // transmissions that may still be answered; 0: the number rests
	answers      answers
	until        time.Duration
}

// rests reports whether nothing but copies of answers may come.
func (h *hold) rests() bool { return h.expected == 0 }

// hold holds a number for its command until the answers that are expected have
// come, and the last of them cannot come again; at most until the given time.
func (e *Engine) hold(r *responder, sequence uint8, expected int, until time.Duration) {
	n := &r.numbers[sequence]
	c := e.command(r, n.key)
	c.held |= 1 << sequence
	c.holds = append(c.holds, hold{
		sequence:     sequence,
		lun:          n.lun,
		requesterLUN: n.requesterLUN,
		expected:     uint8(min(expected, math.MaxUint8)),
		answers:      n.answers,
		until:        until,
	})
	if n.answers.count == 0 {
		c.silent++
	}
	c.earliest = min(c.earliest, until)
	e.arm(c)
}

// rest holds a number for as long as a copy of its answer may come.
func (e *Engine) rest(r *responder, sequence uint8, now time.Duration) {
	if until := r.numbers[sequence].answers.last + e.copyTime; until > now {
		e.hold(r, sequence, 0, until)
	}
}

// extendHolds makes the holds last that had not ended when the engine stopped
// reading: what came meanwhile is still to be read.
func (e *Engine) extendHolds(stopped, now time.Duration) {
	for _, r := range e.responders {
		if r == nil {
			continue
		}
		for _, c := range r.commands {
			for i := range c.holds {
				if h := &c.holds[i]; h.until > stopped {
					h.until = max(h.until, now+e.copyTime)
				}
			}
			c.earliest = 0
		}
	}
}

// arm makes the command wake up when a hold ends, if calls wait for that, or to
// be tidied up. One that wakes up too early is armed again.
func (e *Engine) arm(c *command) {
	if len(c.holds) == 0 {
		return
	}
	at := c.earliest
	if c.waiting == 0 {
		at += tidyTime
	}
	if c.place == 0 || at < c.at {
		e.set(&c.deadline, at)
	}
}

// expire lets go of the numbers whose holds have ended, and lets calls have
// them.
func (c *command) expire(e *Engine, now time.Duration) {
	r := c.responder
	c.release(now)
	if c.waiting > 0 {
		e.admit(r, now)
	}
	if r.commands[c.key] == c { // else it has been forgotten
		e.arm(c)
		e.forgetCommand(c)
	}
}

// release ends the holds whose time has passed.
func (c *command) release(now time.Duration) {
	if now < c.earliest {
		return
	}
	c.earliest = math.MaxInt64
	kept := c.holds[:0]
	for _, h := range c.holds {
		if h.until > now {
			kept = append(kept, h)
			c.earliest = min(c.earliest, h.until)
			continue
		}
		c.held &^= 1 << h.sequence
		if h.answers.count == 0 {
			c.silent--
		}
	}
	c.holds = kept
}

// late takes an answer to a call that has ended, and reports whether f is one.
func (e *Engine) late(r *responder, f Frame) bool {
	key := keyOf(f.NetFn.Request(), f.Command)
	n := &r.numbers[f.Sequence]
	if n.call == nil && n.writing && n.key == key && n.lun == f.SourceLUN && n.requesterLUN == f.DestinationLUN {
		n.answers.add(e.readAt, e.openedAt)
		e.heardLate(r, f)
		return true
	}
	c := r.commands[key]
	if c == nil || c.held&(1<<f.Sequence) == 0 {
		return false
	}
	for i := range c.holds {
		h := &c.holds[i]
		if h.sequence == f.Sequence && h.lun == f.SourceLUN && h.requesterLUN == f.DestinationLUN {
			e.heardLate(r, f)
			e.lateFor(c, h)
			return true
		}
	}
	return false
}

// heardLate notes an answer to a call that has ended.
func (e *Engine) heardLate(r *responder, f Frame) {
	r.hear(e.readAt)
	if e.copyTime == 0 {
		r.recently().rememberLate(f, e.readAt)
	}
}

// lateFor notes an answer under a number that is held. The number rests after each
// answer, and is free when it has rested after the last answer that is expected. Behind a
// socket there is no time after which no copy comes: there, a late answer to a call that
// had none does not end the hold.
func (e *Engine) lateFor(c *command, h *hold) {
	counted := h.answers.count
	if counted == 0 {
		if e.copyTime == 0 {
			return
		}
		c.silent--
	}
	h.answers.add(e.readAt, e.openedAt)
	rested := e.readAt + e.copyTime
	ours := h.sequence != 0 || e.broadcastHolds(c.key) == 0 // not a broadcast's
	if ours && h.answers.count > counted && h.expected > 0 {
		h.expected--
		if h.rests() {
			h.until = rested
		}
	}
	h.until = max(h.until, rested)
	c.earliest = min(c.earliest, h.until)
	if c.waiting > 0 {
		e.admit(c.responder, e.now())
	}
}
