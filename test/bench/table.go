package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Goals, as ratios to the floor.
const (
	goalLatency    = 1.15 // p50 with 1 in flight, at most
	goalThroughput = 0.85 // with maxInFlight, at least
	goalCPU        = 1.15 // of service and message bus with maxInFlight, at most

	// Of the frame socket, with any number in flight.
	goalFrameThroughput = 2.5  // at least
	goalFrameCPU        = 0.25 // at most

	goalIdleKiB = 12 << 10

	// Of a virtual machine, as ratios to ipmi_sim.
	goalVM    = 1.0  // requests per second, at least
	goalGuest = 1.05 // p50 in its guest, at most
)

func newTable(out io.Writer, title string) *tabwriter.Writer {
	fmt.Fprintf(out, "%s\n", title)
	return tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
}

func printCode(out io.Writer, rows []measurement) {
	w := newTable(out, "codec and engine")
	fmt.Fprintln(w, "ns\tallocations\t\t")
	for _, m := range rows {
		perOp := float64(m.result.T.Nanoseconds()) / float64(m.result.N)
		fmt.Fprintf(w, "%.1f\t%d\t\t%s", perOp, m.result.AllocsPerOp(), m.name)
		if m.goal != "" {
			fmt.Fprintf(w, " (goal: %s)", m.goal)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	fmt.Fprintln(out)
}

// callTable has a row for each contender and number of requests in flight.
type callTable struct {
	out io.Writer
	w   *tabwriter.Writer
}

func newCallTable(out io.Writer, title string) callTable {
	w := newTable(out, title+"; CPU in s per 10,000 requests")
	fmt.Fprintln(w, "in flight\tp50 us\tp99 us\tper s\tCPU service\tCPU dbus-daemon\tCPU both\t\t")
	return callTable{out, w}
}

func (t callTable) row(inFlight int, name string, s series) {
	fmt.Fprintf(t.w, "%d\t%d\t%d\t%.0f\t%.3f\t%.3f\t%.3f\t\t%s\n", inFlight,
		middle(s, func(r round) int64 { return r.p50.Microseconds() }),
		middle(s, func(r round) int64 { return r.p99.Microseconds() }),
		middle(s, func(r round) float64 { return r.rate }),
		middle(s, func(r round) float64 { return r.serviceCPU.Seconds() }),
		middle(s, func(r round) float64 { return r.busCPU.Seconds() }),
		middle(s, func(r round) float64 { return r.cpu().Seconds() }), name)
}

func (t callTable) ratios(inFlight int, name string, a, b series) {
	fmt.Fprintf(t.w, "%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\t%s\n", inFlight,
		ratio(a, b, roundP50),
		ratio(a, b, func(r round) float64 { return float64(r.p99) }),
		ratio(a, b, roundRate),
		ratio(a, b, func(r round) float64 { return float64(r.serviceCPU) }),
		ratio(a, b, func(r round) float64 { return float64(r.busCPU) }),
		ratio(a, b, roundCPU), name)
}

func roundP50(r round) float64  { return float64(r.p50) }
func roundRate(r round) float64 { return r.rate }
func roundCPU(r round) float64  { return float64(r.cpu()) }

func (t callTable) flush() {
	t.w.Flush()
	fmt.Fprintln(t.out)
}

// printGoals compares what was measured with each number of requests in flight
// with the goals.
func printGoals(out io.Writer, all [][]series) {
	first, last := all[0], all[len(all)-1]
	w := newTable(out, "ipmbd against the floor")
	fmt.Fprintf(w, "%.2f\t\tp50 with 1 in flight (goal: at most %.2f)\n",
		ratio(first[callIPMBD], first[callFloor], roundP50), goalLatency)
	fmt.Fprintf(w, "%.2f\t\trequests per second with %d in flight (goal: at least %.2f)\n",
		ratio(last[callIPMBD], last[callFloor], roundRate), maxInFlight, goalThroughput)
	fmt.Fprintf(w, "%.2f\t\tCPU of service and dbus-daemon with %d in flight (goal: at most %.2f)\n",
		ratio(last[callIPMBD], last[callFloor], roundCPU), maxInFlight, goalCPU)
	for i, n := range callsInFlight {
		fmt.Fprintf(w, "%.2f\t\trequests per second with %d in flight on the frame socket (goal: at least %.2f)\n",
			ratio(all[i][callFrames], all[i][callFloor], roundRate), n, goalFrameThroughput)
		fmt.Fprintf(w, "%.2f\t\tCPU of the service with %d in flight on the frame socket (goal: at most %.2f)\n",
			ratio(all[i][callFrames], all[i][callFloor], roundCPU), n, goalFrameCPU)
	}
	w.Flush()
	fmt.Fprintln(out)
}

// printDaemon prints start and memory.
func printDaemon(out io.Writer, l *lab, after memory) {
	w := newTable(out, "start and memory")
	fmt.Fprintf(w, "%.1f ms\t\tipmbd, start to READY=1 (median of %d)\n",
		float64(l.startTime)/float64(time.Millisecond), starts)
	fmt.Fprintf(w, "%s\t\tipmbd, resident and idle (goal: under %s)\n", mib(l.idle.ipmbd), mib(goalIdleKiB))
	fmt.Fprintf(w, "%s\t\tipmbd, resident after the load\n", mib(after.ipmbd))
	fmt.Fprintf(w, "%s\t\tfloor, resident and idle\n", mib(l.idle.floor))
	fmt.Fprintf(w, "%s\t\tfloor, resident after the load\n", mib(after.floor))
	w.Flush()
}

func mib(kib int) string { return fmt.Sprintf("%.1f MiB", float64(kib)/1024) }

// addedLatency is what an answer takes longer than ipmbd's own: the median of
// the differences of rounds that were measured side by side, with its ratio.
func addedLatency(inFlight int, name string, s, direct series) string {
	var more []time.Duration
	for i := range s {
		more = append(more, s[i].p50-direct[i].p50)
	}
	return fmt.Sprintf("%d\t%d us\t%.2f\t\t%s\n", inFlight, median(more).Microseconds(), ratio(s, direct, roundP50), name)
}

func printAdded(out io.Writer, rows []string) {
	w := newTable(out, "added to the p50 of an answer of ipmbd itself")
	fmt.Fprintln(w, "in flight\tadded\tratio\t\t")
	for _, row := range rows {
		fmt.Fprint(w, row)
	}
	w.Flush()
	fmt.Fprintln(out)
}

// vmTable has rows for each contender and each place: of the client, or of the
// service in the guest.
type vmTable struct {
	out io.Writer
	w   *tabwriter.Writer
}

func newVMTable(out io.Writer, title, place string) vmTable {
	w := newTable(out, title+"; CPU in s per 10,000 requests")
	fmt.Fprintf(w, "%s\tp50 us\tp99 us\tper s\tCPU service\t\t\n", place)
	return vmTable{out, w}
}

func (t vmTable) row(place, name string, s series) {
	fmt.Fprintf(t.w, "%s\t%.1f\t%.1f\t%.0f\t%.3f\t\t%s\n", place,
		microseconds(middle(s, func(r round) time.Duration { return r.p50 })),
		microseconds(middle(s, func(r round) time.Duration { return r.p99 })),
		middle(s, roundRate),
		middle(s, func(r round) float64 { return r.serviceCPU.Seconds() }), name)
}

func (t vmTable) ratios(place, name string, a, b series) {
	fmt.Fprintf(t.w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t\t%s\n", place,
		ratio(a, b, roundP50),
		ratio(a, b, func(r round) float64 { return float64(r.p99) }),
		ratio(a, b, roundRate),
		ratio(a, b, func(r round) float64 { return float64(r.serviceCPU) }), name)
}

func (t vmTable) flush(compared bool) {
	t.w.Flush()
	if !compared {
		fmt.Fprintf(t.out, "nothing to compare with: %v (apt-get install openipmi)\n", errNoSimulator)
	}
	fmt.Fprintln(t.out)
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
