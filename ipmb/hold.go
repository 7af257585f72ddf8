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

// dropLateResponse drops f, counts it for its hold, and reports that, if its call has ended.
func (e *Engine) dropLateResponse(r *responder, f Frame) bool {
	key := keyOf(f.NetFn.Request(), f.Command)
	n := &r.numbers[f.Sequence]
	if n.call == nil && n.writing && n.key == key && n.lun == f.SourceLUN && n.requesterLUN == f.DestinationLUN {
		n.responses.note(e.readAt, e.openedAt)
		e.noteLateResponse(r, f)
		return true
	}
	s := r.commands[key]
	if s == nil || s.held&(1<<f.Sequence) == 0 {
		return false
	}
	for i := range s.holds {
		h := &s.holds[i]
		if h.sequence == f.Sequence && h.lun == f.SourceLUN && h.requesterLUN == f.DestinationLUN {
			e.noteLateResponse(r, f)
			e.countForHold(s, h)
			return true
		}
	}
	return false
}

func (e *Engine) noteLateResponse(r *responder, f Frame) {
	r.noteSign(e.readAt)
	if e.copyTime == 0 {
		r.pastResponses().noteLate(f, e.readAt)
	}
}

// countForHold counts a response under a number that is held. After the last expected response the
// number is in quarantine, which begins again with each copy. Behind a socket a copy may come at
// any time, so there a late response to a call that had no response does not end the hold.
func (e *Engine) countForHold(s *commandState, h *hold) {
	counted := h.responses.count
	if counted == 0 {
		if e.copyTime == 0 {
			return
		}
		s.silent--
	}
	h.responses.note(e.readAt, e.openedAt)
	free := e.readAt + e.copyTime
	isBroadcasts := h.sequence == 0 && e.heldByBroadcast(s.key) != 0
	if !isBroadcasts && h.responses.count > counted && h.expected > 0 {
		h.expected--
		if h.isQuarantine() {
			h.until = free
		}
	}
	h.until = max(h.until, free)
	s.earliest = min(s.earliest, h.until)
	if s.waiting > 0 {
		e.assignToWaiters(s.responder, e.now())
	}
}
