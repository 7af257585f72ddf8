package ipmb

import (
	"errors"
	"math"
	"slices"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// responder is the state that the engine keeps for an address to which it sends: 64 sequence
// numbers, and the calls that wait for one of them or for the bus.
type responder struct {
	numbers  [SequenceNumbers]number
	idle     []uint8                      // numbers without a call, the longest unused first
	commands map[commandKey]*commandState // with holds or waiters
	waiting  []*Call                      // for a number, in order of arrival
	passes   uint64                       // of assignToWaiters over them
	queue    []*Call                      // for the bus, in order
	past     *pastResponses               // on a transport without quarantine, else nil

	hasSign  bool          // it has acknowledged or answered a request
	lastSign time.Duration // when it did so last

	hadSMS bool          // a call to it had our SMS LUN
	smsAt  time.Duration // when the last of these ended, or now begins
}

// noteSign notes a sign of life.
func (r *responder) noteSign(now time.Duration) { r.hasSign, r.lastSign = true, now }

// isPresent reports whether the last sign of life is as recent as the oldest response that may
// come.
func (r *responder) isPresent(now time.Duration) bool { return r.hasSign && now-r.lastSign < holdTime }

// noteSMS notes that a call with our SMS LUN begins or ends.
func (r *responder) noteSMS(c *Call, now time.Duration) {
	if c.requesterLUN == ipmi.SMSLUN {
		r.hadSMS, r.smsAt = true, now
	}
}

// responderAt is the state kept for an address, made at its first use.
func (e *Engine) responderAt(a ipmi.Address) *responder {
	r := e.responders[a>>1]
	if r == nil {
		r = &responder{idle: make([]uint8, SequenceNumbers), commands: make(map[commandKey]*commandState)}
		for i := range r.idle {
			r.idle[i] = uint8(i)
		}
		e.responders[a>>1] = r
	}
	return r
}

// commandKey is a network function and a command.
type commandKey uint16

func keyOf(n ipmi.NetFn, c ipmi.Command) commandKey { return commandKey(n)<<8 | commandKey(c) }

// number is one sequence number of a responder, in use until its call and its write have ended.
type number struct {
	call    *Call // the call that waits for the response
	writing bool  // a frame with this number is being written

	// Of the call, which may end before its write does.
	key          commandKey
	lun          ipmi.LUN
	requesterLUN ipmi.LUN
	acknowledged bool   // the bus took a transmission
	delivered    int    // transmissions that the responder has, or may have
	refused      int    // NACKs whose byte the driver does not name
	sentIn       uint64 // the batch that was read last when it was first transmitted
	shared       bool   // with a broadcast, whose responses look like the call's
	responses    responseCount
}

func (n *number) isIdle() bool { return n.call == nil && !n.writing }

// noteWrite notes the outcome of a transmission.
func (n *number) noteWrite(r *responder, now time.Duration, err error) {
	n.writing = false
	switch {
	case err == nil:
		n.acknowledged = true
		n.delivered++
		r.noteSign(now)
	case i2c.NotDelivered(err):
	case errors.Is(err, ErrNotAcknowledged):
		n.refused++
	default:
		n.delivered++
	}
}

// possibleDeliveries is how many transmissions the responder may have received. A NACK whose byte
// the driver does not name may follow a frame that was received whole. Such a NACK for a responder
// that is not present counts as no delivery, so that a scan of absent addresses holds no numbers.
func (n *number) possibleDeliveries(r *responder, now time.Duration) int {
	if n.acknowledged || n.responses.count > 0 || r.isPresent(now) {
		return n.delivered + n.refused
	}
	return n.delivered
}

// responseCount counts the transmissions that have been answered, as far as responses show it.
type responseCount struct {
	count int
	last  time.Duration // when the last response, or a copy of one, was read
}

// note notes a response that was read at a given time. A response soon after another one may be a
// copy of it, or a second response to the same transmission, so it does not count. A response that
// was read soon after the transport was opened may have come before that.
func (c *responseCount) note(at, opened time.Duration) {
	if c.count == 0 || at-max(c.last, opened) >= copyWindow {
		c.count++
	}
	c.last = at
}

// commandState is the state of a network function and command of a responder.
type commandState struct {
	deadline  // of the next hold to end, while calls wait; else for tidying up
	responder *responder
	key       commandKey
	held      uint64        // numbers with a hold, bit n for number n
	holds     []hold        // one for each bit of held
	earliest  time.Duration // no hold ends before this
	silent    int           // holds without any response
	waiting   int           // calls that wait for a number
	pass      uint64        // the last pass of assignToWaiters that found no number for it
}

// maxSpare bounds the commandStates that are kept for reuse.
const maxSpare = 64

// commandStateOf returns the state for key, and makes it if necessary.
func (e *Engine) commandStateOf(r *responder, key commandKey) *commandState {
	s := r.commands[key]
	if s != nil {
		return s
	}
	if last := len(e.spare) - 1; last >= 0 {
		s = e.spare[last]
		e.spare = e.spare[:last]
	} else {
		s = new(commandState)
		s.owner = s
	}
	s.responder, s.key = r, key
	s.earliest = math.MaxInt64
	s.pass = 0
	r.commands[key] = s
	return s
}

// forgetUnused forgets the state of a command without holds and waiters.
func (e *Engine) forgetUnused(s *commandState) {
	if len(s.holds) > 0 || s.waiting > 0 {
		return
	}
	e.clearDeadline(&s.deadline)
	delete(s.responder.commands, s.key)
	s.responder = nil
	if len(e.spare) < maxSpare {
		e.spare = append(e.spare, s)
	}
}

// reserveNumber reserves the longest unused number to which no response of the command may come.
func (e *Engine) reserveNumber(r *responder, key commandKey, now time.Duration) (sequence uint8, ok bool) {
	held := e.heldByBroadcast(key)
	if s := r.commands[key]; s != nil {
		s.endHolds(now)
		if s.silent >= serialHolds && r.hasCall(key) {
			return 0, false
		}
		held |= s.held
	}
	for i, sequence := range r.idle {
		if held&(1<<sequence) == 0 {
			r.idle = slices.Delete(r.idle, i, i+1)
			return sequence, true
		}
	}
	return 0, false
}

// hasCall reports whether a call of key has a number.
func (r *responder) hasCall(key commandKey) bool {
	for i := range r.numbers {
		if n := &r.numbers[i]; !n.isIdle() && n.key == key {
			return true
		}
	}
	return false
}

// releaseNumber gives back a number whose call has ended and whose write has returned. If a
// response or a copy of one may still come, the command does not get the number again until then.
func (e *Engine) releaseNumber(r *responder, sequence uint8, now time.Duration) {
	n := &r.numbers[sequence]
	if missing := n.possibleDeliveries(r, now) - n.responses.count; missing > 0 {
		e.holdNumber(r, sequence, missing, now+holdTime)
	} else if free := n.responses.last + e.copyTime; n.responses.count > 0 && free > now {
		e.holdNumber(r, sequence, 0, free)
	}
	r.idle = append(r.idle, sequence)
	e.assignToWaiters(r, now)
}

// waitForNumber puts c in line for a number. A call with noWait waits only if a number in
// quarantine will be free for it, and for two quarantines: each copy prolongs them.
func (e *Engine) waitForNumber(c *Call, noWait bool) error {
	r, timeout := c.responder, c.policy.Duration()
	if noWait {
		s := r.commands[c.key]
		if s == nil || s.quarantined() <= s.waiting {
			return ErrBusy
		}
		timeout = 2 * e.copyTime
	}
	s := e.commandStateOf(r, c.key)
	if s.waiting >= e.config.MaxWaiting {
		return ErrBusy
	}
	s.waiting++
	r.waiting = append(r.waiting, c)
	c.state = stateWaiting
	e.setDeadline(&c.deadline, e.now()+timeout)
	e.scheduleHolds(s)
	return nil
}

// leaveLine takes c out of the line for a number.
func (e *Engine) leaveLine(c *Call) {
	r := c.responder
	r.waiting = slices.DeleteFunc(r.waiting, func(other *Call) bool { return other == c })
	s := r.commands[c.key]
	s.waiting--
	e.forgetUnused(s)
	e.clearDeadline(&c.deadline)
}

// assignToWaiters gives numbers to calls that wait, in order of arrival for each command.
func (e *Engine) assignToWaiters(r *responder, now time.Duration) {
	if len(r.waiting) == 0 {
		return
	}
	r.passes++
	for i := 0; i < len(r.waiting) && len(r.idle) > 0; {
		c := r.waiting[i]
		s := r.commands[c.key]
		if s.pass == r.passes {
			i++
			continue
		}
		sequence, ok := e.reserveNumber(r, c.key, now)
		if !ok {
			s.pass = r.passes
			e.scheduleHolds(s)
			i++
			continue
		}
		e.leaveLine(c)
		e.assignNumber(c, sequence)
	}
}
