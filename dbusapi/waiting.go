package dbusapi

import (
	"maps"
	"slices"
	"sync"
	"time"

	"ipmbd/ipmi"
)

// waiting is the requests of a bus that wait for a sendResponse. One timer looks after
// all of them. The zero value is ready.
type waiting struct {
	mu       sync.Mutex
	requests map[uint64]*signalled // by id, which grows
	timer    *time.Timer
	look     time.Time // when the timer fires; zero: it does not
	looking  bool      // it has fired, and lookAgain is to come
}

// signalled is one of them.
type signalled struct {
	reply    ipmi.Reply
	deadline time.Time // zero: none
	// nearly is when a twentieth of the time until the deadline is left: the request ends
	// then, unless somebody may answer it.
	nearly  time.Time
	allowed bool // it may wait until the deadline
}

func newSignalled(req *ipmi.Request, reply ipmi.Reply) *signalled {
	r := &signalled{reply: reply, deadline: req.Deadline}
	if !r.deadline.IsZero() {
		r.nearly = r.deadline.Add(-time.Until(r.deadline) / 20)
	}
	return r
}

// next is when the request is to be looked at; zero: never.
func (r *signalled) next() time.Time {
	if r.allowed {
		return r.deadline
	}
	return r.nearly
}

// add has a request wait. look is called when unserved is to be.
func (w *waiting) add(id uint64, r *signalled, look func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.requests == nil {
		w.requests = make(map[uint64]*signalled)
		w.timer = time.AfterFunc(time.Hour, look)
		w.timer.Stop()
	}
	w.requests[id] = r
	w.lookAt(r.next())
}

// lookAt sets the timer, unless it fires before.
func (w *waiting) lookAt(t time.Time) {
	if w.looking || t.IsZero() || !w.look.IsZero() && !t.Before(w.look) {
		return
	}
	w.look = t
	w.timer.Reset(time.Until(t))
}

// remove takes a request out, nil if it is not there.
func (w *waiting) remove(id uint64) *signalled {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.requests[id]
	delete(w.requests, id)
	return r
}

// answer answers a request, and reports whether it has: once and in time.
func (w *waiting) answer(id uint64, res ipmi.Response) bool {
	r := w.remove(id)
	return r != nil && r.reply.Answer(res, nil)
}

// unserved takes out the requests whose time is nearly over, in the order in which they
// came. If somebody may answer, they wait until their deadline, at which their owner
// answers them. lookAgain is to be called when the others are answered, so that the next
// ones are answered after them.
func (w *waiting) unserved(now time.Time, mayBeAnswered bool) (ended []*signalled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look, w.looking = time.Time{}, true
	for _, id := range slices.Sorted(maps.Keys(w.requests)) {
		r := w.requests[id]
		switch next := r.next(); {
		case next.IsZero(), now.Before(next):
		case r.allowed: // The deadline has passed.
			delete(w.requests, id)
		case mayBeAnswered:
			r.allowed = true
		default:
			delete(w.requests, id)
			ended = append(ended, r)
		}
	}
	return ended
}

// lookAgain sets the timer for the requests that are left.
func (w *waiting) lookAgain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looking = false
	for _, r := range w.requests {
		w.lookAt(r.next())
	}
}
