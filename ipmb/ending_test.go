package ipmb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestCancel(t *testing.T) {
	story(t, "a call ends with its context", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		ctx, cancel := context.WithCancel(t.Context())
		f := w.startFor(ctx, ask(me, cmdA))
		w.until(400 * ms)
		cancel()
		f.failed(context.Canceled).at(400 * ms)
		w.until(3 * time.Second)
		if n := len(w.writes(me)); n != 2 {
			t.Errorf("%d transmissions, want those at 0 and 250 ms", n)
		}
	})

	story(t, "a call whose context has ended is not sent", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.startFor(ctx, ask(me, cmdA)).failed(context.Canceled).at(0)
		if len(w.writes(me)) != 0 {
			t.Error("it was sent")
		}
	})

	story(t, "the cause of the deadline is told", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		ctx, cancel := context.WithTimeout(t.Context(), 30*ms)
		defer cancel()
		w.startFor(ctx, ask(me, cmdA)).failed(context.DeadlineExceeded).at(30 * ms)
	})

	story(t, "a call that was cancelled before any acknowledge holds nothing", ipmb.Config{}, func(t *testing.T, w *world) {
		for range 64 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
			w.startFor(ctx, ask(me, cmdA)).failed(context.DeadlineExceeded)
			cancel()
		}
		k := new(keeper)
		w.place(me, k.take)
		w.startAll(64, ask(me, cmdA))
		if len(k.kept) != 64 {
			t.Errorf("%d of 64 calls are on their way", len(k.kept))
		}
	})

	story(t, "cancelling a call after its end changes nothing", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		ctx, cancel := context.WithCancel(t.Context())
		f := w.startFor(ctx, ask(me, cmdA)).answered()
		cancel()
		synctest.Wait()
		f.call.Cancel()
		if f.err != nil || w.count("calls-answered") != 1 || w.count("calls-cancelled") != 0 {
			t.Errorf("ended with %v, and counted: %v", f.err, w.engine.Statistics())
		}
		w.used(64, me, cmdA)
	})
}

func TestBlockedWrite(t *testing.T) {
	story(t, "a call ends while its write blocks, the hold starts when the write returns", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, blocks(time.Second, silent))
		ctx, cancel := context.WithCancel(t.Context())
		f := w.startFor(ctx, ask(me, cmdA))
		w.until(100 * ms)
		cancel()
		f.failed(context.Canceled).at(100 * ms)
		number := w.numbers(me)[0]
		w.until(1001 * ms)
		w.expectNotUsed(number, me, cmdA)
		w.until(6950 * ms)
		w.expectNotUsed(number, me, cmdA)
		w.until(7010 * ms)
		w.expectFree(number, me, cmdA)
	})

	story(t, "a number is not given out while its write blocks", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(blocks(time.Second, nack), prompt))
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		w.startFor(ctx, ask(me, cmdA)).failed(context.DeadlineExceeded).at(100 * ms)
		number := w.numbers(me)[0]
		flights := w.startAll(63, ask(me, cmdA))
		req := ask(me, cmdA)
		req.NoWait = true
		w.do(req).failed(ipmb.ErrBusy).at(100 * ms)
		for _, f := range flights {
			f.answered().at(time.Second)
		}
		w.expectFree(number, me, cmdA) // it was not acknowledged
	})

	story(t, "the late answer of a cancelled write reaches nobody", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(blocks(time.Second, late(3*time.Second)), silent))
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		w.startFor(ctx, ask(me, cmdA)).failed(context.DeadlineExceeded)
		w.until(3500 * ms)
		flights := w.startAll(64, ask(me, cmdA))
		w.until(4500 * ms)
		for _, f := range flights {
			if f.hasEnded() && f.err == nil {
				t.Errorf("a call got % X", f.response.Data)
			}
		}
	})

	story(t, "run waits for a write that blocks", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, blocks(1200*ms, silent))
		f := w.start(ask(me, cmdA))
		w.until(200 * ms)
		if err := w.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		if w.now() != 1200*ms {
			t.Errorf("Run returned at %v", w.now())
		}
		f.failed(ipmb.ErrClosed)
	})

	story(t, "the answer to a write that blocked longer than a slot", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, blocks(400*ms, late(50*ms)))
		w.do(ask(me, cmdA)).answered().at(450 * ms)
	})
}

func TestAccepted(t *testing.T) {
	// accepted checks when the bus took the request, before the call ended.
	accepted := func(f *flight, want time.Duration) {
		f.t.Helper()
		select {
		case <-f.accepted:
		case <-f.done: // Both may have happened.
		}
		select {
		case <-f.accepted:
		default:
			f.t.Fatalf("the call ended with %v before it was accepted", f.err)
		}
		if f.acceptedAt != want {
			f.t.Errorf("accepted at %v, want %v", f.acceptedAt, want)
		}
	}
	never := func(f *flight) {
		f.t.Helper()
		select {
		case <-f.accepted:
			f.t.Error("accepted")
		default:
		}
	}
	story(t, "at the first acknowledged transmission", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(nack, nack, outbid, nack, silent))
		f := w.start(ask(me, cmdA))
		accepted(f, 500*ms)
		f.failed(ipmb.ErrTimeout).at(wholePolicy)
	})
	story(t, "never, when no transmission was acknowledged", ipmb.Config{}, func(t *testing.T, w *world) {
		f := w.start(ask(me, cmdA)).failed(ipmb.ErrNotAcknowledged).at(wholePolicy)
		never(f)
	})
	story(t, "an answer is an acceptance", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, both(prompt, blocks(30*ms, silent)))
		f := w.start(ask(me, cmdA))
		accepted(f, 0)
		f.answered()
	})
	story(t, "not by a cancelled call", ipmb.Config{}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*ms)
		defer cancel()
		f := w.startFor(ctx, ask(me, cmdA)).failed(context.DeadlineExceeded).at(30 * ms)
		never(f)
	})
}

func TestRun(t *testing.T) {
	story(t, "ends all calls as closed", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		flights := w.startAll(100, ask(me, cmdA)) // 36 of them wait for a number
		w.until(100 * ms)
		if err := w.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		for _, f := range flights {
			f.failed(ipmb.ErrClosed).at(100 * ms)
		}
		w.do(ask(me, cmdA)).failed(ipmb.ErrClosed).at(100 * ms)
	})

	for name, cause := range map[string]error{
		"returns the error of the transport": &i2c.OpError{Op: "read", Device: "/dev/ipmb-4", Err: errors.New("remote I/O error")},
		"returns at end of file":             io.EOF,
	} {
		story(t, name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(me, silent)
			f := w.start(ask(me, cmdA))
			w.until(10 * ms)
			w.fail(cause)
			if err := w.returned(); !errors.Is(err, cause) {
				t.Errorf("Run returned %v, want %v", err, cause)
			}
			f.failed(ipmb.ErrClosed).at(10 * ms)
		})
	}

	story(t, "returns when its transport is closed", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		f := w.start(ask(me, cmdA))
		w.until(10 * ms)
		w.Close()
		if err := w.returned(); !errors.Is(err, i2c.ErrClosed) {
			t.Errorf("Run returned %v", err)
		}
		f.failed(ipmb.ErrClosed).at(10 * ms)
	})

	story(t, "leaves no number behind", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		flights := w.startAll(64, ask(me, cmdA))
		w.until(100 * ms)
		w.stop()
		for _, f := range flights {
			f.failed(ipmb.ErrClosed)
		}
		w.until(100*ms + expired + ms)
		w.reopen()
		k := new(keeper)
		w.place(me, k.take)
		flights = w.startAll(64, ask(me, cmdA))
		if len(k.kept) != 64 {
			t.Fatalf("%d of 64 calls are on their way", len(k.kept))
		}
		for i, f := range flights {
			k.answer(w.bus, i)
			f.answered()
		}
	})

	story(t, "an answer that is late by one reopening reaches nobody", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		w.place(me, k.take)
		w.start(ask(me, cmdA))
		w.until(100 * ms)
		w.stop()
		w.reopen()
		w.place(me, silent)
		flights := w.startAll(64, ask(me, cmdA))
		k.answer(w.bus, 0)
		for _, f := range flights {
			if f.wait(); f.err == nil {
				t.Errorf("a call got % X", f.response.Data)
			}
		}
	})

	t.Run("before it there is no bus", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if _, err := ipmb.New(ipmb.Config{}).Do(t.Context(), ask(me, cmdA)); !errors.Is(err, ipmb.ErrClosed) {
				t.Errorf("Do returned %v", err)
			}
		})
	})

	story(t, "may be called often", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		for range 20 {
			w.do(ask(me, cmdA)).answered()
			w.stop()
			w.do(ask(me, cmdA)).failed(ipmb.ErrClosed)
			w.reopen()
		}
	})
}

// A write that does not return delays no call longer than the call's own policy.
func TestStall(t *testing.T) {
	lasting := func(req ipmb.Request) ipmb.Request {
		req.RetryPolicy.Tries = 12 // 3 s
		return req
	}
	o := new(observer)
	story(t, "a write that lasts longer than 2 s", ipmb.Config{Stalled: o.stalled}, func(t *testing.T, w *world) {
		o.epoch = w.epoch
		w.place(me, inTurn(blocks(5*time.Second, nack), prompt))
		w.place(other, prompt)
		stuck := w.start(lasting(ask(me, cmdA)))
		waiting := w.start(lasting(ask(other, cmdA)))
		w.until(1990 * ms)
		if stuck.hasEnded() || waiting.hasEnded() {
			t.Fatal("a call ended before the bus was stalled")
		}
		w.until(2010 * ms)
		waiting.failed(ipmb.ErrStuck).at(ipmb.StallTime)
		w.do(ask(other, cmdA)).failed(ipmb.ErrStuck).at(2010 * ms)
		w.do(ask(me, cmdA)).failed(ipmb.ErrStuck).at(2010 * ms)
		if n := w.count("stalls"); n != 1 {
			t.Errorf("%d stalls were counted", n)
		}
		stuck.failed(ipmb.ErrStuck).at(3 * time.Second)

		w.until(5010 * ms)
		w.do(ask(other, cmdA)).answered().at(5010 * ms)
		w.do(ask(me, cmdA)).answered().at(5010 * ms)
		if len(o.stalls) != 2 || o.stalls[0] != (stall{2 * time.Second, true}) || o.stalls[1] != (stall{5 * time.Second, false}) {
			t.Errorf("the observer was told %v", o.stalls)
		}
		if n := len(w.writes(other)); n != 1 {
			t.Errorf("%d frames were written to the other responder, want that of the last call", n)
		}
	})

	story(t, "a call that waits for its answer is not harmed", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(other, inTurn(late(2900*ms), silent))
		waiting := w.start(lasting(ask(other, cmdA)))
		w.until(10 * ms)
		w.place(me, blocks(5*time.Second, silent))
		w.start(ask(me, cmdA))
		waiting.answered().at(2900 * ms)
	})

	story(t, "a write that lasts shorter is no stall", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(blocks(1990*ms, prompt), silent))
		w.place(other, prompt)
		long := w.start(lasting(ask(me, cmdA)))
		waiting := w.start(lasting(ask(other, cmdA)))
		long.answered().at(1990 * ms)
		waiting.answered().at(1990 * ms)
	})

	story(t, "nothing accepted before the policy's end is stuck, not a time-out", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, blocks(1800*ms, silent))
		w.do(ask(me, cmdA)).failed(ipmb.ErrStuck).at(wholePolicy)
	})

	story(t, "each of many short writes is no stall", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, blocks(900*ms, silent))
		f := w.startAll(4, lasting(ask(me, cmdA)))
		w.until(2500 * ms)
		if w.count("stalls") != 0 || f[3].hasEnded() {
			t.Error("the bus counts as stalled")
		}
	})

	story(t, "run ends when the write that stalls has returned", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, blocks(30*time.Second, silent))
		w.do(ask(me, cmdA)).failed(ipmb.ErrStuck)
		w.until(3 * time.Second)
		w.stop()
		if w.now() != 30*time.Second {
			t.Errorf("Run returned at %v, its write at 30 s", w.now())
		}
	})
}

// A stop lets accepted requests be answered.
func TestDrain(t *testing.T) {
	hung := ipmi.HandlerFunc(func(*ipmi.Request, ipmi.Reply) {})
	story(t, "a request whose answer nobody would take ends at its deadline", ipmb.Config{Handler: hung}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA, 1))
		w.until(time.Second)
		w.hear(from(peer, 1, cmdA, 2)) // in the place of the first
		w.engine.StartRespond(from(peer, 1, cmdA, 2).Response(ipmi.CodeOK, nil).Append(nil), func(error) {})
		w.engine.Drain(t.Context())
		if w.now() > 5*time.Second {
			t.Errorf("it took until %v", w.now())
		}
	})

	story(t, "what was taken is answered, and no more is taken", ipmb.Config{Handler: slow(time.Second)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA))
		drained := make(chan time.Duration, 1)
		go func() {
			w.engine.Drain(t.Context())
			drained <- w.now()
		}()
		synctest.Wait()
		w.hear(from(peer, 2, cmdA))
		if at := <-drained; at != time.Second {
			t.Errorf("drained at %v", at)
		}
		if n := len(w.answers(peer)); n != 1 {
			t.Errorf("%d answers", n)
		}
		if n := w.count("dropped-stopping"); n != 1 {
			t.Errorf("%d requests were dropped", n)
		}
		w.place(me, prompt)
		w.do(ask(me, cmdA)).answered()
	})

	story(t, "it is not waited for longer than the caller will", ipmb.Config{Handler: slow(time.Minute)}, func(t *testing.T, w *world) {
		w.hear(from(peer, 1, cmdA))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.engine.Drain(ctx)
		if at := w.now(); at != time.Second {
			t.Errorf("drained at %v", at)
		}
	})
}

func TestOwnerIsToldOfReadsAndWrites(t *testing.T) {
	var mu sync.Mutex
	var told []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf(format, args...))
	}
	config := ipmb.Config{
		Reading: func(on bool) { note("reading %v", on) },
		Wrote:   func(err error) { note("wrote %v", err != nil) },
	}
	story(t, "a request, one that is not acknowledged, and the end", config, func(t *testing.T, w *world) {
		w.place(me, prompt)
		w.place(other, nack)
		w.do(ask(me, cmdA)).answered()
		req := ask(other, cmdA)
		req.RetryPolicy = ipmb.RetryPolicy{Tries: 1}
		w.do(req).failed(ipmb.ErrNotAcknowledged)
		w.stop()
		mu.Lock()
		all := slices.Clone(told)
		mu.Unlock()
		want := []string{"reading true", "wrote false", "wrote true", "wrote true", "reading false"}
		if !slices.Equal(all, want) {
			t.Errorf("told %q, want %q", all, want)
		}
	})
}
