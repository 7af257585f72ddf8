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

	// Of sendRequest, as ratios to the echo in C.
	goalEchoLatency    = 1.45 // p50 with 1 in flight, at most
	goalEchoThroughput = 0.70 // with maxInFlight, at least
	goalEchoCPU        = 1.4  // of service and message bus with maxInFlight, at most

	// Of the bus's own method, as ratios to the old one.
	goalBusMethod = 1.05
	goalBusRate   = 0.95

	// Of a request from a bus to the host daemon, as ratios to the bridge in C.
	goalBridgeLatency    = 1.15 // p50 with 1 in flight, at most
	goalBridgeThroughput = 1.0  // with maxInFlight, at least
	goalBridgeCPUOne     = 1.2  // of service and message bus with 1 in flight, at most
	goalBridgeCPU        = 1.15 // with maxInFlight

	goalManyBuses = 0.9    // requests per second of 16 buses, as a ratio to one, at least
	goalBridged   = 20_000 // bridged requests of one command per second with maxInFlight, at least
	goalWakeUps   = 0.2    // per second, of the idle daemon with 16 buses, at most
	goalManyMiB   = 14     // resident with 16 buses after the load, at most

	// Of a virtual machine, as ratios to ipmi_sim.
	goalVM    = 1.0  // requests per second, at least
	goalGuest = 1.05 // p50 in its guest, at most
)

func newTable(out io.Writer, title string) *tabwriter.Writer {
	fmt.Fprintf(out, "%s\n", title)
	return tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
}

// goals are what was measured beside what is wanted, for one table at the end.
type goals struct{ rows []string }

func (g *goals) atMost(what string, value, goal float64) {
	g.rows = append(g.rows, fmt.Sprintf("%.2f\tat most %v\t\t%s\n", value, goal, what))
}

func (g *goals) atLeast(what string, value, goal float64) {
	g.rows = append(g.rows, fmt.Sprintf("%.2f\tat least %v\t\t%s\n", value, goal, what))
}

func (g *goals) print(out io.Writer) {
	if len(g.rows) == 0 {
		return
	}
	w := newTable(out, "measured beside the goals")
	for _, row := range g.rows {
		fmt.Fprint(w, row)
	}
	w.Flush()
}

// callTable has a row for each contender and number of requests in flight.
type callTable struct {
	out io.Writer
	w   *tabwriter.Writer
}

func newCallTable(out io.Writer, title string) callTable {
	w := newTable(out, title+"; CPU in s per 10,000 requests")
	fmt.Fprintln(w, "in flight\tp50 us\tp99 us\tper s\tCPU service\tCPU message bus\tCPU both\tdisorder\t\t")
	return callTable{out, w}
}

func (t callTable) row(inFlight int, name string, s series) {
	fmt.Fprintf(t.w, "%d\t%d\t%d\t%.0f\t%.3f\t%.3f\t%.3f\t%v\t\t%s\n", inFlight,
		middle(s, func(r round) int64 { return r.p50.Microseconds() }),
		middle(s, func(r round) int64 { return r.p99.Microseconds() }),
		middle(s, func(r round) float64 { return r.rate }),
		middle(s, func(r round) float64 { return r.serviceCPU.Seconds() }),
		middle(s, func(r round) float64 { return r.busCPU.Seconds() }),
		middle(s, func(r round) float64 { return r.cpu().Seconds() }), s.disorder(), name)
}

// disorder is that of all rounds.
func (s series) disorder() (sum disorder) {
	for _, r := range s {
		sum = sum.plus(r.disorder)
	}
	return sum
}

func (t callTable) ratios(inFlight int, name string, a, b series) {
	fmt.Fprintf(t.w, "%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\t\t%s\n", inFlight,
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

// addCalls compares sendRequest with 1 and with maxInFlight in flight with the goals;
// all is what was measured with each of callsInFlight.
func (g *goals) addCalls(all [][]series) {
	first, last := all[0], all[len(all)-1]
	for _, floor := range []struct {
		name                     string
		contender                int
		latency, throughput, cpu float64
	}{
		{"C echo", callEcho, goalEchoLatency, goalEchoThroughput, goalEchoCPU},
		{"floor", callFloor, goalLatency, goalThroughput, goalCPU},
	} {
		what := "sendRequest against the " + floor.name
		g.atMost(what+", p50 with 1 in flight", ratio(first[callIPMBD], first[floor.contender], roundP50), floor.latency)
		g.atLeast(what+", requests/s with 63", ratio(last[callIPMBD], last[floor.contender], roundRate), floor.throughput)
		g.atMost(what+", CPU with 63", ratio(last[callIPMBD], last[floor.contender], roundCPU), floor.cpu)
	}
	const what = "method of the bus against the old one"
	g.atMost(what+", p50 with 1 in flight", ratio(first[callIPMBDBus], first[callIPMBD], roundP50), goalBusMethod)
	g.atLeast(what+", requests/s with 63", ratio(last[callIPMBDBus], last[callIPMBD], roundRate), goalBusRate)
	g.atMost(what+", CPU with 63", ratio(last[callIPMBDBus], last[callIPMBD], roundCPU), goalBusMethod)
	for i, n := range callsInFlight {
		what := fmt.Sprintf("frame socket against the floor with %d in flight, ", n)
		g.atLeast(what+"requests/s", ratio(all[i][callFrames], all[i][callFloor], roundRate), goalFrameThroughput)
		g.atMost(what+"CPU of the service", ratio(all[i][callFrames], all[i][callFloor], roundCPU), goalFrameCPU)
	}
}

// addIncoming does so for requests from a bus, by incomingInFlight.
func (g *goals) addIncoming(all [][]series) {
	first, last := all[0], all[len(all)-1]
	const what = "request to the host daemon against the C bridge"
	g.atMost(what+", p50 with 1 in flight", ratio(first[incomingHost], first[incomingFloor], roundP50), goalBridgeLatency)
	g.atLeast(what+", requests/s with 63", ratio(last[incomingHost], last[incomingFloor], roundRate), goalBridgeThroughput)
	g.atMost(what+", CPU with 1", ratio(first[incomingHost], first[incomingFloor], roundCPU), goalBridgeCPUOne)
	g.atMost(what+", CPU with 63", ratio(last[incomingHost], last[incomingFloor], roundCPU), goalBridgeCPU)
	g.atLeast("bridged requests of one command with 63 in flight, requests/s", middle(last[incomingBridge], roundRate), goalBridged)
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
	fmt.Fprintln(out)
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
