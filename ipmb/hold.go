package ipmb

import (
	"math"
	"math/bits"
	"time"

	"ipmbd/ipmi"
)

const (
	// holdTime is how long a response may come: the expiration of sequence numbers, and a margin.
	holdTime = SequenceExpiration + time.Second
	// copyWindow is the time in which two responses count as one: the time after a response in
	// which its copy may come on I2C (i2c.DefaultCopyTime), and a margin.
	copyWindow = 50 * time.Millisecond
	// serialHolds: when time-outs hold this many numbers of a command, its calls go one at a time.
	// Then the other numbers last until the first hold ends.
	serialHolds = 48
	// tidyTime is how long the state of a command is kept for reuse after its last hold.
	tidyTime = time.Second
)

// hold keeps a number from being given to the same command again, because a response to its former
// use may come. A command has at most one hold for each number.
type hold struct {
	sequence     uint8
	lun          ipmi.LUN
	requesterLUN ipmi.LUN
	expected     uint8 // transmissions that may still be answered; 0: the number is in quarantine
	responses    responseCount
	until        time.Duration
}

// isQuarantine reports whether nothing but copies of responses may come.
func (h *hold) isQuarantine() bool { return h.expected == 0 }

// holdNumber holds a number for its command until the expected responses have come, and then in
// quarantine, at most until the given time.
func (e *Engine) holdNumber(r *responder, sequence uint8, expected int, until time.Duration) {
	n := &r.numbers[sequence]
	s := e.commandStateOf(r, n.key)
	s.held |= 1 << sequence
	s.holds = append(s.holds, hold{
		sequence: sequence, lun: n.lun, requesterLUN: n.requesterLUN,
		expected: uint8(min(expected, math.MaxUint8)), responses: n.responses, until: until,
	})
	if n.responses.count == 0 {
		s.silent++
	}
	s.earliest = min(s.earliest, until)
	e.scheduleHolds(s)
}

// quarantined is how many numbers without a call will be free for the command after quarantine.
func (s *commandState) quarantined() int {
	var found uint64
	for i := range s.holds {
		h := &s.holds[i]
		if h.isQuarantine() && s.responder.numbers[h.sequence].isIdle() {
			found |= 1 << h.sequence
		}
	}
	return bits.OnesCount64(found)
}

// scheduleHolds sets the deadline at which holds of a command end: at once if calls wait,
// otherwise when it is time to remove old holds. A deadline that comes too early is set again.
func (e *Engine) scheduleHolds(s *commandState) {
	if len(s.holds) == 0 {
		return
	}
	at := s.earliest
	if s.waiting == 0 {
		at += tidyTime
	}
	if s.place == 0 || at < s.at {
		e.setDeadline(&s.deadline, at)
	}
}

// expire ends the holds whose time has passed, and gives their numbers to calls that wait.
func (s *commandState) expire(e *Engine, now time.Duration) {
	r := s.responder
	s.endHolds(now)
	if s.waiting > 0 {
		e.assignToWaiters(r, now)
	}
	if r.commands[s.key] == s { // else it has been forgotten
		e.scheduleHolds(s)
		e.forgetUnused(s)
	}
}

// endHolds ends the holds whose time has passed.
func (s *commandState) endHolds(now time.Duration) {
	if now < s.earliest {
		return
	}
	s.earliest = math.MaxInt64
	kept := s.holds[:0]
	for _, h := range s.holds {
		if h.until > now {
			kept = append(kept, h)
			s.earliest = min(s.earliest, h.until)
			continue
		}
		s.held &^= 1 << h.sequence
		if h.responses.count == 0 {
			s.silent--
		}
	}
	s.holds = kept
}

// extendHolds prolongs the holds that lasted when the engine stopped to read.
func (e *Engine) extendHolds(stopped, now time.Duration) {
	for _, r := range e.responders {
		if r == nil {
			continue
		}
		for _, s := range r.commands {
			for i := range s.holds {
				if h := &s.holds[i]; h.until > stopped {
					h.until = max(h.until, now+e.copyTime)
				}
			}
			s.earliest = 0
		}
	}
}
