package main

import (
	"encoding/binary"
	"fmt"
)

// disorder is how many requests and answers changed places; see order.
type disorder struct{ requests, answers int }

func (d disorder) minus(o disorder) disorder {
	return disorder{d.requests - o.requests, d.answers - o.answers}
}
func (d disorder) plus(o disorder) disorder {
	return disorder{d.requests + o.requests, d.answers + o.answers}
}

func (d disorder) String() string { return fmt.Sprintf("%d, %d", d.requests, d.answers) }

// order counts what comes in another order than it was sent, on a link. The far
// end numbers the requests as they arrive and puts the number into the answer,
// and it answers at once, so that the numbers are also the order of its answers.
type order struct {
	asked    uint32            // the number of the last request
	arrivals [recalled]arrival // of requests, by their number
	latest   uint32            // the highest arrival that was answered
	found    disorder
}

// recalled is how many requests back order remembers: many times what is in flight.
const recalled = 1 << 12

type arrival struct{ request, at uint32 }

// ask numbers the next request, from 1 on.
func (o *order) ask() (request uint32) {
	o.asked++
	return o.asked
}

// answer takes the answer to a request with the number of its arrival. A request
// that arrived before the one that was sent just before it is out of order; and so
// is an answer that comes after the answer to a later arrival.
func (o *order) answer(request, at uint32) {
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

// arrivalSize is how many bytes of an answer tell the request's arrival: the last
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
