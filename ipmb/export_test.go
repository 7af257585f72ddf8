package ipmb

import "fmt"

// Unfree returns everything that is not free in an engine that has no call in progress and
// whose holds should all have ended.
func (e *Engine) Unfree() (found []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	note := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for i, r := range e.responders {
		if r == nil {
			continue
		}
		var idle uint64
		for _, sequence := range r.idle {
			idle |= 1 << sequence
		}
		if len(r.idle) != SequenceNumbers || idle != 1<<SequenceNumbers-1 {
			note("responder %02Xh has the numbers %d", i<<1, r.idle)
		}
		if len(r.waiting) > 0 || len(r.queue) > 0 {
			note("responder %02Xh has %d calls that wait, %d in its queue", i<<1, len(r.waiting), len(r.queue))
		}
		for key, c := range r.commands {
			c.endHolds(e.now())
			if c.held != 0 || len(c.holds) > 0 || c.silent != 0 || c.waiting != 0 {
				note("responder %02Xh, command %04Xh: %d holds of %X, %d silent, %d calls wait", i<<1, key, len(c.holds), c.held, c.silent, c.waiting)
			}
		}
	}
	if o := &e.outbox; len(o.turns) > 0 || o.pending > 0 || o.writing {
		note("the outbox has %d responders with calls, %d deliveries", len(o.turns), o.pending)
	}
	if len(e.broadcasts) > 0 {
		note("%d commands have number 0 held", len(e.broadcasts))
	}
	return found
}
