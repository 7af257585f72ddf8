package ipmb_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// ending is the result with which a call of NewCall has ended.
type ending struct {
	data []byte
	err  error
}

// endings are the endings of one call.
type endings struct {
	mu   sync.Mutex
	told []ending
}

// recorded is a call that keeps its endings.
func recorded() (*ipmb.Call, *endings) {
	e := new(endings)
	return ipmb.NewCall(func(r ipmi.Response, err error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.told = append(e.told, ending{bytes.Clone(r.Data), err})
	}), e
}

// all are the endings so far.
func (e *endings) all() []ending {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.told
}

// mustBe checks that there is one ending, an error.
func (e *endings) mustBe(t *testing.T, want error) {
	t.Helper()
	if told := e.all(); len(told) != 1 || !errors.Is(told[0].err, want) {
		t.Errorf("ended as %v, want %v", told, want)
	}
}

func TestSend(t *testing.T) {
	story(t, "one call is sent time and again, to one engine and another", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		second := &world{t: t, engine: ipmb.New(ipmb.Config{}), bus: newBus(t, i2c.Limits{MaxFrame: 239, CopyTime: i2c.NoCopies})}
		second.place(me, prompt)
		second.run()
		defer second.stop()
		c, endings := recorded()
		for i := range 200 {
			req := ask(me, cmdA)
			if err := []*world{w, second}[i%2].engine.Send(c, &req); err != nil {
				t.Fatal(err)
			}
			if told := endings.all(); len(told) != i+1 || told[i].err != nil || !bytes.Equal(told[i].data, req.Data) {
				t.Fatalf("request % X ended as %v", req.Data, told)
			}
		}
	})
	story(t, "a call may be sent again from where it is told of", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, prompt)
		again := make(chan struct{}, 1)
		c := ipmb.NewCall(func(ipmi.Response, error) { again <- struct{}{} })
		for range 100 {
			req := ask(me, cmdA)
			if err := w.engine.Send(c, &req); err != nil {
				t.Fatal(err)
			}
			<-again
		}
		if n := w.count("calls-answered"); n != 100 {
			t.Errorf("%d answers", n)
		}
	})
	story(t, "a silent responder", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		c, endings := recorded()
		req := ask(me, cmdA)
		if err := w.engine.Send(c, &req); err != nil {
			t.Fatal(err)
		}
		w.until(wholePolicy - ms)
		if told := endings.all(); len(told) != 0 {
			t.Fatalf("ended early: %v", told)
		}
		w.until(wholePolicy)
		endings.mustBe(t, ipmb.ErrTimeout)
	})
	story(t, "what is refused is told by the error alone", ipmb.Config{}, func(t *testing.T, w *world) {
		c, endings := recorded()
		for _, refused := range []struct {
			req  ipmb.Request
			want error
		}{
			{ipmb.Request{Responder: 0x2D}, ipmb.ErrInvalid},
			{ipmb.Request{Responder: me, Data: make([]byte, 233)}, ipmb.ErrTooLong},
		} {
			if err := w.engine.Send(c, &refused.req); !errors.Is(err, refused.want) {
				t.Errorf("%v, want %v", err, refused.want)
			}
		}
		c.Cancel()
		if told := endings.all(); len(told) != 0 {
			t.Errorf("ended as %v", told)
		}
	})
	story(t, "cancelled once, whatever comes later", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		c, endings := recorded()
		c.Cancel() // It has not been sent.
		req := ask(me, cmdA)
		if err := w.engine.Send(c, &req); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.Cancel()
		c.Cancel()
		sent := w.writes(me)[0].frame(t)
		w.hear(sent.Response(ipmi.CodeOK, sent.Data))
		endings.mustBe(t, context.Canceled)
		if n := w.count("responses-late"); n != 1 {
			t.Errorf("responses-late %d", n)
		}
	})
	story(t, "the end of the engine", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		c, endings := recorded()
		req := ask(me, cmdA)
		if err := w.engine.Send(c, &req); err != nil {
			t.Fatal(err)
		}
		_ = w.stop()
		endings.mustBe(t, ipmb.ErrClosed)
	})
}

// BenchmarkSend is BenchmarkEngine's one call in flight, by a call that is used
// again.
func BenchmarkSend(b *testing.B) {
	for name, copyTime := range copyTimes {
		b.Run(name, func(b *testing.B) {
			roundTrip, stop := sendingRig(b, copyTime)
			defer stop()
			b.ReportAllocs()
			for b.Loop() {
				roundTrip()
			}
		})
	}
}

// copyTimes are the times of a transport with quarantines, so short that they are no limit,
// and of one without.
var copyTimes = map[string]time.Duration{"rests": time.Microsecond, "no rests": i2c.NoCopies}

func TestSendAllocatesNothing(t *testing.T) {
	for name, copyTime := range copyTimes {
		roundTrip, stop := sendingRig(t, copyTime)
		if n := testing.AllocsPerRun(1000, roundTrip); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		stop()
	}
}

// limited is a transport with another CopyTime.
type limited struct {
	i2c.Transport
	copyTime time.Duration
}

func (l limited) Limits() i2c.Limits {
	limits := l.Transport.Limits()
	limits.CopyTime = l.copyTime
	return limits
}

// sendingRig is an engine with a responder in the process.
func sendingRig(t testing.TB, copyTime time.Duration) (roundTrip, stop func()) {
	wire := sim.NewBus()
	var out []byte
	answer := func(frame []byte, reply func([]byte)) {
		if request, err := ipmb.Decode(frame); err == nil {
			out = request.Response(ipmi.CodeOK, deviceID).Append(out[:0])
			reply(out)
		}
	}
	if err := wire.Respond(uint8(me), answer); err != nil {
		t.Fatal(err)
	}
	transport, err := wire.Attach(uint8(own))
	if err != nil {
		t.Fatal(err)
	}
	engine := ipmb.New(ipmb.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx, limited{transport, copyTime}) })
	ended := make(chan error, 1)
	c := ipmb.NewCall(func(_ ipmi.Response, err error) { ended <- err })
	req := getDeviceID(me)
	for engine.Send(c, &req) != nil { // until it runs
	}
	<-ended
	return func() {
			if err := engine.Send(c, &req); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}, func() {
			cancel()
			running.Wait()
		}
}
