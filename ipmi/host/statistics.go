package host

import "sync/atomic"

// counter names a count. The text is the name in Statistics.
type counter int

const (
	requestsReceived counter = iota
	requestsDropped
	answersWritten
	answersLate
	handlersBusy
	handlersTooSlow
	handlersFailed

	counterCount
)

var counterNames = [counterCount]string{
	requestsReceived: "requests-received",
	requestsDropped:  "requests-dropped",
	answersWritten:   "answers-written",
	answersLate:      "handler-answers-late",
	handlersBusy:     "handlers-busy",
	handlersTooSlow:  "handlers-too-slow",
	handlersFailed:   "handlers-failed",
}

type counters [counterCount]atomic.Uint64

func (c *counters) add(n counter) { c[n].Add(1) }

// Statistics is a snapshot of the loop's counters by their names. They start at
// 0 and only grow.
func (l *Loop) Statistics() map[string]uint64 {
	statistics := make(map[string]uint64, counterCount)
	for n := range l.counts {
		statistics[counterNames[n]] = l.counts[n].Load()
	}
	return statistics
}
