// Package counters counts events, under the names that statistics show. Counting allocates nothing
// and takes no lock.
//
// A package has a type of index, a constant of this type for each counter, and a table of names,
// such as []string{requestsReceived: "requests-received", requestsDropped: "requests-dropped"}.
package counters

import (
	"fmt"
	"sync/atomic"
)

// Set is the counters of one object, with one for each index. Its methods may be called
// from several goroutines at once.
type Set[Index ~int] struct {
	names  []string
	counts []atomic.Uint64
}

// New makes a set whose counters are 0. names has the name of each index. New panics if an
// index has no name.
func New[Index ~int](names []string) Set[Index] {
	for i, name := range names {
		if name == "" {
			panic(fmt.Sprintf("counters: no name for index %d", i))
		}
	}
	return Set[Index]{names, make([]atomic.Uint64, len(names))}
}

// Count adds 1 to a counter and returns its new value.
func (s *Set[Index]) Count(i Index) uint64 { return s.counts[i].Add(1) }

// Add adds n to a counter.
func (s *Set[Index]) Add(i Index, n int) { s.counts[i].Add(uint64(n)) }

// Value returns the value of a counter.
func (s *Set[Index]) Value(i Index) uint64 { return s.counts[i].Load() }

// Statistics returns a snapshot of the values by name. They start at 0 and only grow, except
// for Reset.
func (s *Set[Index]) Statistics() map[string]uint64 {
	statistics := make(map[string]uint64, len(s.names))
	s.AddTo(statistics)
	return statistics
}

// AddTo adds the values to those in sum, by name.
func (s *Set[Index]) AddTo(sum map[string]uint64) {
	for i, name := range s.names {
		sum[name] += s.counts[i].Load()
	}
}

// Reset sets all counters to 0.
func (s *Set[Index]) Reset() {
	for i := range s.counts {
		s.counts[i].Store(0)
	}
}
