// Command report shows what go test -json says: a line for each package when it ends, behind
// the output of the tests that failed in it, and at least every 10 s what runs. It leaves two
// files for the end of all tests: the tests that failed, with the cause, and those that did not
// run, with the reason. With -v it shows what tests print when they print it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	verbose := flag.Bool("v", false, "show what tests print")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ... | report [-v] FAILED-FILE SKIPPED-FILE")
		os.Exit(2)
	}
	r := &report{out: os.Stdout, verbose: *verbose, packages: make(map[string]*results)}
	for _, file := range []struct {
		path string
		to   *io.Writer
	}{{flag.Arg(0), &r.failed}, {flag.Arg(1), &r.skipped}} {
		f, err := os.OpenFile(file.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(1)
		}
		defer f.Close()
		*file.to = f
	}
	lines := make(chan []byte)
	go func() {
		defer close(lines)
		for in := bufio.NewReader(os.Stdin); ; {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			lines <- line
		}
	}()
	r.run(lines, time.NewTicker(tick).C)
}

// tick is half of the longest time without a line.
const tick = 5 * time.Second

// most is how many lines of a failure stand at the end of all.
const most = 20

// event is a line of test2json.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of build-output
	Elapsed                       float64
}

type report struct {
	out, failed, skipped io.Writer
	verbose              bool
	begin                time.Time
	packages             map[string]*results // that have not ended
	building             []string            // output of go build
	printed              bool                // since the last tick
}

// results are the results of a package. The test "" is the package itself.
type results struct {
	output map[string][]string // of tests
	failed []string
	since  map[string]time.Time // of tests that run
}

func (r *report) run(lines <-chan []byte, tick <-chan time.Time) {
	r.begin = time.Now()
	for {
		select {
		case line, more := <-lines:
			if !more {
				r.end()
				return
			}
			var e event
			if json.Unmarshal(line, &e) != nil {
				e = event{Action: "build-output", Output: string(line)} // go test's own
			}
			r.take(e)
		case <-tick:
			if !r.printed {
				r.printf("   %3.0f s: %s\n", time.Since(r.begin).Seconds(), r.running())
			}
			r.printed = false
		}
	}
}

func (r *report) printf(format string, args ...any) {
	r.printed = true
	fmt.Fprintf(r.out, format, args...)
}

func (r *report) take(e event) {
	if e.Action == "build-output" {
		r.building = append(r.building, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &results{output: make(map[string][]string), since: make(map[string]time.Time)}
		r.packages[e.Package] = p
	}
	switch e.Action {
	case "run", "cont":
		p.since[e.Test] = time.Now()
	case "pause":
		delete(p.since, e.Test)
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			p.output[e.Test] = append(p.output[e.Test], e.Output)
			if r.verbose && e.Test != "" {
				r.printf("%s", e.Output)
			}
		}
	case "pass", "fail", "skip":
		delete(p.since, e.Test)
		r.ended(p, e)
	}
}

// ended notes how a test has ended, or shows how a package has.
func (r *report) ended(p *results, e event) {
	switch {
	case e.Test == "":
		r.show(p, e)
	case e.Action == "fail":
		p.failed = append(p.failed, e.Test)
	case e.Action == "skip":
		fmt.Fprintf(r.skipped, "%s %s\n%s", e.Package, e.Test, strings.Join(withoutResult(p.output[e.Test]), ""))
		fallthrough
	default:
		delete(p.output, e.Test)
	}
}

// show prints the end of a package.
func (r *report) show(p *results, e event) {
	delete(r.packages, e.Package)
	if e.Action != "fail" {
		if e.Action == "pass" && len(p.output[""]) > 0 {
			r.printf("ok   %-32s %6.1f s\n", e.Package, e.Elapsed)
		}
		return
	}
	if len(p.failed) == 0 {
		p.failed = []string{""} // it was not built, or ended before its tests did
	}
	for test := range p.since { // where it ended
		if test != "" {
			p.failed = append(p.failed, test)
		}
	}
	for _, test := range p.failed {
		if isParent(test, p.failed) && len(withoutResult(p.output[test])) == 0 {
			continue
		}
		text := withoutResult(p.output[test])
		if test == "" {
			text = append(slices.Clone(r.building), text...)
		}
		if !r.verbose || test == "" {
			r.printf("FAIL %s %s\n%s", e.Package, test, strings.Join(text, ""))
		}
		fmt.Fprintf(r.failed, "FAIL %s %s\n%s", e.Package, test, strings.Join(cause(text), ""))
	}
	r.printf("FAIL %-32s %6.1f s\n", e.Package, e.Elapsed)
}

// end shows the rest when go test has ended.
func (r *report) end() {
	for name, p := range r.packages {
		r.show(p, event{Action: "fail", Package: name})
	}
}

// isParent reports whether another one of the tests is a part of a test.
func isParent(test string, tests []string) bool {
	return slices.ContainsFunc(tests, func(other string) bool { return strings.HasPrefix(other, test+"/") })
}

// withoutResult leaves out the lines that say how a test ended.
func withoutResult(output []string) []string {
	return slices.DeleteFunc(slices.Clone(output), func(line string) bool {
		return strings.HasPrefix(strings.TrimSpace(line), "--- ") || line == "PASS\n" || line == "FAIL\n"
	})
}

// reports begin lines about a test that the test did not print itself.
var reports = []string{"panic: ", "WARNING: DATA RACE", "found unexpected goroutines", "descriptors are left open"}

// cause shortens the output of a test that failed: to its first lines, and then to the first of
// reports if it is not among these.
func cause(output []string) []string {
	const first = most / 2
	report := slices.IndexFunc(output, func(line string) bool {
		return slices.ContainsFunc(reports, func(begin string) bool { return strings.Contains(line, begin) })
	})
	switch {
	case len(output) <= most:
		return output
	case report < first:
		return append(slices.Clone(output[:most]), cut)
	default:
		rest := output[report:min(len(output), report+most-first)]
		return slices.Concat(output[:first], []string{cut}, rest)
	}
}

// cut stands for lines that are left out.
const cut = "    ...\n"

// running names the running tests, the oldest of each package.
func (r *report) running() string {
	var all []string
	for name, p := range r.packages {
		oldest, since := "", time.Now()
		for test, begin := range p.since {
			if begin.Before(since) && test != "" {
				oldest, since = test, begin
			}
		}
		if oldest != "" {
			name += fmt.Sprintf(" (%s for %.0f s)", oldest, time.Since(since).Seconds())
		}
		all = append(all, name)
	}
	if len(all) == 0 {
		return "building"
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
