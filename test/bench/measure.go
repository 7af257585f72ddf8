package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Requests in flight, one row each.
var (
	callsInFlight    = []int{1, 8, maxInFlight}
	incomingInFlight = []int{1, maxInFlight}
)

// series is the rounds of one contender with one number of requests in flight.
type series []round

// measureAll measures everything and prints each part when it is measured.
func measureAll(ctx context.Context, o options, out io.Writer) (err error) {
	if _, err := os.Stat(o.ipmbd); err != nil {
		return fmt.Errorf("%w; build it with: make build", err)
	}
	if _, err := os.Stat(o.before); err != nil && o.before != "" {
		return err
	}
	if _, err := os.Stat(o.broker); err != nil && o.broker != "" {
		return fmt.Errorf("%w; test/systemd/build gets it", err)
	}
	if o.programs, err = os.MkdirTemp("", "ipmbd-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.programs)
	if err := compilePrograms(o.programs); err != nil {
		return err
	}
	var g goals
	for _, part := range measuredParts {
		if !o.only.MatchString(part.name) {
			continue
		}
		if err := part.measure(ctx, o, out, &g); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	g.print(out)
	return nil
}

// measuredParts are what can be measured by itself, in the order of a whole run.
var measuredParts = []struct {
	name    string
	measure func(ctx context.Context, o options, out io.Writer, g *goals) error
}{
	{"code", measureCode},
	{"vm", measureVM},
	{"guests", measureGuests},
	{"main", measureLab},
	{"before", measureBefore},
	{"variants", measureVariants},
	{"many", onTwoAndOne(measureMany)},
	{"slow", onTwoAndOne(measureSlow)},
}

// onTwoAndOne measures on two processors and on one.
func onTwoAndOne(measure func(context.Context, options, variant, io.Writer, *goals) error) func(context.Context, options, io.Writer, *goals) error {
	return func(ctx context.Context, o options, out io.Writer, g *goals) error {
		return errors.Join(measure(ctx, o, variant{}, out, g), measure(ctx, o, oneProcessor, out, g))
	}
}

// measureLab measures a daemon with a bus of each kind.
func measureLab(ctx context.Context, o options, out io.Writer, g *goals) error {
	return onLab(ctx, o, variant{}, func(l *lab) error {
		if err := measureCalls(ctx, l, out, g); err != nil {
			return err
		}
		if err := measureIncoming(ctx, l, out, g); err != nil {
			return err
		}
		after, err := l.memory()
		if err == nil {
			printDaemon(out, l, after)
		}
		return err
	})
}

// comparison is a row with the ratios of two contenders.
type comparison struct {
	name string
	a, b int
}

// measureRows measures contenders with each number of requests in flight, and has a row for each
// of them and for each comparison.
func (t table) measureRows(ctx context.Context, o options, rows []*contender, inFlight []int, compared ...comparison) (measured [][]series, err error) {
	for _, n := range inFlight {
		all, err := measureRounds(ctx, rows, n, o)
		if err != nil {
			return nil, err
		}
		for i, c := range rows {
			t.row(n, c.name, all[i])
		}
		for _, c := range compared {
			t.ratios(n, c.name, all[c.a], all[c.b])
		}
		measured = append(measured, all)
	}
	t.flush()
	return measured, nil
}

func measureCalls(ctx context.Context, l *lab, out io.Writer, g *goals) error {
	t := newCallTable(out, fmt.Sprintf("sendRequest, Get Device ID (medians of %d rounds)", l.options.rounds))
	measured, err := t.measureRows(ctx, l.options, l.calls, callsInFlight,
		comparison{"ipmbd / floor", callIPMBD, callFloor},
		comparison{"ipmbd / C echo", callIPMBD, callEcho},
		comparison{"ipmbd, method of the bus / ipmbd", callIPMBDBus, callIPMBD},
		comparison{"frame socket / floor", callFrames, callFloor})
	if err == nil {
		g.add(callGoals, measured)
	}
	return err
}

func measureIncoming(ctx context.Context, l *lab, out io.Writer, g *goals) error {
	t := newCallTable(out, "Get Device ID from a bus, by what answers it")
	measured, err := t.measureRows(ctx, l.options, l.incoming, incomingInFlight,
		comparison{"the host IPMI daemon / C bridge", incomingHost, incomingFloor})
	if err != nil {
		return err
	}
	w := newTable(out, "added to the p50 of an answer of ipmbd itself")
	fmt.Fprintln(w, "in flight\tadded\tratio\t\t")
	for i, all := range measured {
		for _, k := range []int{incomingHandler, incomingBridge} {
			fmt.Fprint(w, addedLatency(incomingInFlight[i], l.incoming[k].name, all[k], all[incomingDirect]))
		}
	}
	w.flush()
	g.add(incomingGoals, measured)
	bridged := measured[len(measured)-1][incomingBridge]
	g.atLeast("bridged requests of one command with 63 in flight, requests/s", middle(bridged, roundRate), goalBridged)
	return nil
}

// measureBefore measures the daemon beside another build of it, which has a stage of its own.
func measureBefore(ctx context.Context, o options, out io.Writer, _ *goals) error {
	if o.before == "" {
		return nil
	}
	other := o
	other.ipmbd = o.before
	named := variant{title: "beside " + o.before} // no times of starts
	return onLab(ctx, o, named, func(now *lab) error {
		return onLab(ctx, other, named, func(before *lab) error {
			return measureBoth(ctx, now, before, out)
		})
	})
}

// measureBoth measures two builds in turns.
func measureBoth(ctx context.Context, now, before *lab, out io.Writer) error {
	var rows []*contender
	var ratios []comparison
	for i, c := range append(slices.Clone(now.calls), now.incoming...) {
		earlier := append(slices.Clone(before.calls), before.incoming...)[i]
		if c.service != now.ipmbd.pid() {
			continue // It is the same program.
		}
		earlier.name = "before: " + c.name
		ratios = append(ratios, comparison{"now / before: " + c.name, len(rows), len(rows) + 1})
		rows = append(rows, c, earlier)
	}
	t := newCallTable(out, now.variant.titled("sendRequest, and Get Device ID from a bus"))
	_, err := t.measureRows(ctx, now.options, rows, callsInFlight, ratios...)
	return err
}

// measureVariants measures the main rows on one processor, and on dbus-broker.
func measureVariants(ctx context.Context, o options, out io.Writer, _ *goals) error {
	variants := []variant{oneProcessor, {title: "ipmbd kept on one processor", onOne: true}}
	if o.broker != "" {
		variants = append(variants, variant{title: "dbus-broker", broker: o.broker})
	}
	for _, v := range variants {
		if err := onLab(ctx, o, v, func(l *lab) error { return measureVariant(ctx, l, out) }); err != nil {
			return fmt.Errorf("%s: %w", v.title, err)
		}
	}
	if o.broker == "" {
		fmt.Fprint(out, "main rows on dbus-broker: not measured; test/systemd/build gets it, and -broker takes it\n\n")
	}
	return nil
}

func measureVariant(ctx context.Context, l *lab, out io.Writer) error {
	rows := []*contender{
		l.calls[callEcho], l.calls[callIPMBD], l.calls[callIPMBDBus], l.incoming[incomingFloor], l.incoming[incomingHost],
	}
	t := newCallTable(out, l.variant.titled("sendRequest, and Get Device ID from a bus"))
	_, err := t.measureRows(ctx, l.options, rows, incomingInFlight,
		comparison{"ipmbd / C echo", 1, 0}, comparison{"the host IPMI daemon / C bridge", 4, 3})
	return err
}

// measureRounds drives the contenders in turns.
func measureRounds(ctx context.Context, contenders []*contender, inFlight int, o options) ([]series, error) {
	var latency []time.Duration
	return inTurns(ctx, len(contenders), o.rounds, func(i int) (round, error) {
		return contenders[i].run(inFlight, o.pace(), &latency)
	})
}

// inTurns measures rounds of a number of contenders, and in the opposite order in
// every other round.
func inTurns(ctx context.Context, contenders, rounds int, run func(i int) (round, error)) ([]series, error) {
	all := make([]series, contenders)
	for n := range rounds {
		for i := range contenders {
			if n%2 == 1 {
				i = contenders - 1 - i
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			r, err := run(i)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], r)
		}
	}
	return all, nil
}

// middle is the median of a number of each round.
func middle[T cmp.Ordered](s series, number func(round) T) T {
	var numbers []T
	for _, r := range s {
		numbers = append(numbers, number(r))
	}
	return median(numbers)
}

// ratio is the median of the ratios of rounds that were measured side by side.
func ratio(a, b series, number func(round) float64) float64 {
	var ratios []float64
	for i := range a {
		ratios = append(ratios, number(a[i])/number(b[i]))
	}
	return median(ratios)
}

func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
