package ipmb_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// A copy of an answer reaches no call, whenever it comes.
func TestCopies(t *testing.T) {
	storyOnI2C(t, "a copy in a later read does not end the hold of a retransmitted request", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(
			responder(func(b *bus, request []byte) { // answered at 260 ms, and again at 265 ms
				answer := echo(request).Append(nil)
				b.deliverAfter(260*ms, answer)
				b.deliverAfter(265*ms, answer)
			}),
			late(260*ms), // sent at 250 ms, answered at 510 ms
		))
		w.do(ask(me, cmdA)).answered().at(260 * ms)
		number := w.numbers(me)[0]
		w.until(300 * ms)
		w.used(63, me, cmdA)
		k := new(keeper)
		w.place(me, k.take)
		victim := w.start(ask(me, cmdA))
		w.until(505 * ms)
		if victim.hasEnded() || w.numbers(me)[65] == number {
			t.Errorf("number %d is in use again", number)
		}
		w.until(520 * ms)
		k.answerTo(w.bus, victim)
		victim.answered().at(520 * ms)
	})

	storyOnI2C(t, "a hold ends with a rest after the last answer that is expected", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, late(300*ms)) // transmissions at 0 and 250 ms
		w.do(ask(me, cmdA)).answered().at(300 * ms)
		k := new(keeper)
		w.place(me, k.take)
		flights := w.startAll(63, ask(me, cmdA))
		last := w.start(ask(me, cmdA))
		w.until(540 * ms)
		for _, f := range flights { // no number but the one that is held
			if f.hasEnded() {
				t.Fatal("a call has ended")
			}
		}
		req := ask(me, cmdA)
		req.NoWait = true
		w.do(req).failed(ipmb.ErrBusy) // the last answer has not come yet
		w.until(560 * ms)              // it came at 550 ms
		w.do(req).failed(ipmb.ErrBusy) // the number is for the call that waits
		w.until(550*ms + rested)
		k.answerTo(w.bus, last)
		last.answered().at(550*ms + rested)
	})

	storyOnI2C(t, "answers to two transmissions that come together are taken for copies", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(late(270*ms), late(40*ms))) // answered at 270 and 290 ms
		w.do(ask(me, cmdA)).answered().at(270 * ms)
		w.until(time.Second)
		w.expectNotUsed(w.numbers(me)[0], me, cmdA)
	})

	storyOnI2C(t, "the answer to a call that timed out frees its number after a rest", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, late(100*ms))
		req := ask(me, cmdA)
		req.RetryPolicy = ipmb.RetryPolicy{Tries: 1, Timeout: 50 * ms}
		w.do(req).failed(ipmb.ErrTimeout).at(50 * ms)
		number := w.numbers(me)[0]
		w.until(139 * ms)
		w.place(me, silent)
		for _, f := range w.startAll(63, req) {
			f.failed(ipmb.ErrTimeout)
		}
		w.do(req)
		if sent := w.numbers(me); sent[len(sent)-1] != number {
			t.Errorf("number %d is not in use again", number)
		}
	})

	for _, noWait := range []bool{true, false} {
		for _, callers := range []int{64, 63, 48} {
			storyOnI2C(t, "one answer that comes twice shifts no others", ipmb.Config{}, func(t *testing.T, w *world) {
				w.forgetWrites()
				var once sync.Once
				w.place(me, responder(func(b *bus, request []byte) {
					answer := echo(request).Append(nil)
					b.deliverAfter(5*ms, answer)
					if w.now() > 100*ms {
						once.Do(func() { b.deliverAfter(6*ms, answer) })
					}
				}))
				var all sync.WaitGroup
				for range callers {
					all.Go(func() {
						for range 100 {
							req := ask(me, cmdA)
							req.NoWait = noWait
							r, err := w.engine.Do(t.Context(), req)
							if err != nil || !bytes.Equal(r.Data, req.Data) {
								t.Errorf("NoWait %v, %d in flight: call % X got % X, %v", noWait, callers, req.Data, r.Data, err)
							}
						}
					})
				}
				all.Wait()
			})
		}
	}
}

// Frames that came while the device was closed are read when it is open again.
func TestCopiesAcrossReopening(t *testing.T) {
	reopen := func(w *world, at time.Duration, waiting ...[]byte) {
		w.stop()
		w.until(at)
		next := newBus(w.t, w.limits)
		next.epoch, next.nodes, next.inbox = w.epoch, w.nodes, waiting
		w.bus = next
		w.run()
	}
	storyOnI2C(t, "a copy that waited does not end a hold", ipmb.Config{}, func(t *testing.T, w *world) {
		var first []byte
		w.place(me, inTurn(
			responder(func(_ *bus, request []byte) { first = request }), // answered after 2 s
			late(0),
		))
		w.do(ask(me, cmdA)).answered().at(250 * ms)
		number := w.numbers(me)[0]
		copied := echo(first).Append(nil)
		w.until(260 * ms)
		reopen(w, 350*ms, copied)
		w.until(500 * ms)
		w.expectNotUsed(number, me, cmdA)
	})

	storyOnI2C(t, "a number rests anew, as a copy may still be read", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		k.answer(w.bus, 0)
		flights[0].answered()
		w.until(10 * ms)
		reopen(w, 100*ms) // The other 63 numbers are held.
		next := w.start(ask(me, cmdA))
		w.until(100*ms + rested - ms)
		if n := len(w.writes(me)); n != 0 {
			t.Errorf("%d requests were written", n)
		}
		w.until(100*ms + rested)
		k.answerTo(w.bus, next)
		next.answered().at(100*ms + rested)
	})
}

// Without quarantine a copy is known by its content.
func TestCopiesWithoutQuarantine(t *testing.T) {
	rounds := func(w *world, callers, calls int, data func(ipmb.Request) []byte) (took time.Duration) {
		w.t.Helper()
		began := w.now()
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				for range calls {
					req := ask(me, cmdA)
					req.Data, req.NoWait = data(req), true
					r, err := w.engine.Do(w.t.Context(), req)
					if err != nil || len(r.Data) > 0 && !bytes.Equal(r.Data, req.Data) {
						w.t.Errorf("call % X got % X, %v", req.Data, r.Data, err)
					}
				}
			})
		}
		all.Wait()
		return w.now() - began
	}
	own := func(req ipmb.Request) []byte { return req.Data }

	story(t, "each tenth answer comes twice, 64 in flight", ipmb.Config{}, func(t *testing.T, w *world) {
		w.forgetWrites()
		var n atomic.Int64
		w.place(me, responder(func(b *bus, request []byte) {
			answer := echo(request).Append(nil)
			b.deliverAfter(5*ms, answer)
			if n.Add(1)%10 == 0 {
				b.deliverAfter(6*ms, answer)
			}
		}))
		if took := rounds(w, 64, 100, own); took != 500*ms {
			t.Errorf("100 rounds took %v", took)
		}
	})

	story(t, "a command whose answers are all alike is soon believed", ipmb.Config{}, func(t *testing.T, w *world) {
		w.forgetWrites()
		w.place(me, responder(func(b *bus, request []byte) {
			done := echo(request)
			done.Data = nil
			b.deliverAfter(5*ms, done.Append(nil))
		}))
		if took := rounds(w, 64, 2, own); took > 260*ms {
			t.Errorf("2 rounds took %v", took)
		}
		if took := rounds(w, 64, 100, own); took != 500*ms {
			t.Errorf("100 rounds took %v", took)
		}
	})

	story(t, "equal requests are answered alike", ipmb.Config{}, func(t *testing.T, w *world) {
		w.forgetWrites()
		w.place(me, late(5*ms))
		if took := rounds(w, 64, 100, func(ipmb.Request) []byte { return []byte{1} }); took != 500*ms {
			t.Errorf("100 rounds took %v", took)
		}
	})

	story(t, "a bus on which the call's own answer takes long", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		w.until(ms)
		k.answer(w.bus, 0)
		flights[0].answered()
		next := w.start(ask(me, cmdA))
		w.until(30 * ms)
		k.answer(w.bus, 0) // the copy
		w.until(240 * ms)
		k.answerTo(w.bus, next)
		next.answered().at(240 * ms)
	})

	story(t, "a copy of an answer that came late", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		w.until(260 * ms) // each was sent twice
		k.answer(w.bus, 0)
		flights[0].answered()
		w.until(400 * ms)
		k.answer(w.bus, 0) // the other transmission's: the number is free again
		next := w.start(ask(me, cmdA))
		w.until(420 * ms)
		k.answer(w.bus, 0)
		w.until(430 * ms)
		k.answerTo(w.bus, next)
		next.answered().at(430 * ms)
	})

	story(t, "a call in doubt that ends otherwise", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		flights := w.occupy(k)
		w.until(ms)
		k.answer(w.bus, 0)
		flights[0].answered()
		ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
		defer cancel()
		next := w.startFor(ctx, ask(me, cmdA)) // has the number
		synctest.Wait()
		k.answer(w.bus, 0) // the copy
		next.failed(context.DeadlineExceeded).at(11 * ms)
		time.Sleep(time.Second)
	})
}

// The write said that it failed, and the responder has the frame all the same.
func TestFailedWriteThatWasDelivered(t *testing.T) {
	for name, failure := range map[string]error{
		"a time-out after the frame": i2c.ErrStuck,
		"a nack of the last byte":    i2c.ErrNotAcknowledged,
	} {
		storyOnI2C(t, name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.place(me, inTurn(
				both(late(400*ms), func(*bus, []byte) error { return failure }),
				late(0),
			))
			w.do(ask(me, cmdA)).answered() // by the second transmission
			number := w.numbers(me)[0]
			w.used(63, me, cmdA)
			k := new(keeper)
			w.place(me, k.take)
			victim := w.start(ask(me, cmdA))
			w.until(450 * ms)
			if sent := w.numbers(me); sent[len(sent)-1] == number {
				t.Errorf("number %d was in use again", number)
			}
			k.answerTo(w.bus, victim)
			victim.answered()
		})
	}

	storyOnI2C(t, "a nack by a responder that was heard of lately", ipmb.Config{}, func(t *testing.T, w *world) {
		w.used(1, me, cmdA)
		w.place(me, nackByte)
		w.do(ask(me, cmdA)).failed(ipmb.ErrNotAcknowledged)
		w.expectNotUsed(w.numbers(me)[1], me, cmdA)
	})

	storyOnI2C(t, "a scan of absent addresses holds nothing", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, nackByte)
		for range 200 {
			req := ask(me, cmdA)
			req.FailFast, req.NoWait = true, true
			w.do(req).failed(ipmb.ErrNotAcknowledged)
		}
	})
}

// One caller's time-outs take no numbers from other commands.
func TestShortTimeouts(t *testing.T) {
	storyOnI2C(t, "many commands with short time-outs", ipmb.Config{}, func(t *testing.T, w *world) {
		w.forgetWrites()
		w.place(me, late(30*ms))
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for c := range 32 {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					req := ask(me, ipmi.Command(n%0x60+0x80))
					req.NetFn = ipmi.NetFn(c*2) & 0x3E
					req.RetryPolicy = ipmb.RetryPolicy{Tries: 1, Timeout: 10 * ms}
					if _, err := w.engine.Do(ctx, req); err != nil {
						time.Sleep(ms)
					}
				}
			})
		}
		time.Sleep(5 * time.Second)
		for range 50 {
			w.do(ask(me, cmdA)).answered()
			time.Sleep(100 * ms)
		}
		stop()
		all.Wait()
	})
}

// Nodes that answer a broadcast are heard by no call.
func TestBroadcastAnswer(t *testing.T) {
	answersBroadcasts := responder(func(b *bus, request []byte) {
		answer := echo(request)
		answer.Source = me
		b.deliverAfter(10*ms, answer.Append(nil))
	})
	broadcast := func(w *world) {
		w.t.Helper()
		if err := broadcast(w.t.Context(), w.engine, ipmi.NetFnApp, 0, cmdA, []byte{0xBA, 0xD0}); err != nil {
			w.t.Fatal(err)
		}
	}
	story(t, "while a call of the same command has number 0", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		w.place(0x00, answersBroadcasts)
		victim := w.start(ask(me, cmdA)) // the first number of a responder is 0
		synctest.Wait()
		broadcast(w)
		victim.failed(ipmb.ErrTimeout)
	})

	story(t, "number 0 is not given to the command afterwards, but to others", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(0x00, answersBroadcasts)
		broadcast(w)
		w.expectHeld(0, me, cmdA, expired)
	})

	story(t, "two broadcasts", ipmb.Config{}, func(t *testing.T, w *world) {
		broadcast(w)
		w.until(5 * time.Second)
		broadcast(w)
		w.expectHeld(0, me, cmdA, 5*time.Second+expired)
	})

	story(t, "a call waits for number 0", ipmb.Config{}, func(t *testing.T, w *world) {
		k := new(keeper)
		broadcast(w)
		w.until(expired - 100*ms)
		w.place(me, k.take)
		w.startAll(63, ask(me, cmdA))
		last := w.start(ask(me, cmdA))
		w.until(expired)
		k.answerTo(w.bus, last)
		last.answered().at(expired)
	})
}

// A frame that the node may have got already goes again at once or not at all.
func TestRepeatOfAnAnswer(t *testing.T) {
	story(t, "it goes before other answers, within 5 ms", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.byteTime = oneByte
		w.place(peer, inTurn(nackByte, silent))
		var requests [][]byte
		for i := range uint8(40) {
			requests = append(requests, from(peer, i, cmdA, i).Append(nil))
		}
		w.deliver(requests...)
		w.until(time.Second)
		sent := w.writes(peer)
		for i := 1; i < len(sent); i++ {
			if bytes.Equal(sent[i].bytes, sent[0].bytes) {
				if gap := sent[i].at - sent[0].at; gap > 10*ms {
					t.Errorf("the answer went again after %v, as frame %d", gap, i)
				}
				return
			}
		}
		t.Error("the answer did not go again")
	})

	story(t, "after a write that lasted it does not go again", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.place(peer, inTurn(blocks(time.Second, broken), silent))
		w.hear(from(peer, 1, cmdA, 1))
		w.until(2 * time.Second)
		if n := len(w.writes(peer)); n != 1 {
			t.Errorf("the answer was written %d times", n)
		}
		w.hear(from(peer, 1, cmdA, 1)) // The repeat is answered.
		if n := len(w.writes(peer)); n != 2 {
			t.Errorf("the answer was written %d times after a repeat", n)
		}
	})

	story(t, "after writes that delivered nothing it does", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.place(peer, inTurn(blocks(time.Second, outbid), blocks(50*ms, nack), silent))
		w.hear(from(peer, 1, cmdA, 1))
		w.until(2 * time.Second)
		if n := len(w.writes(peer)); n != 3 {
			t.Errorf("the answer was written %d times", n)
		}
	})
}
