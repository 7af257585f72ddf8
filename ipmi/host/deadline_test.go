package host

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// told reports whether a context has ended, as who waits for that sees it.
func told(ctx context.Context) bool {
	synctest.Wait()
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// TestDeadlineContext compares it with that of package context, and one made of
// it too, at each moment for who waits and for who only looks.
func TestDeadlineContext(t *testing.T) {
	const second = time.Second
	for name, steps := range map[string][]func(stop, end func()){
		"the deadline":                       {nil, func(_, _ func()) { time.Sleep(second) }, func(_, end func()) { end() }},
		"its end":                            {nil, func(_, end func()) { end() }, func(_, _ func()) { time.Sleep(2 * second) }},
		"the parent's end":                   {nil, func(stop, _ func()) { stop() }, func(_, end func()) { end() }},
		"the parent's after its own":         {func(_, end func()) { end() }, func(stop, _ func()) { stop() }},
		"its own when the deadline has been": {func(_, end func()) { time.Sleep(2 * second); end() }},
	} {
		for _, wait := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, stop := context.WithCancel(t.Context())
					defer stop()
					deadline := time.Now().Add(second)
					theirs, cancel := context.WithDeadline(parent, deadline)
					defer cancel()
					ours := &deadlineContext{Context: parent, deadline: deadline}
					defer ours.end()
					child := context.Context(ours)
					if wait {
						inner, end := context.WithCancel(ours)
						defer end()
						child = inner
					}
					for n, step := range steps {
						if step != nil {
							step(stop, func() { cancel(); ours.end() })
						}
						if wait && (told(ours) != told(theirs) || told(child) != told(theirs)) {
							t.Errorf("step %d: told %v and %v, want %v", n, told(ours), told(child), told(theirs))
						}
						synctest.Wait()
						if ours.Err() != theirs.Err() || child.Err() != theirs.Err() {
							t.Errorf("step %d: %v and %v, want %v", n, ours.Err(), child.Err(), theirs.Err())
						}
					}
					if told(ours) != told(theirs) {
						t.Errorf("told in the end: %v", told(ours))
					}
				})
			})
		}
	}
}

func TestDeadlineIsTheEarlierOne(t *testing.T) {
	early, late := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
	parent, cancel := context.WithDeadline(t.Context(), early)
	defer cancel()
	if d, _ := (&deadlineContext{Context: parent, deadline: late}).Deadline(); !d.Equal(early) {
		t.Error(d)
	}
	if d, _ := (&deadlineContext{Context: t.Context(), deadline: late}).Deadline(); !d.Equal(late) {
		t.Error(d)
	}
}
