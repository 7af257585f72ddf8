package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	manyBuses = 16
	// busyShare in flight on each of the buses at once are fewer requests than
	// ipmbd has calls to the host daemon in progress, which are 100.
	busyShare = 6

	// settleTime is how long after the load a daemon is idle.
	settleTime = 5 * time.Second
	// idleTime is how long its wake-ups are counted.
	idleTime = 20 * time.Second
)

// manyLab is a daemon with many buses: of responders, or of peers that ask the host
// IPMI daemon.
type manyLab struct {
	*stage
	options options
	variant variant
	buses   []string
	ipmbd   *process
	links   []link
}

// onMany does something on a stage for many buses.
func onMany(o options, v variant, do func(l *manyLab) error) error {
	return onStage(o, v, func(s *stage) error {
		l := &manyLab{stage: s, options: o, variant: v}
		for i := range manyBuses {
			l.buses = append(l.buses, fmt.Sprintf("bus%d", i))
		}
		return do(l)
	})
}

// startDaemon starts ipmbd with the buses, which have a handler.
func (l *manyLab) startDaemon(handler string) (err error) {
	const ipmiChannels = 12
	var channels []object
	for i, bus := range l.buses {
		channels = append(channels, channel(l.path(bus), bus, i, i%ipmiChannels, asking(handler)))
	}
	l.ipmbd, _, err = l.startIPMBD(l.options, l.variant, object{"channels": channels})
	return err
}

// startResponder starts one for all buses.
func (l *manyLab) startResponder() error {
	args := []string{partResponder}
	for _, bus := range l.buses {
		args = append(args, l.path(bus))
	}
	_, err := l.startPart(args...)
	return err
}

// dialBuses has a client for each bus. All but the first send requests with data.
func (l *manyLab) dialBuses(data []byte) error {
	for i := range l.buses {
		m := sendRequest(ipmbdName, indexOf(i))
		if i > 0 {
			m.data = data
		}
		c, err := l.dialService(m)
		if err != nil {
			return err
		}
		l.links = append(l.links, c)
	}
	return nil
}

// startCalls has a responder and a client for each bus.
func (l *manyLab) startCalls() error {
	err := l.startResponder()
	if err == nil {
		err = l.startDaemon("none")
	}
	if err == nil {
		err = l.dialBuses(nil)
	}
	return err
}

// startPeers has a peer on each bus, and a host IPMI daemon.
func (l *manyLab) startPeers() error {
	if _, err := l.startReady(l.options.program("host"), l.address()); err != nil {
		return err
	}
	var peers []*peer
	for range l.buses {
		p := asksDeviceID()
		peers, l.links = append(peers, p), append(l.links, p)
	}
	return l.acceptPeers(peers, l.buses, func() error { return l.startDaemon("host") })
}

// contenders are the first bus, and all of them.
func (l *manyLab) contenders() (one, all *contender) {
	return l.contender("one bus", l.links[0], l.ipmbd),
		l.contender(fmt.Sprintf("%d buses", len(l.links)), newGroup(l.links), l.ipmbd)
}

// manyRow is a contender with a number in flight on each of its buses.
type manyRow struct {
	contender *contender
	inFlight  int
}

func measureManyRows(ctx context.Context, rows []manyRow, o options) ([]series, error) {
	var latency []time.Duration
	return inTurns(ctx, len(rows), o.rounds, func(i int) (round, error) {
		return rows[i].contender.run(rows[i].inFlight, o.pace(), &latency)
	})
}

// measureMany measures many buses at once beside one.
func measureMany(ctx context.Context, o options, v variant, out io.Writer, g *goals) error {
	err := onMany(o, v, func(l *manyLab) error {
		if err := l.startCalls(); err != nil {
			return err
		}
		one, many := l.contenders()
		t := newCallTable(out, v.titled("sendRequest on one bus and on 16 at once, by 16 clients"))
		all, err := measureManyRows(ctx, []manyRow{{one, maxInFlight}, {many, maxInFlight}}, o)
		if err != nil {
			return err
		}
		t.row(maxInFlight, one.name, all[0])
		t.row(maxInFlight, fmt.Sprintf("%s, %s", many.name, fairness(all[1])), all[1])
		t.ratios(maxInFlight, "16 buses / one bus", all[1], all[0])
		t.flush()
		if v.title == "" {
			g.atLeast("16 buses with 63 in flight each against one bus, requests/s", ratio(all[1], all[0], roundRate), goalManyBuses)
		}
		return l.measureIdle(ctx, out, g)
	})
	if err != nil {
		return err
	}
	return onMany(o, v, func(l *manyLab) error {
		if err := l.startPeers(); err != nil {
			return err
		}
		one, many := l.contenders()
		t := newCallTable(out, v.titled("Get Device ID from one bus and from 16 at once, to the host IPMI daemon"))
		rows := []manyRow{{one, maxInFlight}, {many, busyShare}, {many, maxInFlight}}
		all, err := measureManyRows(ctx, rows, o)
		if err != nil {
			return err
		}
		for i, r := range rows {
			name := r.contender.name
			if i > 0 {
				name = fmt.Sprintf("%s, %s", name, fairness(all[i]))
			}
			t.row(r.inFlight, name, all[i])
		}
		t.flush()
		return nil
	})
}

// fairness says what the slowest bus had, and what was refused.
func fairness(s series) string {
	return fmt.Sprintf("slowest %.2f of the mean, %.0f %% busy",
		middle(s, func(r round) float64 { return r.least }),
		100*middle(s, func(r round) float64 { return r.refused }))
}

// measureIdle measures the memory of the daemon after the load, and how often it wakes
// up while nothing happens.
func (l *manyLab) measureIdle(ctx context.Context, out io.Writer, g *goals) error {
	settle, idle := settleTime, idleTime
	if l.options.quick {
		settle, idle = quickTime, quickTime
	}
	if err := rest(ctx, settle); err != nil {
		return err
	}
	kib, err := l.ipmbd.resident()
	if err != nil {
		return err
	}
	before, err := l.ipmbd.switches()
	if err != nil {
		return err
	}
	if err := rest(ctx, idle); err != nil {
		return err
	}
	after, err := l.ipmbd.switches()
	if err != nil {
		return err
	}
	sum := 0
	for thread, n := range after {
		sum += n - before[thread]
	}
	perSecond := float64(sum) / idle.Seconds()
	w := newTable(out, l.variant.titled(fmt.Sprintf("ipmbd with %d buses, after that load", manyBuses)))
	fmt.Fprintf(w, "%s\t\tresident\n", mib(kib))
	fmt.Fprintf(w, "%.2f\t\twake-ups per second, idle\n", perSecond)
	w.flush()
	if l.variant.title == "" {
		g.atMost("idle with 16 buses, wake-ups per second", perSecond, goalWakeUps)
		g.atMost("resident with 16 buses after the load, MiB", float64(kib)/1024, goalManyMiB)
	}
	return nil
}

// switches are the voluntary context switches of a process's threads, by their
// number: each is followed by a wake-up.
func (p *process) switches() (map[string]int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.pid()))
	counts := make(map[string]int)
	for _, file := range files {
		n, err := statusNumber(file, "voluntary_ctxt_switches: %d")
		if os.IsNotExist(err) {
			continue // the thread has ended
		}
		if err != nil {
			return nil, err
		}
		counts[file] = n
	}
	return counts, err
}
