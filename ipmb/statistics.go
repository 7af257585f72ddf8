package ipmb

import "sync/atomic"

// counter names a count. The text is the name in Statistics.
type counter int

const (
	framesReceived counter = iota
	framesSent
	droppedShort
	droppedHeaderChecksum
	droppedBodyChecksum
	droppedForeign
	droppedRequester
	droppedBroadcast
	droppedRepeat
	droppedAnswersFull
	droppedStopping

	callsStarted
	callsAnswered
	callsTimeout
	callsNotAcknowledged
	callsArbitrationLost
	callsStuck
	callsClosed
	callsCancelled
	callsBusy
	callsRefused
	retransmissions
	responsesLate
	responsesUnexpected
	responsesStray

	writesNotAcknowledged
	writesArbitrationLost
	writesFailed
	stalls

	requestsReceived
	requestsReplayed
	requestsSuperseded
	requestsDenied
	requestsDeferred
	answersWritten
	answersLost
	handlersBusy
	handlersTooSlow
	handlersFailed
	handlerAnswersLate

	counterCount
)

var counterNames = [counterCount]string{
	framesReceived:        "frames-received",
	framesSent:            "frames-sent",
	droppedShort:          "dropped-short",
	droppedHeaderChecksum: "dropped-header-checksum",
	droppedBodyChecksum:   "dropped-body-checksum",
	droppedForeign:        "dropped-foreign",
	droppedRequester:      "dropped-requester",
	droppedBroadcast:      "dropped-broadcast",
	droppedRepeat:         "dropped-repeat",
	droppedAnswersFull:    "dropped-answers-full",
	droppedStopping:       "dropped-stopping",

	callsStarted:         "calls-started",
	callsAnswered:        "calls-answered",
	callsTimeout:         "calls-timeout",
	callsNotAcknowledged: "calls-not-acknowledged",
	callsArbitrationLost: "calls-arbitration-lost",
	callsStuck:           "calls-stuck",
	callsClosed:          "calls-closed",
	callsCancelled:       "calls-cancelled",
	callsBusy:            "calls-busy",
	callsRefused:         "calls-refused",
	retransmissions:      "retransmissions",
	responsesLate:        "responses-late",
	responsesUnexpected:  "responses-unexpected",
	responsesStray:       "responses-stray",

	writesNotAcknowledged: "writes-not-acknowledged",
	writesArbitrationLost: "writes-arbitration-lost",
	writesFailed:          "writes-failed",
	stalls:                "stalls",

	requestsReceived:   "requests-received",
	requestsReplayed:   "requests-replayed",
	requestsSuperseded: "requests-superseded",
	requestsDenied:     "requests-denied",
	requestsDeferred:   "requests-deferred",
	answersWritten:     "answers-written",
	answersLost:        "answers-lost",
	handlersBusy:       "handlers-busy",
	handlersTooSlow:    "handlers-too-slow",
	handlersFailed:     "handlers-failed",
	handlerAnswersLate: "handler-answers-late",
}

type counters [counterCount]atomic.Uint64

func (c *counters) add(n counter) { c[n].Add(1) }

func (c *counters) reset() {
	for n := range c {
		c[n].Store(0)
	}
}

// Statistics is a snapshot of the counters by their names: what was received
// and sent, how each call ended (calls-*), and what was dropped and why
// (dropped-*). They start at 0 with the engine, and when it is renewed, and only grow.
func (e *Engine) Statistics() map[string]uint64 {
	statistics := make(map[string]uint64, counterCount)
	for n := range e.counts {
		statistics[counterNames[n]] = e.counts[n].Load()
	}
	return statistics
}
