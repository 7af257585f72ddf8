package ipmb

import (
	"slices"
	"time"

	"ipmbd/ipmi"
)

const (
	// restTime is how long a number rests for its command after its answer, if
	// fewer than restUses other numbers were used meanwhile: a responder whose
	// write of the answer failed by mistake writes it again within
	// milliseconds.
	restTime = 10 * time.Millisecond
	restUses = 16
)

// responder is what the engine keeps for an address that it sends to: 64
// sequence numbers, and the calls that wait for one of them or for the bus.
type responder struct {
	numbers  [SequenceNumbers]number
	idle     []uint8                 // numbers nobody uses, the longest unused first
	commands map[commandKey]*command // those with holds or waiters
	holds    int
	waiting  []*Call // for a number, in order of arrival
	passes   uint64  // of admit over them
	rested   rest    // when a number that a call waits for has rested
	uses     uint64  // numbers given out so far
	queue    []*Call // for the bus, in order

	messaged    bool          // a call to it had our LUN 2
	lastMessage time.Duration // when the last of these ended, or now begins
}

// commandKey is a network function and a command.
type commandKey uint16

func keyOf(n ipmi.NetFn, c ipmi.Command) commandKey { return commandKey(n)<<8 | commandKey(c) }

// number is one sequence number of a responder. It is in use from the call
// that takes it until that call has ended and no write of it is in the kernel.
type number struct {
	call    *Call // the call that waits for the answer
	writing bool  // a frame with this number is being written

	// What is remembered of the call, which may end before its write does.
	key          commandKey
	lun          ipmi.LUN
	requesterLUN ipmi.LUN
	acknowledged int    // transmissions that the bus took
	answers      int    // answers that came
	sentIn       uint64 // the batch that was read last when it was first transmitted
	answeredIn   uint64 // the batch that brought the last answer
	released     time.Duration
	releasedUse  uint64 // responder.uses then
}

// command is the state of a network function and command of a responder.
type command struct {
	held     uint64 // numbers held, bit n for number n
	timeouts int    // of these, by time-outs
	holds    []*hold
	waiting  int    // calls that wait for a number
	pass     uint64 // the last pass of admit that found no number for it
}

// rest wakes the calls that wait for a number which rests.
type rest struct {
	deadline
	responder *responder
}

// expire lets the calls try again.
func (d *rest) expire(e *Engine, now time.Duration) { e.admit(d.responder, now) }

func newResponder() *responder {
	r := &responder{
		idle:     make([]uint8, SequenceNumbers),
		commands: make(map[commandKey]*command),
	}
	for i := range r.idle {
		r.idle[i] = uint8(i)
	}
	r.rested.owner, r.rested.responder = &r.rested, r
	return r
}

// command is the state for key, made where there is none.
func (r *responder) command(key commandKey) *command {
	c := r.commands[key]
	if c == nil {
		c = new(command)
		r.commands[key] = c
	}
	return c
}

// hasWaiters reports whether calls wait for a number. c may be nil.
func (c *command) hasWaiters() bool { return c != nil && c.waiting > 0 }

// forget drops the state for key if it says nothing.
func (r *responder) forget(key commandKey, c *command) {
	if c.held == 0 && c.waiting == 0 {
		delete(r.commands, key)
	}
}

// take gives out the longest unused number that is not held for key and has
// rested. Where there is none it says when one will have, if one will: a call
// that cannot wait takes it with force.
func (r *responder) take(key commandKey, now time.Duration, force bool) (sequence uint8, ok bool, rested time.Duration) {
	var held uint64
	if c := r.commands[key]; c != nil {
		if c.timeouts >= serialHolds && r.inUse(key) {
			return 0, false, 0
		}
		held = c.held
	}
	if r.holds >= maxHolds {
		return 0, false, 0
	}
	resting := -1
	for i, sequence := range r.idle {
		switch {
		case held&(1<<sequence) != 0:
		case !r.rests(sequence, key, now):
			return r.giveOut(i), true, 0
		case resting < 0:
			resting = i
		}
	}
	switch {
	case resting < 0:
		return 0, false, 0
	case force:
		return r.giveOut(resting), true, 0
	}
	return 0, false, r.numbers[r.idle[resting]].released + restTime
}

// rests reports whether another copy of the last answer with a number may
// still come, and be taken for the answer to a call of key.
func (r *responder) rests(sequence uint8, key commandKey, now time.Duration) bool {
	n := &r.numbers[sequence]
	return n.answers > 0 && n.key == key && r.uses-n.releasedUse < restUses && now-n.released < restTime
}

// giveOut takes the i-th idle number.
func (r *responder) giveOut(i int) uint8 {
	sequence := r.idle[i]
	r.idle = slices.Delete(r.idle, i, i+1)
	r.uses++
	return sequence
}

// inUse reports whether a call of key has a number.
func (r *responder) inUse(key commandKey) bool {
	for i := range r.numbers {
		if n := &r.numbers[i]; (n.call != nil || n.writing) && n.key == key {
			return true
		}
	}
	return false
}

// release gives back a number whose call has ended and whose write has
// returned, or holds it where an answer may still come, and lets the next call
// have it.
func (e *Engine) release(r *responder, sequence uint8, now time.Duration) {
	n := &r.numbers[sequence]
	switch {
	case n.acknowledged == 0:
	case n.answers == 0:
		e.hold(r, sequence, 0, now)
	case n.answers < n.acknowledged:
		e.hold(r, sequence, n.acknowledged-n.answers, now)
	}
	n.released, n.releasedUse = now, r.uses
	r.idle = append(r.idle, sequence)
	e.admit(r, now)
}

// admit gives numbers to calls that wait, in order of arrival; a call waits
// behind an earlier one of its command.
func (e *Engine) admit(r *responder, now time.Duration) {
	if len(r.waiting) == 0 {
		return
	}
	r.passes++
	for i := 0; i < len(r.waiting) && len(r.idle) > 0; {
		c := r.waiting[i]
		state := r.commands[c.key]
		if state.pass == r.passes {
			i++
			continue
		}
		sequence, ok, rested := r.take(c.key, now, false)
		if !ok {
			e.awaitRest(r, rested)
			state.pass = r.passes
			i++
			continue
		}
		e.unwait(r, c)
		e.assign(r, c, sequence)
	}
}

// awaitRest makes admit run again when a number has rested; 0 is never.
func (e *Engine) awaitRest(r *responder, rested time.Duration) {
	if rested != 0 && (r.rested.place == 0 || rested < r.rested.at) {
		e.set(&r.rested.deadline, rested)
	}
}

// unwait takes c out of the line for a number.
func (e *Engine) unwait(r *responder, c *Call) {
	r.waiting = slices.DeleteFunc(r.waiting, func(other *Call) bool { return other == c })
	state := r.commands[c.key]
	state.waiting--
	r.forget(c.key, state)
	e.unset(&c.deadline)
}

// noteMessage remembers that a call with our LUN 2 is on its way, or was.
func (r *responder) noteMessage(c *Call, now time.Duration) {
	if c.requesterLUN == messageLUN {
		r.messaged, r.lastMessage = true, now
	}
}
