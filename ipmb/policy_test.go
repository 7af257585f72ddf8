package ipmb_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// times are when the writes to an address began.
func (w *world) times(to ipmi.Address) []time.Duration {
	var times []time.Duration
	for _, sent := range w.writes(to) {
		times = append(times, sent.at)
	}
	return times
}

// expectSlots checks that the writes began at the starts of n slots; with
// pairs, that each was followed by a second one 1 to 5 ms later.
func expectSlots(t *testing.T, times []time.Duration, n int, slot time.Duration, pairs bool) {
	t.Helper()
	each := 1
	if pairs {
		each = 2
	}
	if len(times) != n*each {
		t.Fatalf("%d writes at %v, want %d", len(times), times, n*each)
	}
	for i := range n {
		if begin := times[i*each]; begin != time.Duration(i)*slot {
			t.Errorf("slot %d began at %v", i, begin)
		}
		if !pairs {
			continue
		}
		if gap := times[i*2+1] - times[i*2]; gap < ms || gap > 5*ms {
			t.Errorf("slot %d: second write after %v", i, gap)
		}
	}
}

func TestPolicy(t *testing.T) {
	story(t, "6 slots of 250 ms, then a time-out at 1.5 s", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout).at(wholePolicy)
		expectSlots(t, w.times(me), 6, 250*ms, false)
		first := w.writes(me)[0].bytes
		for _, sent := range w.writes(me) {
			if !bytes.Equal(sent.bytes, first) {
				t.Errorf("a transmission is % X, the first was % X", sent.bytes, first)
			}
		}
	})

	for _, c := range []struct {
		name string
		node node
		want error
	}{
		{"not acknowledged: two writes in each slot", nack, ipmb.ErrNotAcknowledged},
		{"arbitration lost: two writes in each slot", outbid, ipmb.ErrArbitrationLost},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(me, c.node)
			w.do(ask(me, cmdA)).failed(c.want).at(wholePolicy)
			expectSlots(t, w.times(me), 6, 250*ms, true)
		})
	}

	story(t, "the pause before a second write is not always the same", ipmb.Config{}, func(t *testing.T, w *world) {
		gaps := make(map[time.Duration]bool)
		for range 10 {
			before := len(w.writes(me))
			w.do(ask(me, cmdA)).failed(ipmb.ErrNotAcknowledged)
			times := w.times(me)[before:]
			gaps[times[1]-times[0]] = true
		}
		if len(gaps) < 2 {
			t.Errorf("pauses %v", gaps)
		}
	})

	story(t, "stuck: one write in each slot", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, broken)
		w.do(ask(me, cmdA)).failed(ipmb.ErrStuck).at(wholePolicy)
		expectSlots(t, w.times(me), 6, 250*ms, false)
	})

	story(t, "a second write that is acknowledged is the last of its slot", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(nack, late(100*ms)))
		f := w.do(ask(me, cmdA)).answered()
		if f.ended < 101*ms || f.ended > 105*ms || len(w.writes(me)) != 2 {
			t.Errorf("ended at %v after %d writes", f.ended, len(w.writes(me)))
		}
	})

	story(t, "an answer ends the call in any slot", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(silent, nack, outbid, silent, prompt))
		w.do(ask(me, cmdA)).answered().at(750 * ms)
	})

	story(t, "an answer just before the end counts", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(late(1499*ms), silent))
		w.do(ask(me, cmdA)).answered().at(1499 * ms)
	})

	story(t, "the engine's policy", ipmb.Config{RetryPolicy: ipmb.RetryPolicy{Tries: 3, Timeout: 60 * ms}}, func(t *testing.T, w *world) {
		w.place(me, silent)
		w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout).at(180 * ms)
		expectSlots(t, w.times(me), 3, 60*ms, false)
	})

	story(t, "the call's policy overrides what it names", ipmb.Config{RetryPolicy: ipmb.RetryPolicy{Tries: 3, Timeout: 60 * ms}}, func(t *testing.T, w *world) {
		w.place(me, silent)
		req := ask(me, cmdA)
		req.RetryPolicy.Tries = 2
		w.do(req).failed(ipmb.ErrTimeout).at(120 * ms)
		req = ask(other, cmdA)
		req.RetryPolicy.Timeout = time.Second
		w.place(other, silent)
		w.do(req).failed(ipmb.ErrTimeout).at(3120 * ms)
	})

	story(t, "a new policy is for the calls after it", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		before := w.start(ask(me, cmdA))
		w.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 1, Timeout: 20 * ms})
		w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout).at(20 * ms)
		before.failed(ipmb.ErrTimeout).at(wholePolicy)
		if p := w.engine.RetryPolicy(); p.Duration() != 20*ms {
			t.Errorf("the policy is %+v", p)
		}
	})

	story(t, "the time of a write counts", ipmb.Config{}, func(t *testing.T, w *world) {
		w.byteTime = oneByte
		w.place(me, silent)
		w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout).at(wholePolicy)
		expectSlots(t, w.times(me), 6, 250*ms, false)
	})
}

func TestFailFast(t *testing.T) {
	failFast := func(w *world) *flight {
		req := ask(me, cmdA)
		req.FailFast = true
		return w.do(req)
	}
	story(t, "two writes without acknowledge end the call", ipmb.Config{}, func(t *testing.T, w *world) {
		f := failFast(w).failed(ipmb.ErrNotAcknowledged)
		if f.ended < ms || f.ended > 5*ms || len(w.writes(me)) != 2 {
			t.Errorf("ended at %v after %d writes", f.ended, len(w.writes(me)))
		}
	})
	story(t, "with one try, one write without acknowledge does", ipmb.Config{}, func(t *testing.T, w *world) {
		req := ask(me, cmdA)
		req.FailFast, req.RetryPolicy.Tries = true, 1
		w.do(req).failed(ipmb.ErrNotAcknowledged).at(0)
		if n := len(w.writes(me)); n != 1 {
			t.Errorf("%d writes", n)
		}
	})
	story(t, "a second write that is acknowledged does not", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(nack, late(600*ms)))
		failFast(w).answered()
	})
	story(t, "silence is waited for", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		failFast(w).failed(ipmb.ErrTimeout).at(wholePolicy)
	})
	story(t, "it holds no number", ipmb.Config{}, func(t *testing.T, w *world) {
		for range 200 {
			failFast(w).failed(ipmb.ErrNotAcknowledged)
		}
		w.used(64, me, cmdA)
	})
}

func TestExactEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		script []node
		want   error
	}{
		{"one acknowledged transmission of many is a time-out", []node{nack, nack, outbid, silent, nack}, ipmb.ErrTimeout},
		{"acknowledged in the last slot only is a time-out", append(repeat(nack, 11), silent), ipmb.ErrTimeout},
		{"never acknowledged", []node{nack}, ipmb.ErrNotAcknowledged},
		{"always outbid", []node{outbid}, ipmb.ErrArbitrationLost},
		{"always stuck", []node{broken}, ipmb.ErrStuck},
		{"answers that are none are a time-out", []node{spoil(func(f *ipmb.Frame) { f.Source = other })}, ipmb.ErrTimeout},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(me, inTurn(c.script...))
			f := w.do(ask(me, cmdA)).failed(c.want)
			for _, kind := range []error{ipmb.ErrTimeout, ipmb.ErrNotAcknowledged, ipmb.ErrArbitrationLost, ipmb.ErrStuck, ipmb.ErrClosed, ipmb.ErrBusy} {
				if kind != c.want && errors.Is(f.err, kind) {
					t.Errorf("it is %v too", kind)
				}
			}
		})
	}

	story(t, "not acknowledged and outbid in turn is one of them", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(nack, outbid, nack, outbid))
		f := w.do(ask(me, cmdA))
		if !errors.Is(f.err, ipmb.ErrNotAcknowledged) && !errors.Is(f.err, ipmb.ErrArbitrationLost) {
			t.Errorf("ended with %v", f.err)
		}
	})
}

func repeat(n node, times int) []node {
	nodes := make([]node, times)
	for i := range nodes {
		nodes[i] = n
	}
	return nodes
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*ipmb.Request)
		want   error
	}{
		{"odd netfn", func(r *ipmb.Request) { r.NetFn = 7 }, ipmb.ErrInvalid},
		{"netfn of seven bits", func(r *ipmb.Request) { r.NetFn = 0x40 }, ipmb.ErrInvalid},
		{"responder lun of three bits", func(r *ipmb.Request) { r.LUN = 4 }, ipmb.ErrInvalid},
		{"requester lun of three bits", func(r *ipmb.Request) { r.RequesterLUN = 4 }, ipmb.ErrInvalid},
		{"odd responder", func(r *ipmb.Request) { r.Responder = 0x2D }, ipmb.ErrInvalid},
		{"responder 00h", func(r *ipmb.Request) { r.Responder = 0 }, ipmb.ErrInvalid},
		{"too many tries", func(r *ipmb.Request) { r.RetryPolicy.Tries = ipmb.MaxTries + 1 }, ipmb.ErrInvalid},
		{"negative tries", func(r *ipmb.Request) { r.RetryPolicy.Tries = -1 }, ipmb.ErrInvalid},
		{"time-out too short", func(r *ipmb.Request) { r.RetryPolicy.Timeout = ipmb.MinTimeout - 1 }, ipmb.ErrInvalid},
		{"time-out too long", func(r *ipmb.Request) { r.RetryPolicy.Timeout = ipmb.MaxTimeout + 1 }, ipmb.ErrInvalid},
		{"negative time-out", func(r *ipmb.Request) { r.RetryPolicy.Timeout = -time.Second }, ipmb.ErrInvalid},
		{"one byte too many", func(r *ipmb.Request) { r.Data = make([]byte, 239-ipmb.MinRequest+1) }, ipmb.ErrTooLong},
		{"very many bytes", func(r *ipmb.Request) { r.Data = make([]byte, 70_000) }, ipmb.ErrTooLong},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(me, prompt)
			for range 70 {
				req := ask(me, cmdA)
				c.change(&req)
				w.do(req).failed(c.want).at(0)
			}
			if n := len(w.allWrites()); n != 0 {
				t.Errorf("%d frames were written", n)
			}
			req := ask(me, cmdA)
			req.NoWait = true
			for _, f := range w.startAll(64, req) {
				f.answered()
			}
		})
	}

	story(t, "the longest request", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		req := ask(me, cmdA)
		req.Data = make([]byte, 239-ipmb.MinRequest)
		w.do(req).answered()
		if n := len(w.writes(me)[0].bytes); n != 239 {
			t.Errorf("%d bytes were written", n)
		}
	})

	story(t, "the engine's own limit", ipmb.Config{MaxFrame: 32}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		req := ask(me, cmdA)
		req.Data = make([]byte, 25)
		w.do(req).answered()
		req.Data = make([]byte, 26)
		w.do(req).failed(ipmb.ErrTooLong)
	})

	story(t, "data is not kept after the call has returned", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		req := ask(me, cmdA)
		want := bytes.Clone(req.Data)
		f := w.start(req)
		clear(req.Data)
		f.failed(ipmb.ErrTimeout)
		for _, sent := range w.writes(me) {
			if !bytes.Equal(sent.frame(t).Data, want) {
				t.Fatalf("sent % X, want % X", sent.frame(t).Data, want)
			}
		}
	})
}
