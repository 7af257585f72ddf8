package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	manyBuses = 16
	// busyShare in flight on each of the buses at once are fewer requests than
	// ipmbd has calls to the host daemon in progress, which are 100.
	busyShare = 6
)

// manyLab is a daemon with many buses: of responders, or of peers that ask the host
// IPMI daemon.
type manyLab struct {
	stage *stage
	bus   *messageBus
	paths []string
	ipmbd *process
	links []member
	ends  []func()

	one, all *contender // the first bus, and all of them
}

// openMany makes a lab with a message bus, and opens it.
func openMany(p programs, v variant, open func(l *manyLab) error) (*manyLab, error) {
	s, err := newStage()
	if err != nil {
		return nil, err
	}
	l := &manyLab{stage: s}
	for i := range manyBuses {
		l.paths = append(l.paths, filepath.Join(s.dir, fmt.Sprintf("bus%d", i)))
	}
	if l.bus, err = s.startBus(p, v); err == nil {
		err = open(l)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// startDaemon starts ipmbd with the buses, which have a handler.
func (l *manyLab) startDaemon(o options, v variant, handler string) error {
	d, err := newDaemon(l.stage, o.ipmbd, l.bus, v, config{Channels: l.channels(handler)})
	if err != nil {
		return err
	}
	l.ipmbd, _, err = d.start()
	return err
}

func (l *manyLab) close() {
	for _, end := range slices.Backward(l.ends) {
		end()
	}
	l.stage.close()
}

func (l *manyLab) channels(handler string) (list []channel) {
	const ipmiChannels = 12
	for i, path := range l.paths {
		list = append(list, channel{"me", path, int(bmcAddress), int(responderAddress), i, filepath.Base(path),
			i % ipmiChannels, handler, false, new(int)})
	}
	return list
}

// contend makes contenders of the first link and of all.
func (l *manyLab) contend() {
	l.one = l.contender("one bus", l.links[0])
	l.all = l.contender(fmt.Sprintf("%d buses", len(l.links)), newGroup(l.links))
}

func (l *manyLab) contender(name string, link link) *contender {
	return &contender{name: name, link: link, service: l.ipmbd.pid(), messageBus: l.bus.pid()}
}

// openManyCalls has a responder and a client for each bus.
func openManyCalls(o options, p programs, v variant) (*manyLab, error) {
	return openMany(p, v, func(l *manyLab) error {
		if err := errors.Join(l.startResponder(), l.startDaemon(o, v, "none")); err != nil {
			return err
		}
		for i := range l.paths {
			if err := l.dial(sendRequest(ipmbdName, indexOf(i))); err != nil {
				return err
			}
		}
		l.contend()
		return nil
	})
}

func (l *manyLab) startResponder() error {
	_, err := l.stage.startPart(append([]string{partResponder}, l.paths...)...)
	return err
}

// indexOf is the index of a bus of type me, by devIndex.
func indexOf(devIndex int) uint8 { return uint8(devIndex<<2 | indexME) }

func (l *manyLab) dial(m method) error {
	c, err := dialService(l.bus, m)
	if err != nil {
		return err
	}
	l.ends = append(l.ends, c.close)
	l.links = append(l.links, c)
	return nil
}

// openManyPeers has a peer on each bus, and a host IPMI daemon.
func openManyPeers(o options, p programs, v variant) (*manyLab, error) {
	return openMany(p, v, func(l *manyLab) error {
		if _, err := l.stage.startReady(p.host(), l.bus.address); err != nil {
			return err
		}
		if err := l.acceptPeers(func() error { return l.startDaemon(o, v, "host") }); err != nil {
			return err
		}
		l.contend()
		return nil
	})
}

// acceptPeers makes the links those of peers, for the daemon that start starts.
func (l *manyLab) acceptPeers(start func() error) error {
	var listeners []int
	for _, path := range l.paths {
		fd, err := listen(path)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		listeners = append(listeners, fd)
	}
	if err := start(); err != nil {
		return err
	}
	for _, listener := range listeners {
		asks := asksDeviceID()
		if err := asks.accept(listener); err != nil {
			return err
		}
		l.ends = append(l.ends, asks.close)
		l.links = append(l.links, &asks)
	}
	return nil
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
func measureMany(ctx context.Context, o options, p programs, v variant, out io.Writer, g *goals) error {
	l, err := openManyCalls(o, p, v)
	if err != nil {
		return err
	}
	defer l.close()
	t := newCallTable(out, titled("sendRequest on one bus and on 16 at once, by 16 clients", v))
	all, err := measureManyRows(ctx, []manyRow{{l.one, maxInFlight}, {l.all, maxInFlight}}, o)
	if err != nil {
		return err
	}
	t.row(maxInFlight, l.one.name, all[0])
	t.row(maxInFlight, fmt.Sprintf("%s, %s", l.all.name, fairness(all[1])), all[1])
	t.ratios(maxInFlight, "16 buses / one bus", all[1], all[0])
	t.flush()
	if v.title == "" {
		g.atLeast("16 buses with 63 in flight each against one bus, requests/s", ratio(all[1], all[0], roundRate), goalManyBuses)
	}
	if err := measureIdle(ctx, o, l, v, out, g); err != nil {
		return err
	}
	return measureManyIncoming(ctx, o, p, v, out)
}

func measureManyIncoming(ctx context.Context, o options, p programs, v variant, out io.Writer) error {
	l, err := openManyPeers(o, p, v)
	if err != nil {
		return err
	}
	defer l.close()
	t := newCallTable(out, titled("Get Device ID from one bus and from 16 at once, to the host IPMI daemon", v))
	rows := []manyRow{{l.one, maxInFlight}, {l.all, busyShare}, {l.all, maxInFlight}}
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
}

// fairness says what the slowest bus had, and what was refused.
func fairness(s series) string {
	return fmt.Sprintf("slowest %.2f of the mean, %.0f %% busy",
		middle(s, func(r round) float64 { return r.least }),
		100*middle(s, func(r round) float64 { return r.refused }))
}

func titled(title string, v variant) string {
	if v.title == "" {
		return title
	}
	return title + "; " + v.title
}
