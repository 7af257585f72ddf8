package counters

import (
	"maps"
	"sync"
	"testing"
)

type fruit int

const (
	apples fruit = iota
	pears
)

var names = []string{apples: "apples", pears: "pears"}

func TestCounters(t *testing.T) {
	s := New[fruit](names)
	var counting sync.WaitGroup
	for range 4 {
		counting.Go(func() { s.Count(apples) })
	}
	counting.Wait()
	if n := s.Count(apples); n != 5 {
		t.Errorf("the fifth apple is number %d", n)
	}
	s.Add(pears, 3)
	if got, want := s.Statistics(), (map[string]uint64{"apples": 5, "pears": 3}); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	sum := map[string]uint64{"apples": 1, "plums": 1}
	s.AddTo(sum)
	if want := (map[string]uint64{"apples": 6, "pears": 3, "plums": 1}); !maps.Equal(sum, want) {
		t.Errorf("added up %v, want %v", sum, want)
	}
	if s.Reset(); s.Value(apples) != 0 || s.Value(pears) != 0 {
		t.Errorf("%v after the reset", s.Statistics())
	}
}

func TestEachCounterHasAName(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a counter without a name")
		}
	}()
	New[fruit]([]string{pears: "pears"})
}

func TestCountingAllocatesNothing(t *testing.T) {
	s := New[fruit](names)
	if n := testing.AllocsPerRun(100, func() { s.Count(pears) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
