package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
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

// measureCode runs the benchmarks of the packages with go test, and prints their results.
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

var (
	packageLine = regexp.MustCompile(`^pkg: ipmbd/(.*)`)
	// benchmarkLine has the name, without the number of processors, and two results.
	benchmarkLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s.*\s([\d.]+) ns/op.*\s(\d+) allocs/op`)
)

// parseBenchmarks reads the output of go test: a line with each package, and one with each
// benchmark.
//
//	pkg: ipmbd/ipmb
//	BenchmarkEngine/1_in_flight-2   1000   1200 ns/op   48 B/op   1 allocs/op
func parseBenchmarks(text string) (list []benchmark) {
	in := ""
	for line := range strings.Lines(text) {
		if m := packageLine.FindStringSubmatch(line); m != nil {
			in = strings.TrimSpace(m[1])
		}
		if m := benchmarkLine.FindStringSubmatch(line); m != nil {
			b := benchmark{name: in + ": " + strings.ReplaceAll(m[1], "_", " ")}
			b.ns, _ = strconv.ParseFloat(m[2], 64)
			b.allocations, _ = strconv.Atoi(m[3])
			list = append(list, b)
		}
	}
	return list
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
