package main

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// member is a link that a group can wait for.
type member interface {
	link
	tallier
	descriptor() int
}

// group is links that are driven as one, in one thread. Its slots are those of the
// first link, those of the second and so on.
type group struct {
	links  []member
	share  int    // slots of each link
	asked  []bool // links to be sent
	served []int  // requests of each link that were not refused, since spread
	fds    []unix.PollFd
	slots  []int
}

func newGroup(links []member) *group {
	g := &group{links: links, asked: make([]bool, len(links)), served: make([]int, len(links))}
	for _, l := range links {
		g.fds = append(g.fds, unix.PollFd{Fd: int32(l.descriptor()), Events: unix.POLLIN})
	}
	return g
}

// spread gives each link so many slots and returns how many that are. It begins a
// round.
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
	n, err := unix.Poll(g.fds, int(patience.Milliseconds()))
	for err == unix.EINTR {
		n, err = unix.Poll(g.fds, int(patience.Milliseconds()))
	}
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, fmt.Errorf("no answer in %v", patience)
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

// tally implements tallier.
func (g *group) tally() (sum tally) {
	for _, l := range g.links {
		t := l.tally()
		sum.disorder = sum.disorder.plus(t.disorder)
		sum.refused += t.refused
	}
	return sum
}
