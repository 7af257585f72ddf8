package ipmb_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmb"
)

// rested is how long a number rests after its answer, in wait for a copy.
const rested = i2c.DefaultCopyTime

// occupy puts 64 calls on their way to me, which all last.
func (w *world) occupy(k *keeper) []*flight {
	w.place(me, k.take)
	req := ask(me, cmdA)
	req.RetryPolicy.Tries = 64
	before := len(w.writes(me))
	flights := w.startAll(64, req)
	if n := len(w.writes(me)) - before; n != 64 {
		w.t.Fatalf("%d of 64 calls are on their way", n)
	}
	return flights
}

func TestWaiting(t *testing.T) {
	story(t, "waiters are served in order", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.occupy(k)
		waiting := w.startAll(10, ask(me, cmdA))
		for i, f := range waiting {
			k.answer(w.bus, i)
			synctest.Wait()
			if n := len(k.kept); n != 65+i {
				t.Fatalf("%d requests were written after %d answers", n, i+1)
			}
			if sent := echo(k.kept[64+i]); !bytes.Equal(sent.Data, f.request.Data) {
				t.Errorf("the %dth to be served is not the %dth that came", i+1, i+1)
			}
		}
		for i, f := range waiting {
			k.answer(w.bus, 64+i)
			f.answered()
		}
	})

	story(t, "waiters for different commands do not wait for one another", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		for _, f := range w.startAll(48, ask(me, cmdA)) {
			f.failed(ipmb.ErrTimeout)
		}
		w.startAll(5, ask(me, cmdA)) // one on its way, four wait
		w.place(me, prompt)
		w.do(ask(me, cmdB)).answered().at(wholePolicy)
	})

	story(t, "waiting ends as busy after one policy's time", ipmb.Config{}, func(t *testing.T, w *world) {
		w.occupy(new(keeper))
		short := ask(me, cmdA)
		short.RetryPolicy = ipmb.RetryPolicy{Tries: 2, Timeout: 100 * ms}
		standard, brief := w.start(ask(me, cmdA)), w.start(short)
		brief.failed(ipmb.ErrBusy).at(200 * ms)
		standard.failed(ipmb.ErrBusy).at(wholePolicy)
	})

	story(t, "a waiter has its whole policy from its first transmission", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.occupy(k)
		waiter := w.start(ask(me, cmdB))
		w.until(1400 * ms)
		before := len(w.writes(me))
		k.answer(w.bus, 0)
		waiter.failed(ipmb.ErrTimeout).at(1400*ms + wholePolicy)
		if sent := w.writes(me)[before]; sent.at != 1400*ms {
			t.Errorf("its first transmission was at %v", sent.at)
		}
	})

	story(t, "nowait is busy at once", ipmb.Config{}, func(t *testing.T, w *world) {
		w.occupy(new(keeper))
		req := ask(me, cmdB)
		req.NoWait = true
		w.do(req).failed(ipmb.ErrBusy).at(0)
		if n := w.count("calls-busy"); n != 1 {
			t.Errorf("%d busy calls were counted", n)
		}
	})

	story(t, "nowait takes a number that is free", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		req := ask(me, cmdB)
		req.NoWait = true
		w.do(req).answered().at(0)
	})

	story(t, "the queue has a length", ipmb.Config{MaxWaiting: 3}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.occupy(k)
		waiting := w.startAll(3, ask(me, cmdA))
		w.do(ask(me, cmdA)).failed(ipmb.ErrBusy).at(0)
		another := w.start(ask(me, cmdB)) // another queue
		if another.hasEnded() {
			t.Error("the queue of another command is full too")
		}
		for _, f := range waiting {
			if f.hasEnded() {
				t.Error("a call that waited was pushed out")
			}
		}
	})

	story(t, "256 wait by default", ipmb.Config{}, func(t *testing.T, w *world) {
		w.occupy(new(keeper))
		for _, f := range w.startAll(256, ask(me, cmdA)) {
			if f.hasEnded() {
				t.Fatalf("a waiter ended with %v", f.err)
			}
		}
		w.do(ask(me, cmdA)).failed(ipmb.ErrBusy).at(0)
	})

	story(t, "a waiter that is cancelled leaves the queue", ipmb.Config{MaxWaiting: 1}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.occupy(k)
		ctx, cancel := context.WithCancel(t.Context())
		gone := w.startFor(ctx, ask(me, cmdA))
		w.until(50 * ms)
		cancel()
		gone.failed(context.Canceled).at(50 * ms)
		next := w.start(ask(me, cmdA))
		k.answer(w.bus, 0)
		synctest.Wait()
		k.answerTo(w.bus, next)
		next.answered()
		for _, sent := range w.writes(me) {
			if string(sent.frame(t).Data) == string(gone.request.Data) {
				t.Error("the cancelled call was sent")
			}
		}
	})

	story(t, "a waiter is served when a hold ends", ipmb.Config{}, func(t *testing.T, w *world) {
		// 63 calls last; the 64th number is held for cmdA until 6.25 s.
		w.place(me, inTurn(silent, prompt))
		w.do(ask(me, cmdA)).answered().at(250 * ms)
		k := new(keeper)
		w.place(me, k.take)
		req := ask(me, cmdA)
		req.RetryPolicy.Tries = 64
		w.startAll(63, req)
		waiter := w.start(req)
		w.until(6240 * ms)
		if n := distinct(w.numbers(me)[2:]); n != 63 || waiter.hasEnded() {
			t.Fatalf("%d calls are on their way, the last has ended: %v", n, waiter.hasEnded())
		}
		w.until(6260 * ms)
		k.answerTo(w.bus, waiter)
		if waiter.answered().ended < 6250*ms {
			t.Errorf("served at %v", waiter.ended)
		}
	})

	story(t, "busy costs no number", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		for range 200 {
			req := ask(me, cmdA)
			req.NoWait = true
			w.do(req).failed(ipmb.ErrBusy)
		}
		for i, f := range flights {
			k.answer(w.bus, i)
			f.answered()
		}
		w.occupy(k)
	})
}

// A responder that takes its own answer for lost writes it again within
// milliseconds.
func TestRest(t *testing.T) {
	storyOnI2C(t, "the last number rests before its command has it again", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		next := w.start(ask(me, cmdA))
		k.answer(w.bus, 0)
		flights[0].answered().at(0)
		w.until(rested - ms)
		if n := len(w.numbers(me)); n != 64 {
			t.Fatalf("%d requests were written, the last with a number that rests", n)
		}
		w.until(rested)
		k.answerTo(w.bus, next)
		next.answered().at(rested)
	})

	storyOnI2C(t, "a copy makes it rest anew", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		next := w.start(ask(me, cmdA))
		k.answer(w.bus, 0)
		flights[0].answered().at(0)
		w.until(rested - ms)
		k.answer(w.bus, 0)
		w.until(rested + rested - 2*ms)
		if n := len(w.numbers(me)); n != 64 {
			t.Fatalf("%d requests were written, the last with a number that rests", n)
		}
		w.until(rested + rested - ms)
		k.answerTo(w.bus, next)
		next.answered().at(rested + rested - ms)
	})

	storyOnI2C(t, "another command has it at once", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.occupy(k)
		next := w.start(ask(me, cmdB))
		k.answer(w.bus, 0)
		synctest.Wait()
		k.answerTo(w.bus, next)
		next.answered().at(0)
	})

	storyOnI2C(t, "nowait waits for it no longer than it rests, once more after a copy", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		w.until(20 * ms)
		k.answer(w.bus, 0)
		flights[0].answered()
		req := ask(me, cmdA)
		req.NoWait = true
		w.until(30 * ms)
		first, second := w.start(req), w.start(req)
		second.failed(ipmb.ErrBusy).at(30 * ms) // the number is for the first
		for _, copied := range []time.Duration{50 * ms, 80 * ms} {
			w.until(copied)
			k.answer(w.bus, 0)
		}
		first.failed(ipmb.ErrBusy).at(30*ms + 2*rested)
		if n := len(w.numbers(me)); n != 64 {
			t.Errorf("%d requests were written, the last with a number that rests", n)
		}
	})

	storyOnI2C(t, "nowait has it when it has rested", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.occupy(k)
		w.until(20 * ms)
		k.answer(w.bus, 0)
		synctest.Wait()
		req := ask(me, cmdA)
		req.NoWait = true
		next := w.start(req)
		w.until(20*ms + rested)
		k.answerTo(w.bus, next)
		next.answered().at(20*ms + rested)
	})

	storyOnI2C(t, "it rests for its command though another has used it meanwhile", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		k.answer(w.bus, 0)
		flights[0].answered()
		between := w.start(ask(me, cmdB))
		w.until(10 * ms)
		k.answerTo(w.bus, between)
		between.answered()
		next := w.start(ask(me, cmdA))
		w.until(rested - ms)
		k.answer(w.bus, 0)
		w.until(rested + rested - 2*ms)
		if next.hasEnded() {
			t.Fatal("the copy ended a call")
		}
		w.until(rested + rested - ms)
		k.answerTo(w.bus, next)
		next.answered().at(rested + rested - ms)
	})

	storyOnI2C(t, "numbers in turn rest, too", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		for i := range 640 {
			w.do(ask(me, cmdA)).answered().at(time.Duration(i/64) * rested)
		}
	})

	story(t, "none rests where no frame comes twice", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		for range 1000 {
			w.do(ask(me, cmdA)).answered().at(0)
		}
		k := new(keeper)
		flights := w.occupy(k)
		k.answer(w.bus, 0)
		flights[0].answered()
		req := ask(me, cmdA)
		req.NoWait = true
		next := w.start(req)
		synctest.Wait()
		k.answerTo(w.bus, next)
		next.answered().at(0)
	})
}
