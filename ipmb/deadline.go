package ipmb

import (
	"context"
	"math"
	"time"
)

// deadline is a moment at which something of the engine's expires. It is part
// of what expires, so that setting one allocates nothing.
type deadline struct {
	at    time.Duration // on the engine's clock
	place int           // in the heap, counted from 1; 0 when not set
	owner expirer
}

// expirer is what has a deadline. expire is called with the engine's mutex
// held, at or after the deadline, which is then no longer set.
type expirer interface {
	expire(e *Engine, now time.Duration)
}

// deadlines is a binary heap, the earliest first.
type deadlines struct {
	heap        []*deadline
	sleepsUntil time.Duration // what tick sleeps for
}

// set makes d expire at the given time, in place of the time it had.
func (e *Engine) set(d *deadline, at time.Duration) {
	q := &e.deadlines
	d.at = at
	if d.place == 0 {
		q.heap = append(q.heap, d)
		d.place = len(q.heap)
	}
	q.down(q.up(d.place - 1))
	if at < q.sleepsUntil {
		q.sleepsUntil = at
		e.wakeTick()
	}
}

// unset forgets d.
func (e *Engine) unset(d *deadline) {
	if d.place != 0 {
		e.deadlines.remove(d)
	}
}

func (e *Engine) wakeTick() {
	select {
	case e.earlier <- struct{}{}:
	default:
	}
}

func (q *deadlines) remove(d *deadline) {
	i, last := d.place-1, len(q.heap)-1
	q.swap(i, last)
	q.heap[last] = nil
	q.heap = q.heap[:last]
	d.place = 0
	if i < last {
		q.down(q.up(i))
	}
}

func (q *deadlines) up(i int) int {
	for i > 0 {
		parent := (i - 1) / 2
		if q.heap[parent].at <= q.heap[i].at {
			break
		}
		q.swap(i, parent)
		i = parent
	}
	return i
}

func (q *deadlines) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(q.heap) {
			return
		}
		if right := child + 1; right < len(q.heap) && q.heap[right].at < q.heap[child].at {
			child = right
		}
		if q.heap[i].at <= q.heap[child].at {
			return
		}
		q.swap(i, child)
		i = child
	}
}

func (q *deadlines) swap(i, j int) {
	q.heap[i], q.heap[j] = q.heap[j], q.heap[i]
	q.heap[i].place = i + 1
	q.heap[j].place = j + 1
}

// expired takes the earliest deadline if it has come.
func (q *deadlines) expired(now time.Duration) *deadline {
	if len(q.heap) == 0 || q.heap[0].at > now {
		return nil
	}
	d := q.heap[0]
	q.remove(d)
	return d
}

// tick lets deadlines expire, and tells the observer of stalls: from here
// alone, so that it hears of them in order. Under steady traffic it wakes once
// a slot, not once a call, since a call that ends leaves the timer as it is.
func (e *Engine) tick(ctx context.Context) {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	toldStalled := false
	for {
		e.ticking.Lock()
		e.mu.Lock()
		now := e.now()
		for d := e.deadlines.expired(now); d != nil; d = e.deadlines.expired(now) {
			d.owner.expire(e, now)
		}
		e.deadlines.sleepsUntil = math.MaxInt64
		if len(e.deadlines.heap) > 0 {
			e.deadlines.sleepsUntil = e.deadlines.heap[0].at
		}
		timer.Reset(e.deadlines.sleepsUntil - now)
		stalled := e.outbox.stalled
		e.unlock()

		if stalled != toldStalled {
			toldStalled = stalled
			e.config.Stalled(stalled)
		}
		e.ticking.Unlock()
		select {
		case <-ctx.Done():
			if toldStalled {
				e.config.Stalled(false)
			}
			return
		case <-timer.C:
		case <-e.earlier:
		}
	}
}
