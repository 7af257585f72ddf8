package ipmb

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
