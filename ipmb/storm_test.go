package ipmb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/internal/testmain"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// dice draws random numbers that depend on a seed and on a subject, and not on the order in which
// goroutines draw. STORM_SEED in the environment repeats a run.
type dice struct {
	seed  uint64
	mu    sync.Mutex
	times map[string]uint64 // how often it drew for a subject
}

// newDice has a seed that the test prints.
func newDice(t *testing.T) *dice {
	d := &dice{seed: setting(t, "STORM_SEED", rand.Uint64()>>32), times: make(map[string]uint64)}
	t.Logf("STORM_SEED=%d", d.seed)
	return d
}

// draw is the source for the next draw of a subject.
func (d *dice) draw(subject []byte) *rand.Rand {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.times[string(subject)]++
	return draw(d.seed, 0, subject, d.times[string(subject)])
}

// chance is true n times of a hundred.
func chance(r *rand.Rand, n int) bool { return r.IntN(100) < n }

// unreliable is a responder that loses, doubles and damages 5 % of its answers
// each, and delays those that delayed picks by its times.
func (d *dice) unreliable(delayed func(r *rand.Rand, id []byte) bool, least, most time.Duration) node {
	return responder(func(b *bus, request []byte) {
		r := d.draw(request)
		answer := echo(request).Append(nil)
		after := between(r, 0, 3*ms)
		if delayed(r, echo(request).Data) {
			after = between(r, least, most)
		}
		switch {
		case chance(r, 5): // lost
		case chance(r, 5):
			b.deliverAfter(after, answer, answer)
		case chance(r, 5):
			answer[r.IntN(len(answer))] ^= 1 << r.IntN(8)
			b.deliverAfter(after, answer)
		default:
			b.deliverAfter(after, answer)
		}
	})
}

// someFrames picks 5 % of frames, each on its own.
func someFrames(r *rand.Rand, _ []byte) bool { return chance(r, 5) }

// someRequests picks 5 % of requests: all answers to these.
func someRequests(_ *rand.Rand, id []byte) bool { return id[len(id)-1] < 13 }

// hesitant is a responder that answers some transmissions after 320 ms, and
// all others at once.
func (d *dice) hesitant(percent int) node {
	return responder(func(b *bus, request []byte) {
		r := d.draw(request)
		after := between(r, 0, 2*ms)
		if chance(r, percent) {
			after = 320 * ms
		}
		b.deliverAfter(after, echo(request).Append(nil))
	})
}

// tally is how the calls of a storm ended.
type tally struct{ answered, timeouts, busy, cancelled, wrong, others atomic.Int64 }

func (y *tally) ended() int64 {
	return y.answered.Load() + y.timeouts.Load() + y.busy.Load() + y.cancelled.Load() + y.wrong.Load() + y.others.Load()
}

func (y *tally) add(t *testing.T, response ipmi.Response, id []byte, err error) {
	switch {
	case err == nil && bytes.Equal(response.Data, id):
		y.answered.Add(1)
	case err == nil:
		if y.wrong.Add(1) > 10 {
			return
		}
		t.Errorf("call %X got the answer of %X", id, response.Data)
	case errors.Is(err, ipmb.ErrTimeout):
		y.timeouts.Add(1)
	case errors.Is(err, ipmb.ErrBusy):
		y.busy.Add(1)
	case errors.Is(err, context.DeadlineExceeded):
		y.cancelled.Add(1)
	default:
		y.others.Add(1)
		t.Errorf("a call ended with %v", err)
	}
}

// storm is many calls at a time.
type storm struct {
	callers   int // for each responder
	callsEach int
	commands  int
	impatient int // percent of calls that give up before their end
	dice      *dice
}

// rage makes the calls of a storm to each responder, each caller with the
// commands in turn, waits for all, and checks that each has ended once.
func (s storm) rage(w *world, responders ...ipmi.Address) *tally {
	w.t.Helper()
	var y tally
	var all sync.WaitGroup
	for _, to := range responders {
		for i := range s.callers {
			all.Go(func() {
				for n := range s.callsEach {
					id := binary.BigEndian.AppendUint32([]byte{uint8(to), uint8(i), 0}, uint32(n))
					r := s.dice.draw(id)
					id = append(id, uint8(r.IntN(256))) // see someRequests
					response, err := s.call(w, r, ipmb.Request{
						Responder: to,
						NetFn:     ipmi.NetFnApp,
						Command:   ipmi.Command((i + n) % s.commands),
						Data:      id,
					})
					y.add(w.t, response, id, err)
				}
			})
		}
	}
	all.Wait()
	w.t.Logf("%d answered, %d wrong, %d timed out, %d busy, %d cancelled in %v",
		y.answered.Load(), y.wrong.Load(), y.timeouts.Load(), y.busy.Load(), y.cancelled.Load(), w.now())
	if made := int64(len(responders) * s.callers * s.callsEach); y.ended() != made {
		w.t.Errorf("%d calls ended, %d were made", y.ended(), made)
	}
	return &y
}

func (s storm) call(w *world, r *rand.Rand, req ipmb.Request) (ipmi.Response, error) {
	ctx := w.t.Context()
	if chance(r, s.impatient) {
		soon, cancel := context.WithTimeout(ctx, between(r, 0, 20*ms))
		defer cancel()
		ctx = soon
	}
	return w.engine.Do(ctx, req)
}

// expectAllFree checks that each command of each responder has 64 numbers once
// the holds have ended.
func (w *world) expectAllFree(commands int, responders ...ipmi.Address) {
	w.t.Helper()
	time.Sleep(expired + time.Second)
	for _, to := range responders {
		w.place(to, late(ms))
		for cmd := range commands {
			req := ask(to, ipmi.Command(cmd))
			req.NoWait = true
			for _, f := range w.startAll(64, req) {
				f.answered()
			}
		}
	}
}

func TestStorm(t *testing.T) {
	d := newDice(t)
	each := testmain.Amount(80, 800)
	for _, c := range []struct {
		name   string
		faulty node
	}{
		{"5 % of frames lost, doubled, damaged, and late by more than a slot", d.unreliable(someFrames, 260*ms, 900*ms)},
		{"5 % of frames lost, doubled, damaged, and late by more than the time-out", d.unreliable(someFrames, wholePolicy, 5*time.Second)},
		{"5 % of frames lost, doubled, damaged, and requests answered after the time-out", d.unreliable(someRequests, wholePolicy, 5*time.Second)},
	} {
		story(t, c.name, ipmb.Config{}, func(t *testing.T, w *world) {
			w.forgetWrites()
			w.place(me, c.faulty)
			w.place(other, c.faulty)
			all := int64(2 * 64 * each)
			y := storm{callers: 64, callsEach: each, commands: 16, dice: d}.rage(w, me, other)
			if y.answered.Load() < all*90/100 || y.busy.Load() > all/100 {
				t.Error("too few were answered")
			}
			w.expectAllFree(16, me, other)
		})
	}

	story(t, "2 % of transmissions answered after 320 ms, 32 callers at full speed", ipmb.Config{}, func(t *testing.T, w *world) {
		w.forgetWrites()
		w.place(me, d.hesitant(2))
		w.place(other, d.hesitant(2))
		each := testmain.Amount(300, 1300)
		y := storm{callers: 16, callsEach: each, commands: 2, dice: d}.rage(w, me, other)
		if n := y.answered.Load(); n != int64(2*16*each) {
			t.Errorf("%d calls were answered, %d were made", n, 2*16*each)
		}
		w.expectAllFree(2, me, other)
	})

	story(t, "calls that give up at any moment", ipmb.Config{}, func(t *testing.T, w *world) {
		w.forgetWrites()
		w.byteTime = oneByte
		w.place(me, d.unreliable(someFrames, 260*ms, 900*ms))
		w.place(other, d.hesitant(2))
		storm{callers: 16, callsEach: 200, commands: 16, impatient: 10, dice: d}.rage(w, me, other)
		w.expectAllFree(16, me, other)
	})

	story(t, "a wire of 100 kHz, with requests coming in", ipmb.Config{Handler: answering(ipmi.Response{}, nil)}, func(t *testing.T, w *world) {
		w.forgetWrites()
		w.byteTime = oneByte
		w.place(me, d.unreliable(someRequests, wholePolicy, 5*time.Second))
		w.place(other, d.hesitant(2))
		var stop atomic.Bool
		go func() {
			for i := 0; !stop.Load(); i++ {
				w.deliver(from(peer, uint8(i&63), cmdA, byte(i), byte(i>>8)).Append(nil))
				time.Sleep(3 * ms)
			}
		}()
		storm{callers: 32, callsEach: 100, commands: 4, dice: d}.rage(w, me, other)
		stop.Store(true)
		time.Sleep(time.Second)
		counts := w.engine.Statistics()
		if counts["requests-received"] == 0 || counts["answers-written"] != counts["requests-received"] {
			t.Errorf("counted %v", counts)
		}
		w.expectAllFree(4, me, other)
	})
}

// impatient sends a request, and again each 60 ms until it is answered.
type impatient struct {
	mu       sync.Mutex
	answered map[uint8]chan answer
}

func (i *impatient) take(_ *bus, frame []byte) error {
	f, err := ipmb.Decode(frame)
	if err != nil || !f.NetFn.IsResponse() {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if waiting := i.answered[f.Sequence]; waiting != nil {
		delete(i.answered, f.Sequence)
		waiting <- answer{Frame: f}
	}
	return nil
}

func (i *impatient) ask(w *world, request ipmb.Frame) ipmb.Frame {
	answered := make(chan answer, 1)
	i.mu.Lock()
	i.answered[request.Sequence] = answered
	i.mu.Unlock()
	for {
		w.deliver(request.Append(nil))
		select {
		case a := <-answered:
			return a.Frame
		case <-time.After(60 * ms):
		}
	}
}

// Requesters of all kinds at once: each request is executed once, and each
// requester gets its own answers.
func TestStormOfRequesters(t *testing.T) {
	d := newDice(t)
	s := &service{takes: func(req *ipmi.Request) time.Duration {
		r := d.draw(req.Data)
		if chance(r, 10) {
			return 200 * ms
		}
		return between(r, 0, ms)
	}}
	story(t, "20 impatient requesters, 400 requests each", ipmb.Config{Handler: s}, func(t *testing.T, w *world) {
		w.forgetWrites()
		const requesters, requests = 20, 400
		var all sync.WaitGroup
		for n := range requesters {
			source := ipmi.Address(0x50 + 2*n)
			node := &impatient{answered: make(map[uint8]chan answer)}
			w.place(source, node.take)
			all.Go(func() {
				for i := range requests {
					id := []byte{byte(n), byte(i >> 8), byte(i)}
					got := node.ask(w, from(source, uint8(i&63), ipmi.Command(i%3), id...))
					if len(got.Data) != 5 || !bytes.Equal(got.Data[2:], id) {
						t.Errorf("request % X got the answer % X", id, got.Data)
					}
				}
			})
		}
		all.Wait()
		synctest.Wait()
		if s.count() != requesters*requests {
			t.Errorf("%d runs of the handler, want %d", s.count(), requesters*requests)
		}
	})
}
