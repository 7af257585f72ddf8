package ipmb

import (
	"context"
	"errors"
)

// counter is one of the engine's counters.
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
	droppedResponsesFull
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
	responsesUnsolicited

	writesNotAcknowledged
	writesArbitrationLost
	writesFailed
	stalls

	requestsReceived
	requestsReplayed
	requestsSuperseded
	requestsDenied
	requestsDeferred
	responsesWritten
	responsesLost
	handlersBusy
	handlersTooSlow
	handlersFailed
	handlerResponsesLate
)

var counterNames = []string{
	framesReceived: "frames-received", framesSent: "frames-sent", droppedShort: "dropped-short",
	droppedHeaderChecksum: "dropped-header-checksum",
	droppedBodyChecksum:   "dropped-body-checksum", droppedForeign: "dropped-foreign",
	droppedRequester: "dropped-requester", droppedBroadcast: "dropped-broadcast",
	droppedRepeat: "dropped-repeat", droppedResponsesFull: "dropped-answers-full",
	droppedStopping: "dropped-stopping", callsStarted: "calls-started",
	callsAnswered: "calls-answered", callsTimeout: "calls-timeout",
	callsNotAcknowledged: "calls-not-acknowledged",
	callsArbitrationLost: "calls-arbitration-lost", callsStuck: "calls-stuck",
	callsClosed: "calls-closed", callsCancelled: "calls-cancelled", callsBusy: "calls-busy",
	callsRefused: "calls-refused", retransmissions: "retransmissions",
	responsesLate: "responses-late", responsesUnexpected: "responses-unexpected",
	responsesUnsolicited: "responses-stray", writesNotAcknowledged: "writes-not-acknowledged",
	writesArbitrationLost: "writes-arbitration-lost", writesFailed: "writes-failed",
	stalls: "stalls", requestsReceived: "requests-received",
	requestsReplayed: "requests-replayed", requestsSuperseded: "requests-superseded",
	requestsDenied: "requests-denied", requestsDeferred: "requests-deferred",
	responsesWritten: "answers-written", responsesLost: "answers-lost",
	handlersBusy: "handlers-busy", handlersTooSlow: "handlers-too-slow",
	handlersFailed: "handlers-failed", handlerResponsesLate: "handler-answers-late",
}

// outcomes are the counters of the errors with which something may end.
type outcomes []struct {
	err     error
	counter counter
}

var (
	callOutcomes = outcomes{
		{nil, callsAnswered}, {ErrTimeout, callsTimeout}, {ErrNotAcknowledged, callsNotAcknowledged},
		{ErrArbitrationLost, callsArbitrationLost}, {ErrStuck, callsStuck}, {ErrClosed, callsClosed},
		{ErrBusy, callsBusy}, {context.Canceled, callsCancelled},
	}
	writeOutcomes = outcomes{ // by failureOf
		{nil, framesSent}, {ErrNotAcknowledged, writesNotAcknowledged},
		{ErrArbitrationLost, writesArbitrationLost}, {ErrStuck, writesFailed}, {ErrClosed, writesFailed},
	}
	decodeOutcomes = outcomes{
		{ErrHeaderChecksum, droppedHeaderChecksum}, {ErrBodyChecksum, droppedBodyChecksum},
		{ErrShortFrame, droppedShort},
	}
)

// countOutcome counts the end of something, with an error or with nil.
func (e *Engine) countOutcome(all outcomes, err error) {
	for i := range all {
		if errors.Is(err, all[i].err) {
			e.counts.Count(all[i].counter)
			return
		}
	}
}

// Statistics returns a snapshot of the counters by name: frames received and sent, how each call
// ended (calls-*), and what was dropped and why (dropped-*). They start at 0 with the engine, and
// when it is renewed, and only grow.
func (e *Engine) Statistics() map[string]uint64 { return e.counts.Statistics() }
