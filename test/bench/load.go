package main

import (
	"slices"
	"time"
)

// maxInFlight is how many requests a link can have in flight: one less than
// there are sequence numbers.
const maxInFlight = 63

// link carries requests to a service and its answers back.
type link interface {
	// ask prepares the next request of a slot, 0 to maxInFlight-1, which has
	// none in flight.
	ask(slot int)
	// send sends what was prepared.
	send() error
	// answers waits for at least one right answer and returns the slots of
	// those that have come, valid until the next call. A wrong one is an error.
	answers() ([]int, error)
}

// load is what a round of a closed loop measured: always the same number of
// requests in flight, the next one sent when one is answered.
type load struct {
	took    time.Duration
	latency []time.Duration // of each request, sorted
}

// drive keeps a number of requests in flight for a time, and then waits for
// the last answers. latency is memory to be used.
func drive(l link, inFlight int, long time.Duration, latency []time.Duration) (load, error) {
	sent := make([]time.Duration, inFlight)
	result := load{latency: latency[:0]}
	begin := time.Now()
	for slot := range inFlight {
		l.ask(slot)
	}
	open := inFlight
	for open > 0 {
		if err := l.send(); err != nil {
			return load{}, err
		}
		slots, err := l.answers()
		if err != nil {
			return load{}, err
		}
		now := time.Since(begin)
		for _, slot := range slots {
			result.latency = append(result.latency, now-sent[slot])
			if now >= long {
				open--
				continue
			}
			sent[slot] = now
			l.ask(slot)
		}
	}
	result.took = time.Since(begin)
	slices.Sort(result.latency)
	return result, nil
}

// rate is requests per second.
func (l load) rate() float64 { return float64(len(l.latency)) / l.took.Seconds() }

// percentile is the time in which so many percent of the requests were
// answered.
func (l load) percentile(percent int) time.Duration {
	return l.latency[(len(l.latency)-1)*percent/100]
}
