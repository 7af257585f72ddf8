package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"ipmbd/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m) }

// shown runs a report on lines and returns its output and the files that it leaves.
func shown(t *testing.T, ticks int, lines ...string) (out, failed, skipped string) {
	t.Helper()
	var o, f, s bytes.Buffer
	r := &report{out: &o, failed: &f, skipped: &s, packages: make(map[string]*results)}
	in, tick := make(chan []byte), make(chan time.Time)
	go func() {
		defer close(in)
		for _, line := range lines {
			in <- []byte(line)
		}
		for range ticks {
			tick <- time.Now()
		}
	}()
	r.run(in, tick)
	return o.String(), f.String(), s.String()
}

func has(t *testing.T, where, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		before, after, ok := strings.Cut(text, part)
		if !ok {
			t.Errorf("%s has no %q, or not in this place:\n%s", where, part, before)
		}
		text = after
	}
}

func TestReport(t *testing.T) {
	out, failed, skipped := shown(t, 0,
		`{"Action":"start","Package":"a"}`,
		`{"Action":"run","Package":"a","Test":"TestX"}`,
		`{"Action":"output","Package":"a","Test":"TestX","Output":"=== RUN   TestX\n"}`,
		`{"Action":"run","Package":"a","Test":"TestX/part"}`,
		`{"Action":"output","Package":"a","Test":"TestX/part","Output":"    x_test.go:7: 1, want 2\n"}`,
		`{"Action":"output","Package":"a","Test":"TestX/part","Output":"    --- FAIL: TestX/part (0.00s)\n"}`,
		`{"Action":"fail","Package":"a","Test":"TestX/part"}`,
		`{"Action":"output","Package":"a","Test":"TestX","Output":"--- FAIL: TestX (0.00s)\n"}`,
		`{"Action":"fail","Package":"a","Test":"TestX"}`,
		`{"Action":"output","Package":"a","Test":"TestY","Output":"    y_test.go:8: needs root\n"}`,
		`{"Action":"skip","Package":"a","Test":"TestY"}`,
		`{"Action":"output","Package":"a","Output":"FAIL\n"}`,
		`{"Action":"fail","Package":"a","Elapsed":1.5}`,
		`{"Action":"output","Package":"b","Output":"ok b 2s\n"}`,
		`{"Action":"pass","Package":"b","Elapsed":2}`,
	)
	has(t, "the output", out, "FAIL a TestX/part\n", "1, want 2", "FAIL a ", "1.5 s", "ok   b ", "2.0 s")
	has(t, "the list of failures", failed, "FAIL a TestX/part\n    x_test.go:7: 1, want 2\n")
	has(t, "the list of skips", skipped, "a TestY\n    y_test.go:8: needs root\n")
}

func TestReportOfWhatIsNoTest(t *testing.T) {
	_, failed, _ := shown(t, 0,
		`{"Action":"build-output","ImportPath":"a","Output":"x.go:1: syntax error\n"}`,
		`{"Action":"fail","Package":"a"}`,
		`{"Action":"run","Package":"b","Test":"TestHangs"}`,
		`{"Action":"output","Package":"b","Test":"TestHangs","Output":"panic: test timed out\n"}`,
	)
	has(t, "the list of failures", failed, "FAIL a ", "x.go:1: syntax error")
	has(t, "the list of failures", failed, "FAIL b TestHangs\n", "panic: test timed out\n")
}

func TestReportSaysWhatRuns(t *testing.T) {
	out, _, _ := shown(t, 2, `{"Action":"run","Package":"b","Test":"TestLong"}`, `{"Action":"run","Package":"b","Test":"TestLong/part"}`)
	has(t, "the output", out, " s: b (TestLong for 0 s)")
}

func TestCause(t *testing.T) {
	lines := strings.SplitAfter("    x_test.go:9: 1, want 2\n"+strings.Repeat("x\n", 100), "\n")[:101]
	if got := cause(lines); len(got) != most+1 || got[0] != lines[0] || got[most] != cut {
		t.Errorf("%d lines, the first %q", len(got), got[0])
	}
	lines[50] = "panic: test timed out\n"
	if got := cause(lines); len(got) != most+1 || got[0] != lines[0] || got[most/2] != cut || got[most/2+1] != lines[50] {
		t.Errorf("%d lines: %q", len(got), got)
	}
	lines = lines[:most]
	if got := cause(lines); len(got) != most {
		t.Errorf("%d lines of %d", len(got), most)
	}
}
