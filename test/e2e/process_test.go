package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
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

// goroutines ends the daemon with the signal that makes it print them. They are counted by our
// function that they began with.
func (d *daemon) goroutines(t testing.TB) map[string]int {
	t.Helper()
	d.signal(syscall.SIGQUIT)
	d.exit(t)
	counts := make(map[string]int)
	for stack := range strings.SplitSeq(d.stderr.text(), "\n\n") {
		if all := ours.FindAllString(stack, -1); len(all) > 0 {
			counts[all[len(all)-1]]++
		}
	}
	if len(counts) == 0 {
		t.Fatal("no dump of the goroutines")
	}
	return counts
}

var ours = regexp.MustCompile(`(?m)^ipmbd/[^{\n]*\(`)

// passing is how many goroutines of a kind may be about to end. If each call or mishap of a kind
// leaves some, there are more.
const passing = 2

// allowed is how many goroutines more an old daemon may have: those that read its connections
// and write to them.
var allowed = map[string]int{
	"ipmbd/internal/dbuswire.(*stream).Read(":      lazyConns,
	"ipmbd/internal/dbuswire.(*outbox).runWriter(": lazyConns,
}

// noneIsLeft fails a test whose daemon has more goroutines than a new one.
func noneIsLeft(t testing.TB, fresh, old map[string]int) {
	t.Helper()
	for what, n := range old {
		if n > fresh[what]+allowed[what]+passing {
			t.Errorf("%d goroutines of %s are left, a new daemon has %d", n, what, fresh[what])
		}
	}
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
	case <-time.After(stretch): // the time to measure, not a wait for an event
	case <-d.done:
		t.Fatal("has ended")
	}
	return d.busy(t) - before
}
