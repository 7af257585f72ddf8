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

// all is a Config.Effect that says the same of all requests.
func all(e ipmi.Effect) func(*ipmi.Request) ipmi.Effect {
	return func(*ipmi.Request) ipmi.Effect { return e }
}

func TestDuplicate(t *testing.T) {
	s := slow(time.Second)
	story(t, "a repeat of a request that is being answered is dropped", ipmb.Config{Handler: s, Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
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

	story(t, "one that was answered gets the same answer again", ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
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

	story(t, "up to 5 s after the answer", ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(4900 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1, 1)
	})

	story(t, "5 s after the answer it is a new request", ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(5100 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1, 2)
	})

	story(t, "the 5 s begin with the answer, not with the request", ipmb.Config{Handler: slow(2 * time.Second), Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(6900 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(10 * time.Second)
		w.expectRuns(1, 1)
	})

	story(t, "the window is a setting", ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect), DuplicateWindow: time.Second}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(900 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(1100 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1, 1, 2)
	})

	story(t, "a negative window keeps nothing", ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect), DuplicateWindow: -1}, func(t *testing.T, w *world) {
		for range 3 {
			w.hear(from(peer, 7, cmdA, 1))
		}
		w.expectRuns(1, 2, 3)
	})

	story(t, "whatever differs is another request", ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
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

	story(t, "an answer nobody acknowledged is given again to a repeat", ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
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

// others sends n requests that differ from all others, with the numbers from 8 on.
func (w *world) others(source ipmi.Address, n int) {
	for i := range n {
		w.hear(from(source, uint8(8+i)&63, cmdB, byte(i), byte(i>>8)))
	}
}

// expectRun checks the run of the last answer to peer.
func (w *world) expectRun(want int) {
	w.t.Helper()
	if got := w.lastAnswer(peer).run(); got != want {
		w.t.Errorf("at %v the answer is of run %d, want %d", w.now(), got, want)
	}
}

func TestDuplicateWithoutEffect(t *testing.T) {
	reads := func(s *service) ipmb.Config {
		return ipmb.Config{Handler: s, Effect: all(ipmi.NoEffect)}
	}
	story(t, "is served anew", reads(new(service)), func(t *testing.T, w *world) {
		for i := range 5 {
			w.hear(from(peer, 7, cmdA, 1))
			w.expectRun(i + 1)
		}
	})

	s := slow(300 * ms)
	story(t, "a repeat of one that is being served is dropped", reads(s), func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.until(250 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(time.Second)
		w.expectRuns(1)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(2 * time.Second)
		w.expectRuns(1, 2)
	})

	story(t, "so is one whose answer waits for the bus", reads(new(service)), func(t *testing.T, w *world) {
		w.place(bystand, blocks(100*ms, silent))
		w.hear(from(bystand, 9, cmdB))
		w.hear(from(peer, 7, cmdA, 1))
		w.until(50 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(time.Second)
		w.expectRuns(2)
	})

	story(t, "while the answer is being written it is served anew", reads(new(service)), func(t *testing.T, w *world) {
		w.place(peer, blocks(100*ms, silent))
		w.hear(from(peer, 7, cmdA, 1))
		w.until(50 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(time.Second)
		w.expectRuns(1, 2)
	})

	story(t, "when the answer could not be written it is served anew", reads(new(service)), func(t *testing.T, w *world) {
		w.place(peer, nack)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(200 * ms)
		w.place(peer, silent)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(2)
	})

	poller := new(service)
	story(t, "by the table of the standard: a poller that wraps its 64 numbers", ipmb.Config{Handler: poller}, func(t *testing.T, w *world) {
		for i := range 1000 {
			w.hear(from(peer, uint8(i&63), ipmi.CommandGetDeviceID))
			w.expectRun(i + 1)
			time.Sleep(ms)
		}
	})
}

func TestDuplicateOfHandlerThatChangesNothing(t *testing.T) {
	var mux ipmi.Mux
	for cmd, h := range map[ipmi.Command]ipmi.Handler{0x01: ipmi.ChangesNothing(new(service)), 0x02: new(service)} {
		oem := ipmi.Pattern{Channels: ipmi.AllChannels, NetFn: 0x30, Command: cmd, Group: ipmi.AnyGroup}
		if _, err := mux.Register("test", h, oem); err != nil {
			t.Fatal(err)
		}
	}
	story(t, "OEM commands", ipmb.Config{Handler: &mux}, func(t *testing.T, w *world) {
		for _, cmd := range []ipmi.Command{0x01, 0x02} {
			f := from(peer, uint8(cmd), cmd)
			f.NetFn = 0x30
			w.hear(f)
			w.hear(f)
		}
		w.expectRuns(1, 2, 1, 1)
	})
}

func TestDuplicateWithEffect(t *testing.T) {
	config := func() ipmb.Config { return ipmb.Config{Handler: new(service), Effect: all(ipmi.HasEffect)} }
	story(t, "whatever came between", config(), func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.others(peer, 3000) // most of them with answers that are kept, 47 times with this number
		w.until(4900 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRun(1)
	})

	story(t, "a number that is used for many commands", config(), func(t *testing.T, w *world) {
		for i := range 100 {
			w.hear(from(peer, 7, ipmi.Command(i)))
		}
		for i := range 100 {
			w.hear(from(peer, 7, ipmi.Command(i)))
			w.expectRun(i + 1)
		}
	})

	story(t, "numbers by each LUN of the requester", config(), func(t *testing.T, w *world) {
		number := func(lun ipmi.LUN, i int) ipmb.Frame {
			f := from(peer, uint8(i), cmdA, byte(i))
			f.SourceLUN = lun
			return f
		}
		for i := range 64 {
			w.hear(number(0, i))
			w.hear(number(2, i))
		}
		for i := range 64 {
			w.hear(number(0, i))
			w.expectRun(2*i + 1)
			w.hear(number(2, i))
			w.expectRun(2*i + 2)
		}
	})

	story(t, "by the table of the standard: an event", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		event := from(peer, 7, 0x02, 4, 1, 2, 3)
		event.NetFn = ipmi.NetFnSensor
		w.hear(event)
		w.hear(event)
		w.expectRuns(1, 1)
	})

	// The requests of 12 others have no effect on the answers kept for one.
	story(t, "answers of others evict nothing", config(), func(t *testing.T, w *world) {
		for a := 0x50; a < 0x50+2*12; a += 2 {
			w.place(ipmi.Address(a), silent)
		}
		w.hear(from(peer, 7, cmdA, 1))
		for i := range 5000 {
			w.hear(from(ipmi.Address(0x50+2*(i%12)), uint8(i/12)&63, cmdB, byte(i), byte(i>>8)))
		}
		w.until(250 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRun(1)
	})

	// The last two requests of the requester happened to have one number.
	story(t, "a retry of a number that did not change, after 500 ms", config(), func(t *testing.T, w *world) {
		w.hear(from(peer, 0, cmdB, 9))
		w.until(10 * time.Second)
		w.hear(from(peer, 0, cmdA, 1))
		w.until(10*time.Second + 500*ms)
		w.hear(from(peer, 0, cmdA, 1))
		w.expectRun(2)
	})

	story(t, "retries every 2 s, the fifth after 10 s", config(), func(t *testing.T, w *world) {
		for i := range 6 {
			w.until(time.Duration(i) * 2 * time.Second)
			w.hear(from(peer, 7, cmdA, 1))
			w.expectRun(1)
		}
		w.until(12 * time.Second)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRun(2)
	})

	story(t, "after 5 s that comes at another time than its retries is new", config(), func(t *testing.T, w *world) {
		for _, at := range []time.Duration{0, 2 * time.Second, 4 * time.Second} {
			w.until(at)
			w.hear(from(peer, 7, cmdA, 1))
		}
		w.until(5100 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRun(2)
	})

	story(t, "that comes while the answer is being written is answered once more", config(), func(t *testing.T, w *world) {
		w.place(peer, blocks(100*ms, silent))
		w.hear(from(peer, 7, cmdA, 1))
		w.until(50 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.hear(from(peer, 7, cmdA, 1))
		w.until(90 * ms)
		w.expectRuns()
		w.until(time.Second)
		w.expectRuns(1, 1)
		if n := w.count("requests-replayed"); n != 1 {
			t.Errorf("%d replays were counted", n)
		}
	})

	story(t, "that comes while the answer is being written is answered, though the write fails", config(), func(t *testing.T, w *world) {
		w.place(peer, inTurn(blocks(100*ms, nack), nack, nack, nack, silent))
		w.hear(from(peer, 7, cmdA, 1))
		w.until(50 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(time.Second)
		w.expectRuns()
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRuns(1)
	})
}

func TestDuplicateOfUnknownEffect(t *testing.T) {
	config := func() ipmb.Config { return ipmb.Config{Handler: new(service), Effect: all(ipmi.EffectUnknown)} }
	poll := func(w *world, n int, every time.Duration, number func(i int) uint8) {
		before := w.lastAnswer(peer).run()
		for i := range n {
			time.Sleep(every)
			w.hear(from(peer, number(i), cmdB))
			w.expectRun(before + i + 1)
		}
	}
	cyclic := func(i int) uint8 { return uint8(i) & 63 }
	always5 := func(int) uint8 { return 5 }

	for _, every := range []time.Duration{10 * time.Microsecond, 100 * time.Microsecond, 2 * ms, 3 * ms, 10 * ms} {
		story(t, fmt.Sprintf("a poller that wraps its 64 numbers, every %v", every), config(), func(t *testing.T, w *world) {
			w.hear(from(peer, 63, cmdA))
			poll(w, 500, every, cyclic)
		})
	}

	for _, after := range []time.Duration{60 * ms, 250 * ms, 2 * time.Second, 4900 * ms} {
		story(t, fmt.Sprintf("a retry after %v with nothing between", after), config(), func(t *testing.T, w *world) {
			w.others(peer, 5)
			w.hear(from(peer, 7, cmdA, 1))
			w.until(after)
			w.hear(from(peer, 7, cmdA, 1))
			w.expectRun(6)
		})
	}

	for _, between := range []int{1, 30, 57, 100, 700} {
		story(t, fmt.Sprintf("a retry after 250 ms with %d requests between that skip its number", between), config(), func(t *testing.T, w *world) {
			next := 8
			skip := func(n int) {
				for range n {
					if next&63 == 7 {
						next++
					}
					w.hear(from(peer, uint8(next)&63, cmdB, byte(next), byte(next>>8)))
					next++
				}
			}
			skip(200)
			w.hear(from(peer, 7, cmdA, 1))
			run := w.lastAnswer(peer).run()
			skip(between)
			w.until(250 * ms)
			w.hear(from(peer, 7, cmdA, 1))
			w.expectRun(run)
		})
	}

	for before := range 6 {
		for _, between := range []int{1, 5, 30, 46} {
			story(t, fmt.Sprintf("a retry of request %d of its requester, with %d between", before+1, between), config(), func(t *testing.T, w *world) {
				w.others(peer, before)
				w.hear(from(peer, 60, cmdA, 1))
				for i := range between {
					w.hear(from(peer, uint8(14+i), cmdB, 1))
				}
				run := before + 1 + between
				w.until(250 * ms)
				w.hear(from(peer, 60, cmdA, 1))
				w.expectRun(1 + before)
				w.hear(from(peer, 61, cmdB, 1))
				w.expectRun(run + 1)
			})
		}
	}

	story(t, "its number used for another request is a new request", config(), func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.hear(from(peer, 7, cmdB, 1))
		w.until(250 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.expectRun(3)
	})

	story(t, "a number that never changes: polls within 50 ms and after 300 ms are new", config(), func(t *testing.T, w *world) {
		for i := range 8 {
			w.hear(from(peer, 5, cmdA, byte(i)))
		}
		w.hear(from(peer, 5, cmdB))
		poll(w, 20, ms, always5)
		poll(w, 5, 40*ms, always5)
		poll(w, 5, 400*ms, always5)
	})

	story(t, "a number that never changes: retries within 300 ms get the same answer", config(), func(t *testing.T, w *world) {
		for i := range 8 {
			w.hear(from(peer, 5, cmdA, byte(i)))
		}
		w.hear(from(peer, 5, cmdB))
		w.until(60 * ms)
		w.hear(from(peer, 5, cmdB))
		w.expectRun(9)
		w.until(250 * ms)
		w.hear(from(peer, 5, cmdB))
		w.expectRun(9)
		w.until(320 * ms)
		w.hear(from(peer, 5, cmdB))
		w.expectRun(10)
	})

	story(t, "a number that never changes: its own retry time, once it is known", config(), func(t *testing.T, w *world) {
		for i := range 8 {
			w.hear(from(peer, 5, cmdA, byte(i)))
		}
		w.place(peer, nack) // an answer that is lost, and known to be
		w.hear(from(peer, 5, cmdA))
		w.until(900 * ms)
		w.place(peer, silent)
		w.hear(from(peer, 5, cmdA))
		w.expectRun(9)
		w.hear(from(peer, 5, cmdB))
		w.expectRun(10)
		w.until(1100 * ms)
		w.hear(from(peer, 5, cmdB))
		w.expectRun(11)
		w.until(2 * time.Second)
		w.hear(from(peer, 5, cmdB))
		w.expectRun(11)
		w.until(4 * time.Second)
		w.hear(from(peer, 5, cmdB))
		w.expectRun(12)
	})

	story(t, "one that has only one request is found out after 5 s", config(), func(t *testing.T, w *world) {
		w.hear(from(peer, 5, cmdA))
		w.until(expired)
		w.hear(from(peer, 5, cmdA))
		poll(w, 5, 400*ms, always5)
	})

	story(t, "an answer that could not be written is given again", config(), func(t *testing.T, w *world) {
		for i := range 8 {
			w.hear(from(peer, 5, cmdA, byte(i)))
		}
		w.place(peer, nack)
		w.hear(from(peer, 5, cmdA))
		w.until(2 * time.Second)
		w.place(peer, silent)
		w.hear(from(peer, 5, cmdA))
		w.expectRun(9)
	})

	executing := slow(time.Second)
	story(t, "what is being answered is not forgotten", ipmb.Config{Handler: executing, MaxHandlers: 100, Effect: all(ipmi.EffectUnknown)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 7, cmdA, 1))
		w.others(peer, 55)
		w.until(500 * ms)
		w.hear(from(peer, 7, cmdA, 1))
		w.until(3 * time.Second)
		if executing.count() != 56 || len(w.answers(peer)) != 56 {
			t.Errorf("%d runs, %d answers, want 56", executing.count(), len(w.answers(peer)))
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
		{"handler absent", ipmi.ErrNotPresent, ipmi.CodeNoResponse, false},
		{"handler gone while it served", ipmi.ErrAbandoned, ipmi.CodeNoResponse, true},
		{"no space", ipmi.ErrNoSpace, ipmi.CodeOutOfSpace, true},
		{"an unknown failure", fmt.Errorf("it broke"), ipmi.CodeUnspecified, true},
	} {
		runs := 0
		handler := ipmi.Immediate(func(_ *ipmi.Request) (ipmi.Response, error) {
			runs++
			return ipmi.Response{}, c.err
		})
		story(t, c.name, ipmb.Config{Handler: handler, Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
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

// The table of answered requests has a bound: the newest stay, and memory does not grow with the
// number of requesters and requests.
func TestDuplicateTableIsBounded(t *testing.T) {
	var runs atomic.Int64
	handler := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		runs.Add(1)
		return ipmi.Response{}, nil
	})
	story(t, "10,000 different requests of 125 requesters", ipmb.Config{Handler: handler, Effect: all(ipmi.HasEffect)}, func(t *testing.T, w *world) {
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
