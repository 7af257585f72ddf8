package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// descriptors is how many files the daemon has open.
func (d *daemon) descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.pid()))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// busy is how much processor time the daemon has used so far.
func (d *daemon) busy(t testing.TB) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.pid()))
	if err != nil {
		t.Fatal(err)
	}
	// proc(5): after the name in brackets, utime and stime are the 12th and
	// 13th field, in hundredths of a second.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// busyFor is how much of a stretch of time the daemon uses a processor.
func (d *daemon) busyFor(t testing.TB, stretch time.Duration) time.Duration {
	t.Helper()
	before := d.busy(t)
	select {
	case <-time.After(stretch): // what is measured, not what is waited for
	case <-d.done:
		t.Fatal("has ended")
	}
	return d.busy(t) - before
}
