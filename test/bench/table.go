package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Goals that are no ratios of two contenders, or are named in titles.
const (
	goalIdleKiB   = 12 << 10
	goalManyBuses = 0.9    // requests per second of 16 buses, as a ratio to one, at least
	goalBridged   = 20_000 // bridged requests of one command per second with maxInFlight, at least
	goalWakeUps   = 0.2    // per second, of the idle daemon with 16 buses, at most
	goalManyMiB   = 14     // resident with 16 buses after the load, at most

	// Of a virtual machine, as ratios to ipmi_sim.
	goalVM    = 1.0  // requests per second, at least
	goalGuest = 1.05 // p50 in its guest, at most
)

// goal is a ratio of two contenders that is wanted.
type goal struct {
	what     string
	a, b     int
	inFlight int // the index of a number of requests
	number   func(round) float64
	ratio    float64
}

// callGoals are the goals of sendRequest, by callsInFlight. CPU is of service and message bus.
var callGoals = []goal{
	{"sendRequest against the C echo, p50 with 1 in flight", callIPMBD, callEcho, 0, roundP50, 1.45},
	{"sendRequest against the C echo, requests/s with 63", callIPMBD, callEcho, 2, roundRate, 0.70},
	{"sendRequest against the C echo, CPU with 63", callIPMBD, callEcho, 2, roundCPU, 1.4},
	{"sendRequest against the floor, p50 with 1 in flight", callIPMBD, callFloor, 0, roundP50, 1.15},
	{"sendRequest against the floor, requests/s with 63", callIPMBD, callFloor, 2, roundRate, 0.85},
	{"sendRequest against the floor, CPU with 63", callIPMBD, callFloor, 2, roundCPU, 1.15},
	{"method of the bus against the old one, p50 with 1 in flight", callIPMBDBus, callIPMBD, 0, roundP50, 1.05},
	{"method of the bus against the old one, requests/s with 63", callIPMBDBus, callIPMBD, 2, roundRate, 0.95},
	{"method of the bus against the old one, CPU with 63", callIPMBDBus, callIPMBD, 2, roundCPU, 1.05},
	{"frame socket against the floor with 1 in flight, requests/s", callFrames, callFloor, 0, roundRate, 2.5},
	{"frame socket against the floor with 1 in flight, CPU of the service", callFrames, callFloor, 0, roundCPU, 0.25},
	{"frame socket against the floor with 8 in flight, requests/s", callFrames, callFloor, 1, roundRate, 2.5},
	{"frame socket against the floor with 8 in flight, CPU of the service", callFrames, callFloor, 1, roundCPU, 0.25},
	{"frame socket against the floor with 63 in flight, requests/s", callFrames, callFloor, 2, roundRate, 2.5},
	{"frame socket against the floor with 63 in flight, CPU of the service", callFrames, callFloor, 2, roundCPU, 0.25},
}

// incomingGoals are the goals of requests from a bus, by incomingInFlight.
var incomingGoals = []goal{
	{"request to the host daemon against the C bridge, p50 with 1 in flight", incomingHost, incomingFloor, 0, roundP50, 1.15},
	{"request to the host daemon against the C bridge, requests/s with 63", incomingHost, incomingFloor, 1, roundRate, 1.0},
	{"request to the host daemon against the C bridge, CPU with 1", incomingHost, incomingFloor, 0, roundCPU, 1.2},
	{"request to the host daemon against the C bridge, CPU with 63", incomingHost, incomingFloor, 1, roundCPU, 1.15},
}

// add compares what was measured with goals: a rate must be at least that, all else at most.
func (g *goals) add(wanted []goal, measured [][]series) {
	for _, w := range wanted {
		all, compare := measured[w.inFlight], g.atMost
		if strings.Contains(w.what, "requests/s") {
			compare = g.atLeast
		}
		compare(w.what, ratio(all[w.a], all[w.b], w.number), w.ratio)
	}
}

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

// disorder returns the disorder of all rounds.
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

// addedLatency is how much longer an answer takes than ipmbd's own: the median of the differences
// of rounds that were measured side by side, with its ratio.
func addedLatency(inFlight int, name string, s, direct series) string {
	var more []time.Duration
	for i := range s {
		more = append(more, s[i].p50-direct[i].p50)
	}
	return fmt.Sprintf("%d\t%d us\t%.2f\t\t%s\n", inFlight, median(more).Microseconds(), ratio(s, direct, roundP50), name)
}
