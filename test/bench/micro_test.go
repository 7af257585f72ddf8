package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBenchmarksAreRead(t *testing.T) {
	const text = `goos: linux
pkg: ipmbd/ipmb
BenchmarkEngine/1_in_flight-2         	  500000	      1234.5 ns/op	      48 B/op	       1 allocs/op
BenchmarkEncode 	100000000	        11 ns/op	       0 B/op	       0 allocs/op
PASS
ok  	ipmbd/ipmb	2.0s
PASS
ok  	ipmbd/frames	0.1s [no tests to run]
pkg: ipmbd/dbusapi
BenchmarkParse/call-16         	  500000	      99 ns/op	  2.5 MB/s	      48 B/op	       3 allocs/op
`
	want := []benchmark{
		{"ipmb: Engine/1 in flight", 1234.5, 1},
		{"ipmb: Encode", 11, 0},
		{"dbusapi: Parse/call", 99, 3},
	}
	if diff := cmp.Diff(want, parseBenchmarks(text), cmp.AllowUnexported(benchmark{})); diff != "" {
		t.Error(diff)
	}
}
