package main

import (
	"fmt"
	"time"
)

// contender is a service under load.
type contender struct {
	name string
	link link
	// Process ids, to account for CPU time; 0 for a message bus without a part in it.
	service, messageBus int
}

// round is what one round of a contender measured.
type round struct {
	p50, p99 time.Duration
	rate     float64 // requests per second that were not refused
	// CPU time for 10,000 requests, of the service and of the message bus.
	serviceCPU, busCPU time.Duration
	disorder           disorder
	refused            float64 // part of the requests
	least              float64 // of a group: the requests of its slowest link, by those of the mean
}

func (r round) cpu() time.Duration { return r.serviceCPU + r.busCPU }

// pace is how long a contender is driven unmeasured, and then measured.
type pace struct{ settle, measure time.Duration }

// tallier is a link that counts what is no time.
type tallier interface{ tally() tally }

type tally struct {
	disorder disorder
	refused  int // requests, by an answer C0h
}

func (c *contender) tally() tally {
	if t, ok := c.link.(tallier); ok {
		return t.tally()
	}
	return tally{}
}

// run drives a contender for one round, a group with a number in flight on each of
// its links.
func (c *contender) run(inFlight int, p pace, latency *[]time.Duration) (round, error) {
	group, isGroup := c.link.(*group)
	if isGroup {
		inFlight = group.spread(inFlight)
	}
	if _, err := drive(c.link, inFlight, p.settle, *latency); err != nil {
		return round{}, fmt.Errorf("%s, %d in flight: %w", c.name, inFlight, err)
	}
	before, err := c.cpuTimes()
	if err != nil {
		return round{}, err
	}
	tallied := c.tally()
	l, err := drive(c.link, inFlight, p.measure, *latency)
	if err != nil {
		return round{}, fmt.Errorf("%s, %d in flight: %w", c.name, inFlight, err)
	}
	after, err := c.cpuTimes()
	if err != nil {
		return round{}, err
	}
	*latency = l.latency
	now := c.tally()
	r := l.round()
	r.serviceCPU, r.busCPU = l.per10k(after[0]-before[0]), l.per10k(after[1]-before[1])
	r.disorder = now.disorder.minus(tallied.disorder)
	r.refused = float64(now.refused-tallied.refused) / float64(len(l.latency))
	r.rate *= 1 - r.refused
	if isGroup {
		r.least = group.least()
	}
	return r, nil
}

// round is what the load itself says.
func (l load) round() round {
	return round{p50: l.percentile(50), p99: l.percentile(99), rate: l.rate()}
}

func (l load) per10k(d time.Duration) time.Duration {
	return d * 10_000 / time.Duration(len(l.latency))
}

func (c *contender) cpuTimes() (times [2]time.Duration, err error) {
	for i, pid := range []int{c.service, c.messageBus} {
		if pid == 0 {
			continue
		}
		if times[i], err = cpuTime(pid); err != nil {
			return times, err
		}
	}
	return times, nil
}
