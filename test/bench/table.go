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

// table is written when it is complete.
type table struct {
	*tabwriter.Writer
	out     io.Writer
	columns []column
}

// column is a number of each round of a contender.
type column struct {
	title, format string
	number        func(round) float64 // nil for disorder, of which there is no ratio
}

func newTable(out io.Writer, title string) table {
	fmt.Fprintf(out, "%s\n", title)
	return table{tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight), out, nil}
}

func (t table) flush() {
	t.Flush()
	fmt.Fprintln(t.out)
}

// newRoundTable has rows for contenders; the first column says how or where.
func newRoundTable(out io.Writer, title, first string, columns []column) table {
	t := newTable(out, title+"; CPU in s per 10,000 requests")
	t.columns = columns
	for _, c := range columns {
		first += "\t" + c.title
	}
	fmt.Fprintln(t, first+"\t\t")
	return t
}

// row has the median of each column.
func (t table) row(first any, name string, s series) {
	fmt.Fprint(t, first)
	for _, c := range t.columns {
		if c.number == nil {
			fmt.Fprintf(t, "\t%v", s.disorder())
			continue
		}
		fmt.Fprintf(t, "\t"+c.format, middle(s, c.number))
	}
	fmt.Fprintf(t, "\t\t%s\n", name)
}

// ratios has the ratio of two contenders in each column.
func (t table) ratios(first any, name string, a, b series) {
	fmt.Fprint(t, first)
	for _, c := range t.columns {
		if c.number == nil {
			fmt.Fprint(t, "\t")
			continue
		}
		fmt.Fprintf(t, "\t%.2f", ratio(a, b, c.number))
	}
	fmt.Fprintf(t, "\t\t%s\n", name)
}

func roundP50(r round) float64  { return microseconds(r.p50) }
func roundP99(r round) float64  { return microseconds(r.p99) }
func roundRate(r round) float64 { return r.rate }
func roundCPU(r round) float64  { return r.cpu().Seconds() }

var serviceColumn = column{"CPU service", "%.3f", func(r round) float64 { return r.serviceCPU.Seconds() }}

// newCallTable has a row for each contender and number of requests in flight.
func newCallTable(out io.Writer, title string) table {
	return newRoundTable(out, title, "in flight", []column{
		{"p50 us", "%.0f", roundP50}, {"p99 us", "%.0f", roundP99}, {"per s", "%.0f", roundRate}, serviceColumn,
		{"CPU message bus", "%.3f", func(r round) float64 { return r.busCPU.Seconds() }},
		{"CPU both", "%.3f", roundCPU}, {title: "disorder"},
	})
}

// newVMTable has rows for each contender and each place: of the client, or of the
// service in the guest.
func newVMTable(out io.Writer, title, place string) table {
	return newRoundTable(out, title, place, []column{
		{"p50 us", "%.1f", roundP50}, {"p99 us", "%.1f", roundP99}, {"per s", "%.0f", roundRate}, serviceColumn,
	})
}

// flushCompared is flush of a table in which ipmi_sim may be missing.
func (t table) flushCompared(compared bool) {
	t.Flush()
	if !compared {
		fmt.Fprintf(t.out, "nothing to compare with: %v (apt-get install openipmi)\n", errNoSimulator)
	}
	fmt.Fprintln(t.out)
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// disorder is that of all rounds.
func (s series) disorder() (sum disorder) {
	for _, r := range s {
		sum = sum.plus(r.disorder)
	}
	return sum
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
	w.flush()
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
	w.flush()
}
