package bus

import (
	"errors"
	"time"

	"ipmbd/ipmb"
)

// State is whether a bus or a host interface works.
type State string

// The states. A host interface is Waiting while it works and no machine is connected to it.
const (
	Up       State = "Up"
	Waiting  State = "Waiting"
	Degraded State = "Degraded"
	Down     State = "Down"
)

// condition is the knowledge about a device. Each field is a reason, "" for no such problem. The
// state follows from the worst: a device that is closed or stalled carries nothing, and failing
// writes say more than a warning, which lasts as long as the device is open.
type condition struct {
	down    string // it is not open, or carries nothing
	stalled string // a write does not return from the kernel
	failing string // writes fail
	warning string
	waiting string // nobody is at the other end, which is no fault
	ending  bool   // it will carry no more, so that its writes say nothing of the state
}

func (c *condition) opened(waiting string) { *c = condition{waiting: waiting, warning: c.warning} }

func (c condition) state() (State, string) {
	switch {
	case c.down != "":
		return Down, c.down
	case c.stalled != "":
		return Down, c.stalled
	case c.failing != "":
		return Degraded, c.failing
	case c.warning != "":
		return Degraded, c.warning
	case c.waiting != "":
		return Waiting, c.waiting
	}
	return Up, ""
}

// update changes the condition, and tells if that changes the state or its reason.
func (l *Lifecycle) update(change func(*condition)) {
	l.mu.Lock()
	before, reasonBefore := l.condition.state()
	change(&l.condition)
	now, reason := l.condition.state()
	l.mu.Unlock()
	if now != before || reason != reasonBefore {
		l.changed(now, reason)
	}
}

// State returns the state and the reason for it: a sentence, "" when Up.
func (l *Lifecycle) State() (State, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.condition.state()
}

// SetDown makes the device Down for a reason; "" ends that.
func (l *Lifecycle) SetDown(reason string) {
	l.update(func(c *condition) { *c = condition{down: reason} })
}

// SetWaiting makes the device Waiting for a reason while it is open; "" ends that.
func (l *Lifecycle) SetWaiting(reason string) {
	l.update(func(c *condition) { c.waiting = reason })
}

// SetWarning makes the device Degraded for a reason while it is open; "" ends that.
func (l *Lifecycle) SetWarning(reason string) {
	l.update(func(c *condition) { c.warning = reason })
}

// Reading is for ipmb.Config.Reading.
func (l *Lifecycle) Reading(on bool) {
	if on {
		l.Serving("")
	} else {
		l.Ending()
	}
}

// Ending says that the device takes no more requests. From then on writes do not change the state,
// and the device has 2 s to end; after that it is Down.
func (l *Lifecycle) Ending() {
	l.update(func(c *condition) { c.ending = true })
	select {
	case l.ending <- struct{}{}:
	default:
	}
}

// A device is Degraded when stuckWrites writes in a row have failed, or all of them for stuckTime.
// A write that is not acknowledged does not count: it shows a missing responder, not a bad bus.
const (
	stuckWrites = 4
	stuckTime   = time.Second // after the end of the first, which takes about 1 s itself
)

// Wrote is for ipmb.Config.Wrote.
func (l *Lifecycle) Wrote(err error) {
	switch {
	case errors.Is(err, ipmb.ErrClosed):
		l.Reading(false)
	case errors.Is(err, ipmb.ErrStuck):
		if l.stuck == 0 {
			l.stuckSince = time.Now()
		}
		if l.stuck++; l.stuck >= stuckWrites || time.Since(l.stuckSince) >= stuckTime {
			l.updateUnlessEnding(func(c *condition) { c.failing = err.Error() })
		}
	case l.stuck > 0:
		l.stuck = 0
		l.updateUnlessEnding(func(c *condition) { c.failing = "" })
	}
}

// Stalled is for ipmb.Config.Stalled. The device is Down while a write hangs in the kernel.
func (l *Lifecycle) Stalled(stalled bool) {
	reason := ""
	if stalled {
		reason = "a write has been in the kernel for " + ipmb.StallTime.String()
	}
	l.updateUnlessEnding(func(c *condition) { c.stalled = reason })
}

func (l *Lifecycle) updateUnlessEnding(change func(*condition)) {
	l.update(func(c *condition) {
		if !c.ending {
			change(c)
		}
	})
}
