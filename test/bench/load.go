package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// maxInFlight is how many requests a link can have in flight: one less than
// there are sequence numbers.
const maxInFlight = 63

// link carries requests to a service and its answers back.
type link interface {
	// ask prepares the next request of a slot, 0 to maxInFlight-1, that has no request in flight.
	ask(slot int)
	// send sends the prepared requests.
	send() error
	// answers waits for at least one right answer and returns the slots of those that have come,
	// valid until the next call. A wrong answer is an error.
	answers() ([]int, error)
	// descriptor is readable when answers need not wait.
	descriptor() int
	// tally returns the counts so far.
	tally() tally
}

// tally is the counts of a link, except times.
type tally struct {
	disorder disorder
	refused  int // requests, by an answer C0h
}

// load is the result of a round of a closed loop: always the same number of
// requests in flight, the next one sent when one is answered.
type load struct {
	took    time.Duration
	latency []time.Duration // of each request, sorted
}

// drive keeps a number of requests in flight for a time, and then waits for the last answers. It
// uses the memory of latency.
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

// percentile returns the time in which this percentage of the requests was answered.
func (l load) percentile(percent int) time.Duration {
	return l.latency[(len(l.latency)-1)*percent/100]
}

// disorder is how many requests and answers changed places; see order.
type disorder struct{ requests, answers int }

func (d disorder) minus(o disorder) disorder {
	return disorder{d.requests - o.requests, d.answers - o.answers}
}
func (d disorder) plus(o disorder) disorder {
	return disorder{d.requests + o.requests, d.answers + o.answers}
}

func (d disorder) String() string { return fmt.Sprintf("%d, %d", d.requests, d.answers) }

// order counts requests and answers that are out of order on a link. The far end numbers the
// requests as they arrive and puts the number into the answer, and it answers at once, so that the
// numbers are also the order of its answers.
type order struct {
	asked    uint32            // the number of the last request
	arrivals [recalled]arrival // of requests, by their number
	latest   uint32            // the highest arrival that was answered
	found    disorder
}

// recalled is how many requests back order remembers: many times the number in flight.
const recalled = 1 << 12

type arrival struct{ request, at uint32 }

// number numbers the next request, from 1 on.
func (o *order) number() (request uint32) {
	o.asked++
	return o.asked
}

// tally is the tally of a link that refuses nothing.
func (o *order) tally() tally { return tally{disorder: o.found} }

// uncounted is part of a link that has one request in flight.
type uncounted struct{}

func (uncounted) tally() tally { return tally{} }

// answered takes the answer to a request with the number of its arrival. A request is out of order
// if it arrived before the request that was sent just before it, and an answer is if it comes
// after the answer to a later arrival.
func (o *order) answered(request, at uint32) {
	o.arrivals[request%recalled] = arrival{request, at}
	before, after := o.arrivals[(request-1)%recalled], o.arrivals[(request+1)%recalled]
	if before.request == request-1 && request > 1 && at < before.at {
		o.found.requests++
	}
	if after.request == request+1 && after.at < at {
		o.found.requests++
	}
	if at < o.latest {
		o.found.answers++
	}
	o.latest = max(o.latest, at)
}

// arrivalSize is how many bytes of an answer hold the number of the request's arrival: the last
// ones, which Get Device ID has for auxiliary firmware information.
const arrivalSize = 4

// cutArrival takes the number of its arrival off an answer.
func cutArrival(b []byte) (rest []byte, at uint32, ok bool) {
	n := len(b) - arrivalSize
	if n < 0 {
		return nil, 0, false
	}
	return b[:n], binary.LittleEndian.Uint32(b[n:]), true
}
