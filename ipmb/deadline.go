package ipmb

import (
	"container/heap"
	"context"
	"math"
	"time"
)

// deadline is when the object that contains it expires. To set it allocates nothing.
type deadline struct {
	at    time.Duration // on the engine's clock
	place int           // in the heap, counted from 1; 0 when not set
	owner expirer
}

// expirer has a deadline. The engine calls expire after it, with its mutex held.
type expirer interface {
	expire(e *Engine, now time.Duration)
}

// deadlines is a heap with the earliest deadline first. Its methods implement heap.Interface.
type deadlines []*deadline

func (q deadlines) Len() int           { return len(q) }
func (q deadlines) Less(i, j int) bool { return q[i].at < q[j].at }

func (q deadlines) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

func (q *deadlines) Push(x any) {
	d := x.(*deadline)
	*q = append(*q, d)
	d.place = len(*q)
}

func (q *deadlines) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	d.place = 0
	return d
}

// setDeadline makes d expire at the given time, whether or not it was set before.
func (e *Engine) setDeadline(d *deadline, at time.Duration) {
	d.at = at
	if d.place == 0 {
		heap.Push(&e.deadlines, d)
	} else {
		heap.Fix(&e.deadlines, d.place-1)
	}
	if at < e.sleepsUntil {
		e.sleepsUntil = at
		e.wakeWatcher()
	}
}

// clearDeadline makes d not expire.
func (e *Engine) clearDeadline(d *deadline) {
	if d.place != 0 {
		heap.Remove(&e.deadlines, d.place-1)
	}
}

// wakeWatcher makes watchDeadlines look at the deadlines and at the stall again.
func (e *Engine) wakeWatcher() {
	select {
	case e.earlier <- struct{}{}:
	default:
	}
}

// watchDeadlines is the loop that expires deadlines. It also calls Config.Stalled, so that these
// calls are in order. Under steady traffic it wakes once in a slot and not once in a call, since a
// call that ends leaves the timer as it is.
func (e *Engine) watchDeadlines(ctx context.Context) {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	toldStalled := false
	for {
		e.watching.Lock()
		e.mu.Lock()
		now := e.now()
		for len(e.deadlines) > 0 && e.deadlines[0].at <= now {
			heap.Pop(&e.deadlines).(*deadline).owner.expire(e, now)
		}
		e.sleepsUntil = math.MaxInt64
		if len(e.deadlines) > 0 {
			e.sleepsUntil = e.deadlines[0].at
		}
		timer.Reset(e.sleepsUntil - now)
		stalled := e.outbox.stalled
		e.unlock()

		if stalled != toldStalled {
			toldStalled = stalled
			e.config.Stalled(stalled)
		}
		e.watching.Unlock()
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
