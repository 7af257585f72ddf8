package ipmb_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// directBus is a bus that takes frames at once while it has room, as a socket does.
type directBus struct {
	*bus
	full chan struct{} // closed when there is room; nil while there is
	// during is called in the next TryWriteFrame, if it is not nil.
	during func()
}

// TryWriteFrame implements i2c.DirectWriter.
func (b *directBus) TryWriteFrame(frame []byte) (bool, error) {
	if during := b.during; during != nil {
		b.during = nil
		during()
	}
	if b.full != nil {
		return false, nil
	}
	return true, b.bus.WriteFrame(frame)
}

// WriteFrame waits for room.
func (b *directBus) WriteFrame(frame []byte) error {
	if b.full != nil {
		select {
		case <-b.full:
		case <-b.closed:
			return i2c.ErrClosed
		}
	}
	return b.bus.WriteFrame(frame)
}

// directStory is a story on a bus that takes frames at once.
func directStory(t *testing.T, name string, config ipmb.Config, tell func(t *testing.T, w *world, d *directBus)) {
	t.Helper()
	story(t, name, config, func(t *testing.T, w *world) {
		w.stop()
		d := new(directBus)
		w.wrap = func(b *bus) i2c.Transport {
			d.bus = b
			return d
		}
		w.reopen()
		tell(t, w, d)
	})
}

// numbered is a request with a number in its data.
func numbered(n int) ipmb.Request {
	return ipmb.Request{Responder: me, NetFn: ipmi.NetFnApp, Command: cmdA, Data: []byte{byte(n)}}
}

// dataOf is the first byte of data of each frame that was written to an address.
func (w *world) dataOf(to ipmi.Address) []int {
	var data []int
	for _, sent := range w.writes(to) {
		data = append(data, int(sent.frame(w.t).Data[0]))
	}
	return data
}

func upTo(n int) []int {
	var all []int
	for i := range n {
		all = append(all, i)
	}
	return all
}

func TestDirectWrites(t *testing.T) {
	directStory(t, "a request is on the bus when Send returns", ipmb.Config{}, func(t *testing.T, w *world, _ *directBus) {
		w.place(me, silent)
		for i := range 10 {
			req := numbered(i)
			if err := w.engine.Send(ipmb.NewCall(func(ipmi.Response, error) {}), &req); err != nil {
				t.Fatal(err)
			}
			if n := len(w.writes(me)); n != i+1 {
				t.Fatalf("%d frames after request %d", n, i)
			}
		}
	})

	directStory(t, "an answer is on the bus when the handler has answered", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world, _ *directBus) {
		for i := range 10 {
			w.hear(from(peer, uint8(i), cmdA, byte(i)))
			if n := len(w.answers(peer)); n != i+1 {
				t.Fatalf("%d answers to %d requests", n, i+1)
			}
		}
	})

	directStory(t, "what finds no room waits for it, in order", ipmb.Config{}, func(t *testing.T, w *world, d *directBus) {
		w.place(me, silent)
		d.full = make(chan struct{})
		for i := range 10 {
			req := numbered(i)
			if err := w.engine.Send(ipmb.NewCall(func(ipmi.Response, error) {}), &req); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if sent := w.writes(me); len(sent) != 0 {
			t.Fatalf("sent %v", sent)
		}
		close(d.full)
		synctest.Wait()
		if got := w.dataOf(me); !slices.Equal(got, upTo(10)) {
			t.Errorf("sent %v", got)
		}
	})

	directStory(t, "a stop while there is no room", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world, d *directBus) {
		w.place(me, silent)
		d.full = make(chan struct{})
		flights := []*flight{w.start(numbered(0)), w.start(numbered(1))}
		w.hear(from(peer, 1, cmdA))
		if err := w.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		for _, f := range flights {
			f.failed(ipmb.ErrClosed)
		}
		d.full = nil
		w.reopen()
		w.place(me, late(0))
		w.do(ask(me, cmdB)).answered()
	})

	directStory(t, "a stop while it is found that there is no room", ipmb.Config{}, func(t *testing.T, w *world, d *directBus) {
		w.place(me, silent)
		d.full = make(chan struct{})
		d.during = func() {
			w.cancel()
			synctest.Wait() // The writer waits for this write, and for nothing else.
		}
		f := w.start(numbered(0))
		if err := w.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		f.failed(ipmb.ErrClosed)
	})

	directStory(t, "more than one goroutine writes in a row", ipmb.Config{}, func(t *testing.T, w *world, d *directBus) {
		w.place(me, silent)
		d.full = make(chan struct{})
		var all []*flight
		for range 4 {
			for i := range 60 {
				req := numbered(i)
				req.Responder += ipmi.Address(2 * len(all) / 60 * 2)
				all = append(all, w.start(req))
			}
		}
		close(d.full)
		for _, f := range all {
			f.wait()
		}
	})
}

// A broadcast keeps its place among the requests, to whomever they go.
func TestBroadcastsKeepTheirPlace(t *testing.T) {
	directStory(t, "broadcasts and requests to three responders", ipmb.Config{}, func(t *testing.T, w *world, d *directBus) {
		w.place(0x00, silent)
		d.full = make(chan struct{})
		for i := range 60 {
			req := numbered(i)
			req.Responder += ipmi.Address(2 * (i % 3))
			w.place(req.Responder, silent)
			var err error
			if i%4 == 1 {
				err = w.engine.StartBroadcast(func(error) {}, ipmi.NetFnApp, 0, cmdB, req.Data)
			} else {
				err = w.engine.Send(ipmb.NewCall(func(ipmi.Response, error) {}), &req)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		close(d.full)
		synctest.Wait()
		before := -1 // the last broadcast
		var since []int
		for _, sent := range w.allWrites() {
			n := int(sent.frame(t).Data[0])
			if sent.bytes[0] == 0 {
				if slices.ContainsFunc(since, func(i int) bool { return i < before || i > n }) {
					t.Errorf("between the broadcasts %d and %d: %v", before, n, since)
				}
				before, since = n, nil
				continue
			}
			since = append(since, n)
		}
	})
}

// A callback may use the engine, for the next request for example: no lock is held.
func TestCallbacks(t *testing.T) {
	directStory(t, "a callback sends the next request", ipmb.Config{}, func(t *testing.T, w *world, _ *directBus) {
		w.place(me, late(0))
		var ends []int
		var call *ipmb.Call
		call = ipmb.NewCall(func(r ipmi.Response, err error) {
			ends = append(ends, int(r.Data[0]))
			if len(ends) < 100 {
				req := numbered(len(ends))
				if err := w.engine.Send(call, &req); err != nil {
					t.Error(err)
				}
			}
		})
		req := numbered(0)
		if err := w.engine.Send(call, &req); err != nil {
			t.Fatal(err)
		}
		w.until(time.Second)
		if !slices.Equal(ends, upTo(100)) {
			t.Errorf("ended: %v", ends)
		}
	})

	directStory(t, "an answer is told by the goroutine that has read it", ipmb.Config{}, func(t *testing.T, w *world, d *directBus) {
		w.place(me, silent)
		var told []int
		for i := range ipmb.SequenceNumbers {
			req := numbered(i)
			if err := w.engine.Send(ipmb.NewCall(func(ipmi.Response, error) { told = append(told, i) }), &req); err != nil {
				t.Fatal(err)
			}
		}
		// This call gets the number of the first that ends, and the goroutine that has read the
		// answer sends it.
		next := numbered(0)
		next.Command = cmdB
		if err := w.engine.Send(ipmb.NewCall(func(ipmi.Response, error) {}), &next); err != nil {
			t.Fatal(err)
		}
		d.during = func() {
			before := len(told)
			other := make(chan struct{})
			go func() {
				defer close(other)
				req := ask(peer, cmdA)
				if err := w.engine.Send(ipmb.NewCall(func(ipmi.Response, error) {}), &req); err != nil {
					t.Error(err)
				}
			}()
			<-other
			if len(told) != before {
				t.Error("told by the goroutine that sends another request")
			}
		}
		w.hear(w.writes(me)[0].frame(t).Response(ipmi.CodeOK, []byte{1}))
		if !slices.Equal(told, []int{0}) {
			t.Errorf("told %v", told)
		}
	})

	story(t, "of a frame that has become too old to be sent", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(0x00, nackByte)
		w.place(me, blocks(100*ms, silent))
		told := make(chan error, 1)
		if err := w.engine.StartBroadcast(func(err error) { told <- err }, ipmi.NetFnApp, 0, cmdA, nil); err != nil {
			t.Fatal(err)
		}
		w.start(ask(me, cmdA)) // goes between two writes of the broadcast
		select {
		case err := <-told:
			if !errors.Is(err, ipmb.ErrStuck) {
				t.Error(err)
			}
		case <-time.After(200 * ms):
			t.Error("not told")
		}
	})

	story(t, "a callback that is told of an error uses the engine", ipmb.Config{RetryPolicy: ipmb.RetryPolicy{Tries: 1}}, func(t *testing.T, w *world) {
		w.place(me, silent)
		told := make(chan error, 1)
		req := numbered(0)
		err := w.engine.Send(ipmb.NewCall(func(_ ipmi.Response, err error) {
			w.engine.SetAddress(0x22)
			told <- err
		}), &req)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-told; err != ipmb.ErrTimeout || w.engine.Address() != 0x22 {
			t.Errorf("%v, address %v", err, w.engine.Address())
		}
	})

	story(t, "a call is accepted before it ends, once", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, inTurn(silent, silent, late(10*ms)))
		var told []string
		call := ipmb.NewCall(func(_ ipmi.Response, err error) { told = append(told, "ended") })
		call.OnAccepted(func() { told = append(told, "accepted") })
		req := numbered(0)
		if err := w.engine.Send(call, &req); err != nil {
			t.Fatal(err)
		}
		w.until(2 * time.Second)
		if !slices.Equal(told, []string{"accepted", "ended"}) {
			t.Errorf("told %v", told)
		}
		told = nil
		req.Responder = other // where no node is
		if err := w.engine.Send(call, &req); err != nil {
			t.Fatal(err)
		}
		w.until(4 * time.Second)
		if !slices.Equal(told, []string{"ended"}) {
			t.Errorf("told %v of a request that was not taken", told)
		}
	})
}

// Answers reach the calls in the order in which the bus delivers them, in any order of the
// requests.
func TestAnswersReachCallsInOrder(t *testing.T) {
	story(t, "the later a call is sent, the sooner it is answered", ipmb.Config{}, func(t *testing.T, w *world) {
		const calls = 16
		var ended, want []int
		for i := range calls {
			to := ipmi.Address(0x40 + 2*i)
			w.place(to, late(time.Duration(calls-i)*10*ms))
			req := ask(to, cmdA)
			call := ipmb.NewCall(func(_ ipmi.Response, err error) {
				if err != nil {
					t.Error(err)
				}
				ended = append(ended, i)
			})
			if err := w.engine.Send(call, &req); err != nil {
				t.Fatal(err)
			}
			want = append(want, calls-1-i)
		}
		w.until(time.Second)
		if !slices.Equal(ended, want) {
			t.Errorf("ended in the order %v", ended)
		}
	})
}

// A caller may reuse the memory of a request's data as soon as the call is in progress.
func TestDataOfACallIsNotKept(t *testing.T) {
	story(t, "the request is sent six times", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, silent)
		req := numbered(7)
		if err := w.engine.Send(ipmb.NewCall(func(ipmi.Response, error) {}), &req); err != nil {
			t.Fatal(err)
		}
		req.Data[0] = 8
		w.until(2 * time.Second)
		if data := w.dataOf(me); !slices.Equal(data, []int{7, 7, 7, 7, 7, 7}) {
			t.Errorf("sent %v", data)
		}
	})
}

// The handler gets requests in the order in which they came, however it answers them.
func TestRequestsAreServedInOrder(t *testing.T) {
	var served []int
	handler := ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) {
		served = append(served, int(req.Data[0]))
		time.AfterFunc(time.Duration(req.Data[0]%7)*ms, func() { reply.Answer(ipmi.Response{}, nil) })
	})
	story(t, "64 in one read", ipmb.Config{Handler: handler}, func(t *testing.T, w *world) {
		var burst []ipmb.Frame
		for i := range 64 {
			burst = append(burst, from(peer, uint8(i), cmdB, byte(i)))
		}
		w.hear(burst...)
		if !slices.Equal(served, upTo(64)) {
			t.Errorf("served %v", served)
		}
		w.until(time.Second)
		if n := len(w.answers(peer)); n != 64 {
			t.Errorf("%d answers", n)
		}
	})
}

// A bus that carries nothing refuses the frames that it has not sent, until a write succeeds.
func TestHeldLow(t *testing.T) {
	story(t, "256 calls to 4 responders end soon", ipmb.Config{}, func(t *testing.T, w *world) {
		var flights []*flight
		for i := range 256 {
			to := ipmi.Address(0x2C + 2*(i%4))
			w.place(to, blocks(time.Second, broken))
			flights = append(flights, w.start(ask(to, cmdA)))
		}
		for _, f := range flights {
			f.failed(ipmb.ErrStuck)
			if f.ended > 5*time.Second {
				t.Errorf("a call ended after %v", f.ended)
			}
		}
		w.start(ask(me, cmdA)).failed(ipmb.ErrStuck)
		if refused := w.count("calls-refused"); refused == 0 {
			t.Error("none was refused")
		}
		// The bus is let go. The next call tries it, and others follow.
		w.place(me, late(0))
		w.until(w.now().Truncate(time.Second) + 10*time.Second)
		w.do(ask(me, cmdA)).answered()
		w.do(ask(me, cmdA)).answered()
	})

	story(t, "while it is held one call a second tries the bus", ipmb.Config{RetryPolicy: ipmb.RetryPolicy{Tries: 1, Timeout: 100 * ms}}, func(t *testing.T, w *world) {
		w.place(me, blocks(time.Second, broken))
		for w.now() < 20*time.Second {
			w.do(ask(me, cmdA))
			time.Sleep(10 * ms)
		}
		if n := len(w.writes(me)); n < 8 || n > 21 {
			t.Errorf("%d writes in 20 s", n)
		}
	})

	story(t, "no acknowledgement is no failure of the bus", ipmb.Config{}, func(t *testing.T, w *world) {
		for range 10 {
			w.do(ask(me, cmdA)).failed(ipmb.ErrNotAcknowledged)
		}
		if n := w.count("calls-refused"); n != 0 {
			t.Errorf("%d were refused", n)
		}
	})
}
