package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// steady is a link that answers everything after a time, in a bubble.
type steady struct {
	uncounted
	connection
	t        *testing.T
	delay    time.Duration
	asked    []int
	inFlight []int
	most     int
	failAt   int // answers until it fails; 0 is never
}

var errLink = errors.New("link down")

func (s *steady) ask(slot int) { s.asked = append(s.asked, slot) }

func (s *steady) send() error {
	s.inFlight = append(s.inFlight, s.asked...)
	s.asked = nil
	s.most = max(s.most, len(s.inFlight))
	return nil
}

func (s *steady) answers() ([]int, error) {
	if s.failAt--; s.failAt == 0 {
		return nil, errLink
	}
	time.Sleep(s.delay)
	slots := s.inFlight
	s.inFlight = nil
	return slots, nil
}

func TestDriveKeepsRequestsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &steady{t: t, delay: 10 * time.Millisecond}
		l, err := drive(s, 8, time.Second, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.most != 8 || len(s.inFlight) != 0 {
			t.Errorf("%d in flight at most, %d left", s.most, len(s.inFlight))
		}
		if len(l.latency) != 800 || l.took != time.Second || l.rate() != 800 {
			t.Errorf("%d requests in %v: %v per s", len(l.latency), l.took, l.rate())
		}
		if p50 := l.percentile(50); p50 != 10*time.Millisecond {
			t.Errorf("p50 is %v", p50)
		}
	})
}

func TestDriveEndsWithItsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, err := drive(&steady{t: t, failAt: 3}, 8, time.Second, nil); !errors.Is(err, errLink) {
			t.Error(err)
		}
	})
}

func TestPercentiles(t *testing.T) {
	var l load
	for i := range 101 {
		l.latency = append(l.latency, time.Duration(i))
	}
	for _, percent := range []int{0, 50, 99, 100} {
		if got := l.percentile(percent); got != time.Duration(percent) {
			t.Errorf("percentile %d is %d", percent, got)
		}
	}
}

func TestRatioIsOfRoundsSideBySide(t *testing.T) {
	rates := func(values ...float64) (s series) {
		for _, v := range values {
			s = append(s, round{rate: v})
		}
		return s
	}
	// The machine was slower and slower, and 0.9 of the floor all the time.
	got := ratio(rates(90, 45, 9), rates(100, 50, 10), roundRate)
	if got != 0.9 {
		t.Errorf("ratio is %v", got)
	}
}
