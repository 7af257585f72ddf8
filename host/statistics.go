package host

import "maps"

// counter names a counter of a Loop.
type counter int

const (
	requestsReceived counter = iota
	requestsDropped
	responsesWritten
	responsesLate
	handlersBusy
	handlersTooSlow
	handlersFailed
)

var counterNames = []string{
	requestsReceived: "requests-received",
	requestsDropped:  "requests-dropped",
	responsesWritten: "answers-written",
	responsesLate:    "handler-answers-late",
	handlersBusy:     "handlers-busy",
	handlersTooSlow:  "handlers-too-slow",
	handlersFailed:   "handlers-failed",
}

// deviceCounter names a counter of a device.
type deviceCounter int

const (
	requestsMalformed   deviceCounter = iota // messages that are no request
	responsesSuperseded                      // responses to a request before the host's last
	responsesRefused                         // responses that the driver did not take any more
	responsesUnfetched                       // responses that waited for the host too long
)

var deviceCounterNames = []string{
	requestsMalformed:   "requests-malformed",
	responsesSuperseded: "answers-superseded",
	responsesRefused:    "answers-refused",
	responsesUnfetched:  "answers-unfetched",
}

// Statistics returns a snapshot of the counters of the loop and of all Ports that it has served,
// by name. They start at 0 and only grow.
func (l *Loop) Statistics() map[string]uint64 {
	statistics := l.counts.Statistics()
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(statistics, l.past)
	addCounters(statistics, l.port)
	return statistics
}

func addCounters(sum map[string]uint64, p Port) {
	if counter, ok := p.(Counter); ok {
		for name, n := range counter.Counters() {
			sum[name] += n
		}
	}
}
