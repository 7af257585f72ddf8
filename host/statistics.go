package host

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

// Statistics returns a snapshot of the counters of the loop by name, and of its devices if it has
// served one. They start at 0 and only grow.
func (l *Loop) Statistics() map[string]uint64 {
	statistics := l.counts.Statistics()
	if l.hasDevice.Load() {
		l.deviceCounts.AddTo(statistics)
	}
	return statistics
}
