package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// measuredPackages have the benchmarks of what has no process of its own.
var measuredPackages = []string{"ipmbd/ipmb", "ipmbd/ipmi", "ipmbd/frames", "ipmbd/dbusapi"}

// codeGoals are the goals of benchmarks, by their names.
var codeGoals = map[string]string{
	"ipmb: Engine/1 in flight": "under 2000 ns, at most 2 allocations",
	"ipmb: Serve":              "2 allocations",
}

// measureCode runs the benchmarks of the packages with go test, and prints what they
// say.
func measureCode(ctx context.Context, o options, out io.Writer, _ *goals) error {
	time := "0.5s"
	if o.quick {
		time = "1x"
	}
	args := append([]string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", time}, measuredPackages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd, err, text)
	}
	printCode(out, parseBenchmarks(string(text)))
	return nil
}

// benchmark is a line of go test -bench -benchmem.
type benchmark struct {
	name        string
	ns          float64 // of one operation
	allocations int
}

// parseBenchmarks reads what go test prints: a line with each package, and one with
// each benchmark.
//
//	pkg: ipmbd/ipmb
//	BenchmarkEngine/1_in_flight-2   1000   1200 ns/op   48 B/op   1 allocs/op
func parseBenchmarks(text string) (list []benchmark) {
	var in string
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if path, ok := strings.CutPrefix(lines.Text(), "pkg: "); ok {
			in = strings.TrimPrefix(path, "ipmbd/")
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		b := benchmark{name: in + ": " + benchmarkName(fields[0])}
		for i, unit := range fields[1:] {
			switch number := fields[i]; unit {
			case "ns/op":
				b.ns, _ = strconv.ParseFloat(number, 64)
			case "allocs/op":
				b.allocations, _ = strconv.Atoi(number)
			}
		}
		list = append(list, b)
	}
	return list
}

// benchmarkName takes off what go test puts around a benchmark's name: at its end
// the number of processors, if they are more than one.
func benchmarkName(s string) string {
	s = strings.TrimPrefix(s, "Benchmark")
	if i := strings.LastIndexByte(s, '-'); i > 0 {
		if _, err := strconv.Atoi(s[i+1:]); err == nil {
			s = s[:i]
		}
	}
	return strings.ReplaceAll(s, "_", " ")
}

func printCode(out io.Writer, rows []benchmark) {
	w := newTable(out, "code in the process")
	fmt.Fprintln(w, "ns\tallocations\t\t")
	for _, b := range rows {
		fmt.Fprintf(w, "%.1f\t%d\t\t%s", b.ns, b.allocations, b.name)
		if goal := codeGoals[b.name]; goal != "" {
			fmt.Fprintf(w, " (goal: %s)", goal)
		}
		fmt.Fprintln(w)
	}
	w.flush()
}
