package host

import (
	"maps"
	"sync/atomic"
)

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

// Statistics is a snapshot of the loop's counters and those of its Ports so far,
// by their names. They start at 0 and only grow.
func (l *Loop) Statistics() map[string]uint64 {
	statistics := make(map[string]uint64, counterCount)
	for n := range l.counts {
		statistics[counterNames[n]] = l.counts[n].Load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(statistics, l.past)
	addCounters(statistics, l.port)
	return statistics
}

// setPort says which Port is served, nil for none, and keeps the counters of the
// one before.
func (l *Loop) setPort(p Port) {
	l.mu.Lock()
	defer l.mu.Unlock()
	addCounters(l.past, l.port)
	l.port = p
	if p != nil {
		l.ended = make(chan struct{})
	} else {
		close(l.ended)
	}
}

func addCounters(sum map[string]uint64, p Port) {
	if counter, ok := p.(Counter); ok {
		for name, n := range counter.Counters() {
			sum[name] += n
		}
	}
}
