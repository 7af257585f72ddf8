package bus

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	const short, long = time.Second, settleTime
	tests := []struct {
		name  string
		lasts []time.Duration // each attempt
		want  []time.Duration // the wait after it
	}{
		{"first", []time.Duration{0}, ms(100)},
		{"absent device", make([]time.Duration, 9), ms(100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000)},
		{"device that comes and goes", []time.Duration{short, short, short}, ms(100, 200, 400)},
		{"device that had been there", []time.Duration{0, 0, long, 0, long}, ms(100, 200, 100, 200, 100)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var b Backoff
			for i, lasted := range test.lasts {
				if got := b.After(lasted); got != test.want[i] {
					t.Errorf("attempt %d: %v, want %v", i, got, test.want[i])
				}
			}
		})
	}
}

func ms(n ...int) []time.Duration {
	times := make([]time.Duration, len(n))
	for i := range n {
		times[i] = time.Duration(n[i]) * time.Millisecond
	}
	return times
}

func TestStateIsTheWorstOfTheCondition(t *testing.T) {
	for name, tt := range map[string]struct {
		give   condition
		state  State
		reason string
	}{
		"nothing":          {condition{}, Up, ""},
		"warning":          {condition{warning: "w"}, Degraded, "w"},
		"writes fail, too": {condition{warning: "w", failing: "f"}, Degraded, "f"},
		"stalled, too":     {condition{warning: "w", failing: "f", stalled: "s"}, Down, "s"},
		"down":             {condition{warning: "w", failing: "f", stalled: "s", down: "d"}, Down, "d"},
		"ending":           {condition{ending: true}, Up, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if state, reason := tt.give.state(); state != tt.state || reason != tt.reason {
				t.Errorf("%s: %q", state, reason)
			}
		})
	}
}
