package main

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
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
	least              float64 // of a group: the requests of its slowest link, relative to the mean
}

func (r round) cpu() time.Duration { return r.serviceCPU + r.busCPU }

// pace is how long a contender is driven unmeasured, and then measured.
type pace struct{ settle, measure time.Duration }

// run drives a contender for one round, a group with a number in flight on each of
// its links.
func (c *contender) run(inFlight int, p pace, latency *[]time.Duration) (r round, err error) {
	defer func(n int) {
		if err != nil {
			err = fmt.Errorf("%s, %d in flight: %w", c.name, n, err)
		}
	}(inFlight)
	group, isGroup := c.link.(*group)
	if isGroup {
		inFlight = group.spread(inFlight)
	}
	if _, err := drive(c.link, inFlight, p.settle, *latency); err != nil {
		return r, err
	}
	before, err := c.cpuTimes()
	if err != nil {
		return r, err
	}
	tallied := c.link.tally()
	l, err := drive(c.link, inFlight, p.measure, *latency)
	if err != nil {
		return r, err
	}
	after, err := c.cpuTimes()
	if err != nil {
		return r, err
	}
	*latency = l.latency
	now := c.link.tally()
	r = l.round()
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

// group is links that are driven as one, in one thread. Its slots are the slots of the first
// link, then of the second and so on.
type group struct {
	links  []link
	share  int    // slots of each link
	asked  []bool // links to be sent
	served []int  // requests of each link that were not refused, since spread
	fds    []unix.PollFd
	slots  []int
}

func newGroup(links []link) *group {
	g := &group{links: links, asked: make([]bool, len(links)), served: make([]int, len(links))}
	for _, l := range links {
		g.fds = append(g.fds, unix.PollFd{Fd: int32(l.descriptor()), Events: unix.POLLIN})
	}
	return g
}

// spread gives each link this many slots and returns how many there are in all. It begins a round.
func (g *group) spread(share int) (slots int) {
	g.share = share
	clear(g.served)
	return share * len(g.links)
}

// least is the part of the mean that the slowest link had of the requests served.
func (g *group) least() float64 {
	sum := 0
	for _, n := range g.served {
		sum += n
	}
	return float64(slices.Min(g.served)*len(g.served)) / float64(max(sum, 1))
}

// ask implements link.
func (g *group) ask(slot int) {
	i := slot / g.share
	g.links[i].ask(slot % g.share)
	g.asked[i] = true
}

// send implements link.
func (g *group) send() error {
	for i, l := range g.links {
		if !g.asked[i] {
			continue
		}
		g.asked[i] = false
		if err := l.send(); err != nil {
			return err
		}
	}
	return nil
}

// answers implements link.
func (g *group) answers() ([]int, error) {
	n, err := unix.Poll(g.fds, int(timeLimit.Milliseconds()))
	for err == unix.EINTR {
		n, err = unix.Poll(g.fds, int(timeLimit.Milliseconds()))
	}
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, fmt.Errorf("no answer in %v", timeLimit)
	}
	g.slots = g.slots[:0]
	for i, l := range g.links {
		if g.fds[i].Revents == 0 {
			continue
		}
		refused := l.tally().refused
		slots, err := l.answers()
		if err != nil {
			return nil, err
		}
		g.served[i] += len(slots) - (l.tally().refused - refused)
		for _, slot := range slots {
			g.slots = append(g.slots, i*g.share+slot)
		}
	}
	return g.slots, nil
}

// descriptor implements link. Groups are in none.
func (g *group) descriptor() int { return -1 }

// tally implements link.
func (g *group) tally() (sum tally) {
	for _, l := range g.links {
		t := l.tally()
		sum.disorder = sum.disorder.plus(t.disorder)
		sum.refused += t.refused
	}
	return sum
}
