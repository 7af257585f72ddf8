package ipmb

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"ipmbd/ipmi"
)

// presenceTime is how long after its last sign of life a responder counts as
// present: see number.possible.
const presenceTime = holdTime

// responder is what the engine keeps for an address that it sends to: 64
// sequence numbers, and the calls that wait for one of them or for the bus.
type responder struct {
	numbers  [SequenceNumbers]number
	idle     []uint8                 // numbers that no call has, the longest unused first
	commands map[commandKey]*command // those with holds or waiters
	waiting  []*Call                 // for a number, in order of arrival
	passes   uint64                  // of admit over them
	queue    []*Call                 // for the bus, in order
	recent   *recent                 // on a transport on which no number rests, else nil

	heard     bool          // it has acknowledged or answered a request
	lastHeard time.Duration // when it did so last

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
	acknowledged bool   // the bus took a transmission
	delivered    int    // transmissions that the responder has, or may have
	refused      int    // transmissions of which the driver does not know
	sentIn       uint64 // the batch that was read last when it was first transmitted
	shared       bool   // with a broadcast, whose answers look like the call's
	answers      answers
}

// answers counts the transmissions that have been answered, as far as the
// answers show it.
type answers struct {
	count int
	last  time.Duration // when the last answer, or a copy of one, came
}

// add notes an answer that was read at a given time. An answer soon after another
// may be a copy of it, or a second answer to the same transmission: it does not
// count. opened is when the transport was opened: what is read soon after that
// may have come before.
func (a *answers) add(at, opened time.Duration) {
	if a.count == 0 || at-max(a.last, opened) >= copyWindow {
		a.count++
	}
	a.last = at
}

// possible is how many transmissions the responder may have received. A NACK of
// which the driver does not tell the byte may follow a frame that was received
// whole; from a responder that is not there it is none, so that a scan of absent
// addresses holds no numbers.
func (n *number) possible(r *responder, now time.Duration) int {
	if n.acknowledged || n.answers.count > 0 || r.isPresent(now) {
		return n.delivered + n.refused
	}
	return n.delivered
}

// isPresent reports whether the responder was heard of lately.
func (r *responder) isPresent(now time.Duration) bool {
	return r.heard && now-r.lastHeard < presenceTime
}

// hear notes a sign of life.
func (r *responder) hear(now time.Duration) { r.heard, r.lastHeard = true, now }

// command is the state of a network function and command of a responder.
type command struct {
	deadline  // of the next hold to end, while calls wait; else for tidying up
	responder *responder
	key       commandKey
	held      uint64        // numbers with a hold, bit n for number n
	holds     []hold        // one for each bit of held
	earliest  time.Duration // no hold ends before this
	silent    int           // holds without any answer
	waiting   int           // calls that wait for a number
	pass      uint64        // the last pass of admit that found no number for it
}

func newResponder() *responder {
	r := &responder{
		idle:     make([]uint8, SequenceNumbers),
		commands: make(map[commandKey]*command),
	}
	for i := range r.idle {
		r.idle[i] = uint8(i)
	}
	return r
}

// maxSpare bounds the states of commands that are kept for reuse.
const maxSpare = 64

// command is the state for key, made where there is none.
func (e *Engine) command(r *responder, key commandKey) *command {
	c := r.commands[key]
	if c != nil {
		return c
	}
	if last := len(e.spare) - 1; last >= 0 {
		c = e.spare[last]
		e.spare = e.spare[:last]
	} else {
		c = new(command)
		c.owner = c
	}
	c.responder, c.key = r, key
	c.earliest = math.MaxInt64
	c.pass = 0
	r.commands[key] = c
	return c
}

// forgetCommand drops the state of a command if it says nothing.
func (e *Engine) forgetCommand(c *command) {
	if len(c.holds) > 0 || c.waiting > 0 {
		return
	}
	e.unset(&c.deadline)
	delete(c.responder.commands, c.key)
	c.responder = nil
	if len(e.spare) < maxSpare {
		e.spare = append(e.spare, c)
	}
}

// hasWaiters reports whether calls wait for a number. c may be nil.
func (c *command) hasWaiters() bool { return c != nil && c.waiting > 0 }

// take gives out the longest unused number under which no answer to a former
// call of the command can come.
func (e *Engine) take(r *responder, key commandKey, now time.Duration) (sequence uint8, ok bool) {
	held := e.broadcastHolds(key)
	if c := r.commands[key]; c != nil {
		c.release(now)
		if c.silent >= serialHolds && r.inUse(key) {
			return 0, false
		}
		held |= c.held
	}
	for i, sequence := range r.idle {
		if held&(1<<sequence) == 0 {
			r.idle = slices.Delete(r.idle, i, i+1)
			return sequence, true
		}
	}
	return 0, false
}

// isIdle reports whether no call has a number.
func (n *number) isIdle() bool { return n.call == nil && !n.writing }

// inUse reports whether a call of key has a number.
func (r *responder) inUse(key commandKey) bool {
	for i := range r.numbers {
		if n := &r.numbers[i]; !n.isIdle() && n.key == key {
			return true
		}
	}
	return false
}

// resting is how many numbers that no call has will be free for the command
// after a rest.
func (c *command) resting() int {
	var resting uint64
	for i := range c.holds {
		h := &c.holds[i]
		if h.rests() && c.responder.numbers[h.sequence].isIdle() {
			resting |= 1 << h.sequence
		}
	}
	return bits.OnesCount64(resting)
}

// release gives back a number whose call has ended and whose write has
// returned, holds it where an answer may still come, and lets the next call
// have it.
func (e *Engine) release(r *responder, sequence uint8, now time.Duration) {
	n := &r.numbers[sequence]
	switch missing := n.possible(r, now) - n.answers.count; {
	case missing > 0:
		e.hold(r, sequence, missing, now+holdTime)
	case n.answers.count > 0:
		e.rest(r, sequence, now)
	}
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
		sequence, ok := e.take(r, c.key, now)
		if !ok {
			state.pass = r.passes
			e.arm(state)
			i++
			continue
		}
		e.unwait(r, c)
		e.assign(r, c, sequence)
	}
}

// unwait takes c out of the line for a number.
func (e *Engine) unwait(r *responder, c *Call) {
	r.waiting = slices.DeleteFunc(r.waiting, func(other *Call) bool { return other == c })
	state := r.commands[c.key]
	state.waiting--
	e.forgetCommand(state)
	e.unset(&c.deadline)
}

// noteMessage remembers that a call with our LUN 2 is on its way, or was.
func (r *responder) noteMessage(c *Call, now time.Duration) {
	if c.requesterLUN == ipmi.SMSLUN {
		r.messaged, r.lastMessage = true, now
	}
}
