package ipmb_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// expectRuns checks the numbers that the service put into the answers to peer.
func (w *world) expectRuns(want ...int) {
	w.t.Helper()
	var got []int
	for _, a := range w.answers(peer) {
		got = append(got, a.run())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("the answers are of the runs %v, want %v", got, want)
	}
}

func TestDuplicate(t *testing.T) {
	s := slow(time.Second)
	story(t, "a repeat of a request that is being answered is dropped", ipmb.Config{Handler: s}, func(t *testing.T, w *world) {
		for i := range 4 { // an impatient requester
			w.until(time.Duration(i) * 250 * ms)
			w.hear(from(peer, 7, cmdA, 1))
		}
		w.until(900 * ms)
		w.expectRuns()
		w.until(3 * time.Second)
		w.expectRuns(1)
		if s.count() != 1 || w.answers(peer)[0].at != time.Second {
			t.Errorf("%d runs, answered at %v", s.count(), w.answers(peer)[0].at)
		}
		if n := w.count("dropped-repeat"); n != 3 {
			t.Errorf("%d repeats were counted", n)
		}
	})

	story(t, "one that was answered gets the same answer again", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		for range 3 {
			w.hear(from(peer, 7, cmdA, 1))
			time.Sleep(250 * ms)
		}
		w.expectRuns(1, 1, 1)
		if n := w.count("requests-replayed"); n != 2 {
			t.Errorf("%d replays were counted", n)
		}
		first := w.writes(peer)[0].bytes
		for _, again := range w.writes(peer) {
			if string(again.bytes) != string(first) {
				t.Errorf("% X, the first was % X", again.bytes, first)
			}
		}
	})

	story(t, "up to 5 s after the answer", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(4900 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1, 1)
	})

	story(t, "5 s after the answer it is a new request", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(5100 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1, 2)
	})

	story(t, "the 5 s begin with the answer, not with the request", ipmb.Config{Handler: slow(2 * time.Second)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(6900 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(10 * time.Second)
		w.expectRuns(1, 1)
	})

	story(t, "the window is a setting", ipmb.Config{Handler: new(service), DuplicateWindow: time.Second}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(900 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(1100 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1, 1, 2)
	})

	story(t, "a negative window keeps nothing", ipmb.Config{Handler: new(service), DuplicateWindow: -1}, func(t *testing.T, w *world) {
		for range 3 {
			w.hear(from(peer, 7, cmdA, 1))
		}
		w.expectRuns(1, 2, 3)
	})

	story(t, "whatever differs is another request", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		request := from(peer, 7, cmdA, 1)
		for _, change := range []func(*ipmb.Frame){
			func(*ipmb.Frame) {},
			func(f *ipmb.Frame) { f.Sequence = 8 },
			func(f *ipmb.Frame) { f.Command = cmdB },
			func(f *ipmb.Frame) { f.NetFn = ipmi.NetFnStorage },
			func(f *ipmb.Frame) { f.SourceLUN = 2 },
			func(f *ipmb.Frame) { f.DestinationLUN = 2 },
			func(f *ipmb.Frame) { f.Data = []byte{2} },
			func(f *ipmb.Frame) { f.Data = []byte{1, 1} },
			func(f *ipmb.Frame) { f.Data = nil },
		} {
			next := request
			change(&next)
			w.hear(next)
		}
		w.expectRuns(1, 2, 3, 4, 5, 6, 7, 8, 9)
		w.hear(from(bystand, 7, cmdA, 1))
		if a := w.answers(bystand); len(a) != 1 || a[0].run() != 10 {
			t.Errorf("the same from another requester: %v", a)
		}
	})

	late := slow(300 * ms)
	story(t, "a new request under the key of one still executing gets its own answer only", ipmb.Config{Handler: late}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(100 * ms)
		w.hear(from(peer, 7, cmdA, 2))
		w.until(2 * time.Second)
		w.expectRuns(2)
		if a := w.lastAnswer(peer); len(a.Data) != 3 || a.Data[2] != 2 {
			t.Errorf("the answer is % X", a.Data)
		}
	})

	story(t, "an answer nobody acknowledged is given again to a repeat", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.place(peer, nack)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(200 * ms)
		w.expectRuns()
		w.place(peer, silent)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(400 * ms)
		w.expectRuns(1)
	})
}

func TestDuplicateOfFastPoller(t *testing.T) {
	// newer sends n requests that differ from all others.
	newer := func(w *world, source ipmi.Address, n int) {
		for i := range n {
			w.hear(from(source, uint8(8+i)&63, cmdB, byte(i)))
		}
	}
	story(t, "47 newer requests of the requester: the same answer", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		newer(w, peer, 47)
		w.hear(from(peer, 7, cmdA, 1))
		if r := w.lastAnswer(peer).run(); r != 1 {
			t.Errorf("the answer is of run %d", r)
		}
	})

	story(t, "48 newer requests of the requester: a new request", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		newer(w, peer, 48)
		w.hear(from(peer, 7, cmdA, 1))
		if r := w.lastAnswer(peer).run(); r != 50 {
			t.Errorf("the answer is of run %d, want 50", r)
		}
	})

	story(t, "48 newer requests of others change nothing", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		newer(w, bystand, 60)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1, 1)
	})

	story(t, "repeats are not newer requests", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		for range 60 {
			w.hear(from(peer, 8, cmdB))
		}
		w.hear(from(peer, 7, cmdA, 1))
		if r := w.lastAnswer(peer).run(); r != 1 {
			t.Errorf("the answer is of run %d", r)
		}
	})

	s := new(service)
	story(t, "a poller that wraps its 64 numbers gets fresh answers", ipmb.Config{Handler: s}, func(t *testing.T, w *world) {
		for i := range 1000 {
			w.hear(from(peer, uint8(i&63), cmdA))
			if r := w.lastAnswer(peer).run(); r != i+1 {
				t.Fatalf("poll %d got the answer of run %d", i+1, r)
			}
			time.Sleep(ms)
		}
	})

	executing := slow(time.Second)
	story(t, "what is being answered is not forgotten", ipmb.Config{Handler: executing, MaxHandlers: 100}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		newer(w, peer, 55)
		w.until(500 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(3 * time.Second)
		if executing.count() != 56 || len(w.answers(peer)) != 56 {
			t.Errorf("%d runs, %d answers, want 56", executing.count(), len(w.answers(peer)))
		}
	})
}

func TestDuplicateOfFixedNumber(t *testing.T) {
	story(t, "a requester that never changes its number gets fresh answers", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		for i := range 8 {
			w.hear(from(peer, 5, cmdA, byte(i)))
			time.Sleep(50 * ms)
		}
		w.hear(from(peer, 5, cmdB))
		run := w.lastAnswer(peer).run()
		for i := range 5 { // a poll of the same each 400 ms
			time.Sleep(400 * ms)
			w.hear(from(peer, 5, cmdB))
			if r := w.lastAnswer(peer).run(); r != run+1+i {
				t.Errorf("poll %d got the answer of run %d, want %d", i+1, r, run+1+i)
			}
		}
	})

	story(t, "one that has only one request is found out after 5 s", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 5, cmdA))
		w.until(expired)
		w.hear(from(bystand, 9, cmdA)) // lets go of what is too old
		w.hear(from(peer, 5, cmdA))
		run := w.lastAnswer(peer).run()
		for i := range 5 {
			time.Sleep(400 * ms)
			w.hear(from(peer, 5, cmdA))
			if r := w.lastAnswer(peer).run(); r != run+1+i {
				t.Errorf("poll %d got the answer of run %d, want %d", i+1, r, run+1+i)
			}
		}
	})

	story(t, "its repeats within 300 ms get the same answer", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		for i := range 8 {
			w.hear(from(peer, 5, cmdA, byte(i)))
		}
		w.hear(from(peer, 5, cmdB))
		run := w.lastAnswer(peer).run()
		w.until(280 * ms)
		w.hear(from(peer, 5, cmdB))
		if r := w.lastAnswer(peer).run(); r != run {
			t.Errorf("the answer is of run %d, want %d", r, run)
		}
		w.until(320 * ms)
		w.hear(from(peer, 5, cmdB))
		if r := w.lastAnswer(peer).run(); r != run+1 {
			t.Errorf("the answer is of run %d, want %d", r, run+1)
		}
	})

	story(t, "others keep their 5 s", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.hear(from(bystand, 9, cmdA))
		for i := range 8 {
			w.hear(from(peer, 5, cmdA, byte(i)))
		}
		w.until(time.Second)
		w.hear(from(bystand, 9, cmdA))
		if a := w.answers(bystand); len(a) != 2 || a[1].run() != a[0].run() {
			t.Errorf("answers %v", a)
		}
	})
}

func TestDuplicateNotKept(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		code ipmi.CompletionCode
		kept bool
	}{
		{"no handler for the command", ipmi.ErrNoHandler, ipmi.CodeInvalidCommand, false},
		{"handlers busy", ipmi.ErrBusy, ipmi.CodeNodeBusy, false},
		{"handler absent", ipmi.ErrAbsent, ipmi.CodeNoResponse, false},
		{"handler gone while it served", ipmi.ErrGone, ipmi.CodeNoResponse, true},
		{"no space", ipmi.ErrNoSpace, ipmi.CodeOutOfSpace, true},
		{"an unknown failure", fmt.Errorf("it broke"), ipmi.CodeUnspecified, true},
	} {
		runs := 0
		handler := ipmi.Immediate(func(_ *ipmi.Request) (ipmi.Response, error) {
			runs++
			return ipmi.Response{}, c.err
		})
		story(t, c.name, ipmb.Config{Handler: handler}, func(t *testing.T, w *world) {
			for range 3 {
				w.hear(from(peer, 7, cmdA, 1))
				time.Sleep(100 * ms)
				synctest.Wait()
			}
			want := 3
			if c.kept {
				want = 1
			}
			if runs != want {
				t.Errorf("the handler was asked %d times, want %d", runs, want)
			}
			answers := w.answers(peer)
			if len(answers) != 3 {
				t.Fatalf("%d answers, want 3", len(answers))
			}
			for _, a := range answers {
				if a.Code != c.code {
					t.Errorf("code %02Xh, want %02Xh", a.Code, c.code)
				}
			}
		})
	}
}

// The table of what was answered has a bound: the newest stay, and memory
// does not grow with the number of requesters and requests.
func TestDuplicateTableIsBounded(t *testing.T) {
	var runs atomic.Int64
	handler := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		runs.Add(1)
		return ipmi.Response{}, nil
	})
	story(t, "10,000 different requests of 125 requesters", ipmb.Config{Handler: handler}, func(t *testing.T, w *world) {
		w.forgetWrites()
		for a := 2; a < 0x100; a += 2 {
			w.place(ipmi.Address(a), silent)
		}
		requests := make([]ipmb.Frame, 0, 10_000)
		for i := range cap(requests) {
			source := ipmi.Address(2 + i%125*2)
			if source == own {
				source = 0xFE
			}
			requests = append(requests, from(source, uint8(i/125)&63, cmdA, byte(i), byte(i>>8)))
		}
		play := func() {
			for _, request := range requests {
				w.hear(request)
			}
		}
		play()
		before := heap()
		for range 4 {
			play()
		}
		if grown := heap() - before; grown > 4<<20 {
			t.Errorf("memory grew by %d KiB", grown>>10)
		}

		// From the newest to the oldest: replays, then none any more.
		replayed, forgotten := 0, false
		for i := len(requests) - 1; i >= 0; i-- {
			before := runs.Load()
			w.hear(requests[i])
			switch again := runs.Load() != before; {
			case again:
				forgotten = true
			case forgotten:
				t.Fatalf("request %d is remembered, a newer one is not", i)
			default:
				replayed++
			}
		}
		if replayed < 64 || !forgotten {
			t.Errorf("%d of %d requests were remembered", replayed, len(requests))
		}
	})
}
