package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// Requests in flight, one row each.
var (
	callsInFlight    = []int{1, 8, 32, maxInFlight}
	incomingInFlight = []int{1, maxInFlight}
)

// series is the rounds of one contender with one number of requests in flight.
type series []round

// measureAll measures everything and prints each part when it is measured.
func measureAll(ctx context.Context, o options, out io.Writer) error {
	code, err := measureCode(ctx, o.quick)
	if err != nil {
		return err
	}
	printCode(out, code)
	if err := measureVM(ctx, o, out); err != nil {
		return err
	}
	if err := measureGuests(ctx, o, out); err != nil {
		return err
	}
	l, err := openLab(ctx, o.ipmbd)
	if err != nil {
		return err
	}
	defer l.close()
	if err := measureCalls(ctx, l, o, out); err != nil {
		return err
	}
	if err := measureIncoming(ctx, l, o, out); err != nil {
		return err
	}
	after, err := l.memory()
	if err != nil {
		return err
	}
	printDaemon(out, l, after)
	return nil
}

func measureCalls(ctx context.Context, l *lab, o options, out io.Writer) error {
	t := newCallTable(out, fmt.Sprintf("sendRequest, Get Device ID (medians of %d rounds)", o.rounds))
	var measured [][]series
	for _, n := range callsInFlight {
		all, err := measureRounds(ctx, l.calls, n, o)
		if err != nil {
			return err
		}
		for i, c := range l.calls {
			t.row(n, c.name, all[i])
		}
		t.ratios(n, "ipmbd / floor", all[callIPMBD], all[callFloor])
		t.ratios(n, "frame socket / floor", all[callFrames], all[callFloor])
		measured = append(measured, all)
	}
	t.flush()
	printGoals(out, measured)
	return nil
}

func measureIncoming(ctx context.Context, l *lab, o options, out io.Writer) error {
	t := newCallTable(out, "Get Device ID from a bus, by who answers it")
	var added []string
	for _, n := range incomingInFlight {
		all, err := measureRounds(ctx, l.incoming, n, o)
		if err != nil {
			return err
		}
		for i, c := range l.incoming {
			t.row(n, c.name, all[i])
		}
		for _, i := range []int{incomingHandler, incomingBridge} {
			added = append(added, addedLatency(n, l.incoming[i].name, all[i], all[incomingDirect]))
		}
	}
	t.flush()
	printAdded(out, added)
	return nil
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
