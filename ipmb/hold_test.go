package ipmb_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// expectHeld checks that all 64 numbers except the held one serve a command now, that another
// command can use the held one, and that the command itself can from free on.
func (w *world) expectHeld(number uint8, to ipmi.Address, cmd ipmi.Command, free time.Duration) {
	w.t.Helper()
	w.expectNotUsed(number, to, cmd)
	if !slices.Contains(w.used(64, to, cmd+0x40), number) {
		w.t.Errorf("number %d is held for another command too", number)
	}
	w.until(free - 20*ms)
	w.expectNotUsed(number, to, cmd)
	w.until(free + 20*ms)
	w.expectFree(number, to, cmd)
}

func (w *world) expectNotUsed(number uint8, to ipmi.Address, cmd ipmi.Command) {
	w.t.Helper()
	if slices.Contains(w.used(128, to, cmd), number) {
		w.t.Errorf("number %d was given out at %v, it is held", number, w.now())
	}
}

func (w *world) expectFree(number uint8, to ipmi.Address, cmd ipmi.Command) {
	w.t.Helper()
	if !slices.Contains(w.used(64, to, cmd), number) {
		w.t.Errorf("number %d was not given out at %v, it is free", number, w.now())
	}
}

func TestHold(t *testing.T) {
	story(t, "a number is held 6 s after a time-out, for its command only", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout).at(wholePolicy)
		w.expectHeld(w.numbers(me)[0], me, cmdA, wholePolicy+expired)
	})

	story(t, "a number is held for its responder and netfn only", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout)
		number := w.numbers(me)[0]
		w.expectFree(number, other, cmdA)
		w.place(me, prompt)
		before := len(w.numbers(me))
		for range 64 {
			req := ask(me, cmdA)
			req.NetFn = ipmi.NetFnStorage
			w.do(req).answered()
		}
		if !slices.Contains(w.numbers(me)[before:], number) {
			t.Errorf("number %d is held for another netfn too", number)
		}
		w.expectNotUsed(number, me, cmdA)
	})

	story(t, "a number is held 6 s after a cancelled call", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		w.startFor(ctx, ask(me, cmdA)).failed(context.DeadlineExceeded).at(100 * ms)
		w.expectHeld(w.numbers(me)[0], me, cmdA, 100*ms+expired)
	})

	story(t, "a late answer reaches nobody", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, late(5*time.Second))
		w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout)
		k := new(keeper)
		w.place(me, k.take)
		w.until(4900 * ms)
		req := ask(me, cmdA)
		req.RetryPolicy.Tries = 16
		flights := w.startAll(63, req)
		another := w.startAll(1, ask(me, cmdB))[0] // has the held number
		w.until(5100 * ms)
		for _, f := range append(flights, another) {
			if f.hasEnded() {
				t.Fatal("the late answer ended a call")
			}
		}
		if n := w.count("responses-late"); n != 1 {
			t.Errorf("%d late answers were counted, want 1", n)
		}
		for i, f := range append(flights, another) {
			k.answer(w.bus, i)
			f.answered()
		}
	})

	story(t, "k acknowledged transmissions hold until the k-th answer", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(late(600*ms), late(600*ms), late(600*ms)))
		w.do(ask(me, cmdA)).answered().at(600 * ms) // three transmissions, answers at 600, 850, 1100
		number := w.numbers(me)[0]
		w.expectNotUsed(number, me, cmdA)
		w.until(1090 * ms)
		w.expectNotUsed(number, me, cmdA)
		w.until(1101 * ms)
		w.expectFree(number, me, cmdA)
	})

	for _, c := range []struct {
		name string
		lost int           // transmissions before the one that is answered
		took time.Duration // from the first transmission to the answer
	}{
		{"the answer to one lost transmission may come for 6 s", 1, 260 * ms},
		{"the answers to five lost transmissions may come for 6 s", 5, 1300 * ms},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			script := slices.Repeat([]node{silent}, c.lost)
			script = append(script, late(c.took-time.Duration(c.lost)*250*ms))
			w.place(me, inTurn(script...))
			w.do(ask(me, cmdA)).answered().at(c.took)
			w.expectHeld(w.numbers(me)[0], me, cmdA, c.took+expired)
		})
	}

	story(t, "one acknowledged transmission that was answered holds nothing", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(nack, outbid, nack, late(10*ms)))
		w.do(ask(me, cmdA)).answered()
		w.expectFree(w.numbers(me)[0], me, cmdA)
	})

	for name, deaf := range map[string]node{
		"nothing acknowledged holds nothing":                              nack,
		"lost arbitration holds nothing":                                  outbid,
		"a byte not acknowledged by a responder unheard of holds nothing": nackByte,
	} {
		story(t, name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(me, deaf)
			for _, f := range w.startAll(64, ask(me, cmdA)) {
				f.wait()
			}
			k := new(keeper)
			w.place(me, k.take)
			req := ask(me, cmdA)
			req.NoWait = true
			for i, f := range w.startAll(64, req) {
				if f.hasEnded() {
					t.Fatalf("the %dth call of 64 ended with %v", i+1, f.err)
				}
				k.answer(w.bus, i)
				f.answered()
			}
		})
	}

	story(t, "what got stuck may have been delivered", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, broken)
		w.do(ask(me, cmdA)).failed(ipmb.ErrStuck).at(wholePolicy)
		w.expectHeld(w.numbers(me)[0], me, cmdA, wholePolicy+expired)
	})

	story(t, "a number that is held is in nobody's way when it is free again", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		for _, f := range w.startAll(40, ask(me, cmdA)) {
			f.failed(ipmb.ErrTimeout)
		}
		time.Sleep(expired + ms)
		w.place(me, prompt)
		req := ask(me, cmdA)
		req.NoWait = true
		for _, f := range w.startAll(64, req) {
			f.answered()
		}
	})
}

// A responder that is dead takes no more than one call at a time, and its pollers learn that it is
// dead and not that we are busy.
func TestHoldOfDeadResponder(t *testing.T) {
	story(t, "48 held by time-outs: calls go one at a time and see time-outs", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		for _, f := range w.startAll(48, ask(me, cmdA)) {
			f.failed(ipmb.ErrTimeout).at(wholePolicy)
		}
		before := len(w.writes(me))

		req := ask(me, cmdA)
		req.RetryPolicy.Tries = 18 // waits for as long as three others take
		first := w.start(ask(me, cmdA))
		second := w.start(req)
		w.until(2*wholePolicy - ms)
		if n := distinct(w.numbers(me)[before:]); n != 1 {
			t.Errorf("%d calls were on their way at a time, want 1", n)
		}
		first.failed(ipmb.ErrTimeout).at(2 * wholePolicy)
		second.failed(ipmb.ErrTimeout).at(2*wholePolicy + 18*250*ms)
	})

	story(t, "a poller of a dead responder sees time-outs for ever", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		for _, f := range w.startAll(60, ask(me, cmdA)) {
			f.failed(ipmb.ErrTimeout)
		}
		for range 50 {
			before := w.now()
			w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout).at(before + wholePolicy)
		}
	})

	story(t, "64 held by time-outs at once", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		for _, f := range w.startAll(64, ask(me, cmdA)) {
			f.failed(ipmb.ErrTimeout).at(wholePolicy)
		}
		w.do(ask(me, cmdA)).failed(ipmb.ErrBusy).at(2 * wholePolicy)
		w.until(wholePolicy + expired + ms)
		w.do(ask(me, cmdA)).failed(ipmb.ErrTimeout)
	})

	story(t, "other commands and responders go on as ever", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		for _, f := range w.startAll(50, ask(me, cmdA)) {
			f.failed(ipmb.ErrTimeout)
		}
		for _, to := range []ipmi.Address{me, other} {
			k := new(keeper)
			w.place(to, k.take)
			flights := w.startAll(30, ask(to, cmdB))
			if n := len(k.kept); n != 30 {
				t.Errorf("%d of 30 calls to %v are on their way", n, to)
			}
			for i, f := range flights {
				k.answer(w.bus, i)
				f.answered()
			}
		}
	})

	story(t, "a responder that is back serves all again when the holds have ended", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		for _, f := range w.startAll(48, ask(me, cmdA)) {
			f.failed(ipmb.ErrTimeout)
		}
		w.place(me, prompt)
		w.do(ask(me, cmdA)).answered().at(wholePolicy)
		w.until(wholePolicy + expired + ms)
		k := new(keeper)
		w.place(me, k.take)
		flights := w.startAll(64, ask(me, cmdA))
		synctest.Wait()
		if len(k.kept) != 64 {
			t.Fatalf("%d of 64 calls are on their way", len(k.kept))
		}
		for i, f := range flights {
			k.answer(w.bus, i)
			f.answered()
		}
	})
}

func distinct(numbers []uint8) int {
	return len(slices.Compact(slices.Sorted(slices.Values(numbers))))
}
