package ipmb_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestSequence(t *testing.T) {
	story(t, "64 calls in a row have 64 numbers, the least recently used comes next", ipmb.Config{}, func(t *testing.T, w *world) {
		first := w.used(64, me, cmdA)
		if n := distinct(first); n != 64 {
			t.Fatalf("%d different numbers in 64 calls", n)
		}
		if second := w.used(64, me, cmdB); !slices.Equal(first, second) {
			t.Errorf("numbers were used in the order %d, then %d", first, second)
		}
	})

	story(t, "a number that was free longer comes before one that was given back just now", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.place(me, k.take)
		slowCall := w.start(ask(me, cmdA))
		synctest.Wait()
		long := w.numbers(me)[0]
		w.used(63, me, cmdA)
		synctest.Wait() // The last of them ends before its write has returned.
		k.answer(w.bus, 0)
		slowCall.answered()
		next := w.used(63, me, cmdA)
		if slices.Contains(next, long) {
			t.Errorf("number %d was given back last, and is number %d of the next 63", long, slices.Index(next, long)+1)
		}
	})

	story(t, "64 calls in flight to each of two responders", ipmb.Config{}, func(t *testing.T, w *world) {
		for _, to := range []ipmi.Address{me, other} {
			k := new(keeper)
			w.place(to, k.take)
			var flights []*flight
			for i := range 64 {
				flights = append(flights, w.start(ask(to, ipmi.Command(i%16))))
			}
			synctest.Wait()
			if n := distinct(w.numbers(to)); n != 64 {
				t.Fatalf("%d different numbers in flight to %v", n, to)
			}
			defer func() {
				for i, f := range flights {
					k.answer(w.bus, i)
					f.answered()
				}
			}()
		}
	})

	story(t, "the 65th call in flight waits for a number of any command", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.place(me, k.take)
		w.startAll(64, ask(me, cmdA))
		last := w.start(ask(me, cmdB))
		w.until(100 * ms)
		if n := len(w.writes(me)); n != 64 || last.hasEnded() {
			t.Fatalf("%d requests were written, the last has ended: %v", n, last.hasEnded())
		}
		k.answer(w.bus, 20)
		synctest.Wait()
		sent := w.numbers(me)
		if len(sent) != 65 || sent[64] != sent[20] {
			t.Fatalf("numbers are %d, want the 21st again at the end", sent)
		}
		k.answer(w.bus, 64)
		last.answered().at(100 * ms)
	})
}

// A response reaches a call only if all fields that identify it are right.
func TestResponseMustMatch(t *testing.T) {
	for _, c := range []struct {
		name  string
		wrong func(*ipmb.Frame)
	}{
		{"another responder's address", func(f *ipmb.Frame) { f.Source = other }},
		{"an odd responder address", func(f *ipmb.Frame) { f.Source |= 1 }},
		{"another netfn", func(f *ipmb.Frame) { f.NetFn = ipmi.NetFnStorage.Response() }},
		{"another requester lun", func(f *ipmb.Frame) { f.DestinationLUN = 3 }},
		{"another responder lun", func(f *ipmb.Frame) { f.SourceLUN = 3 }},
		{"luns not swapped", func(f *ipmb.Frame) { f.SourceLUN, f.DestinationLUN = f.DestinationLUN, f.SourceLUN }},
		{"another command", func(f *ipmb.Frame) { f.Command = cmdB }},
		{"another sequence number", func(f *ipmb.Frame) { f.Sequence = (f.Sequence + 1) & 63 }},
		{"the bits of a request", func(f *ipmb.Frame) { f.NetFn = f.NetFn.Request() }},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(me, both(spoil(c.wrong), late(40*ms)))
			req := ask(me, cmdA)
			req.LUN, req.RequesterLUN = 1, 2
			w.do(req).answered().at(40 * ms)
		})
	}

	for i := range 12 {
		story(t, "a bit wrong on the way", ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(me, both(corrupt(i), late(40*ms)))
			w.do(ask(me, cmdA)).answered().at(40 * ms)
		})
	}

	story(t, "another destination", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, both(spoil(func(f *ipmb.Frame) { f.Destination = 0x22 }), late(40*ms)))
		w.do(ask(me, cmdA)).answered().at(40 * ms)
	})

	story(t, "luns change places in the answer", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		req := ask(me, cmdA)
		req.LUN, req.RequesterLUN = 1, 2
		w.do(req).answered()
		sent := w.writes(me)[0].frame(t)
		if sent.DestinationLUN != 1 || sent.SourceLUN != 2 || sent.Source != own || sent.NetFn != req.NetFn || sent.Command != cmdA {
			t.Errorf("sent %+v", sent)
		}
	})

	story(t, "answers out of order each reach their call", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.place(me, k.take)
		flights := w.startAll(64, ask(me, cmdA))
		for i := range flights {
			k.answer(w.bus, (i*37)%64)
		}
		for _, f := range flights {
			f.answered().at(0)
		}
	})

	story(t, "an answer that comes before its write has returned", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, both(prompt, blocks(30*ms, silent)))
		f := w.start(ask(me, cmdA)).answered()
		if f.ended > 30*ms {
			t.Errorf("ended at %v", f.ended)
		}
	})

	story(t, "a completion code is an answer", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, spoil(func(f *ipmb.Frame) { f.Code = ipmi.CodeNodeBusy }))
		if f := w.do(ask(me, cmdA)).answered(); f.response.Code != ipmi.CodeNodeBusy {
			t.Errorf("code %02Xh", f.response.Code)
		}
	})

	story(t, "a second answer reaches nobody", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, times(3))
		for range 10 {
			w.do(ask(me, cmdA)).answered()
		}
		synctest.Wait()
		if n := w.count("responses-unexpected") + w.count("responses-late"); n != 20 {
			t.Errorf("%d answers too many were counted, want 20", n)
		}
	})
}
