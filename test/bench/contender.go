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
	rate     float64 // requests per second
	// CPU time for 10,000 requests, of the service and of the message bus.
	serviceCPU, busCPU time.Duration
}

func (r round) cpu() time.Duration { return r.serviceCPU + r.busCPU }

// pace is how long a contender is driven unmeasured, and then measured.
type pace struct{ settle, measure time.Duration }

// run drives a contender for one round.
func (c *contender) run(inFlight int, p pace, latency *[]time.Duration) (round, error) {
	if _, err := drive(c.link, inFlight, p.settle, *latency); err != nil {
		return round{}, fmt.Errorf("%s, %d in flight: %w", c.name, inFlight, err)
	}
	before, err := c.cpuTimes()
	if err != nil {
		return round{}, err
	}
	l, err := drive(c.link, inFlight, p.measure, *latency)
	if err != nil {
		return round{}, fmt.Errorf("%s, %d in flight: %w", c.name, inFlight, err)
	}
	after, err := c.cpuTimes()
	if err != nil {
		return round{}, err
	}
	*latency = l.latency
	per10k := func(d time.Duration) time.Duration { return d * 10_000 / time.Duration(len(l.latency)) }
	return round{
		p50: l.percentile(50), p99: l.percentile(99), rate: l.rate(),
		serviceCPU: per10k(after[0] - before[0]), busCPU: per10k(after[1] - before[1]),
	}, nil
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
