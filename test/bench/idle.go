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
	// calmTime is how long after the load a daemon is idle.
	calmTime = 5 * time.Second
	// idleTime is how long its wake-ups are counted.
	idleTime = 20 * time.Second
)

// measureIdle measures the memory of a daemon after the load, and how often it wakes
// up while nothing happens.
func measureIdle(ctx context.Context, o options, l *manyLab, v variant, out io.Writer, g *goals) error {
	calm, idle := calmTime, idleTime
	if o.quick {
		calm, idle = quickTime, quickTime
	}
	if err := rest(ctx, calm); err != nil {
		return err
	}
	kib, err := resident(l.ipmbd.pid())
	if err != nil {
		return err
	}
	before, err := wakeUps(l.ipmbd.pid())
	if err != nil {
		return err
	}
	if err := rest(ctx, idle); err != nil {
		return err
	}
	after, err := wakeUps(l.ipmbd.pid())
	if err != nil {
		return err
	}
	perSecond := float64(after.since(before)) / idle.Seconds()
	w := newTable(out, titled(fmt.Sprintf("ipmbd with %d buses, after that load", manyBuses), v))
	fmt.Fprintf(w, "%s\t\tresident\n", mib(kib))
	fmt.Fprintf(w, "%.2f\t\twake-ups per second, idle\n", perSecond)
	w.Flush()
	fmt.Fprintln(out)
	if v.title == "" {
		g.atMost("idle with 16 buses, wake-ups per second", perSecond, goalWakeUps)
		g.atMost("resident with 16 buses after the load, MiB", float64(kib)/1024, goalManyMiB)
	}
	return nil
}

// switches are the voluntary context switches of a process's threads, by their
// number: each is followed by a wake-up.
type switches map[string]int

// since counts those that came after others.
func (s switches) since(before switches) (sum int) {
	for thread, n := range s {
		sum += n - before[thread]
	}
	return sum
}

func wakeUps(pid int) (switches, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return nil, err
	}
	s := make(switches)
	for _, file := range files {
		status, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue // the thread has ended
		}
		if err != nil {
			return nil, err
		}
		if s[file], err = statusNumber(status, "voluntary_ctxt_switches: %d"); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return s, nil
}
