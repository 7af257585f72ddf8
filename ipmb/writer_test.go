package ipmb_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// order returns the kinds of the frames written from the n-th on: 'a' for an answer, the
// letter of a responder for a request.
func (w *world) order(n int, letters map[ipmi.Address]byte) string {
	w.t.Helper()
	var order []byte
	for _, sent := range w.allWrites()[n:] {
		f := sent.frame(w.t)
		if f.NetFn.IsResponse() {
			order = append(order, 'a')
		} else {
			order = append(order, letters[f.Destination])
		}
	}
	return string(order)
}

// busy makes the wire busy until 50 ms, so that frames have to queue.
func (w *world) busy() {
	w.place(other, blocks(50*ms, silent))
	w.start(ask(other, cmdA))
	synctest.Wait()
}

func TestWriter(t *testing.T) {
	const a, b, c ipmi.Address = 0x60, 0x62, 0x64
	letters := map[ipmi.Address]byte{a: 'A', b: 'B', c: 'C', other: 'o'}
	handler := answering(ipmi.Response{}, nil)

	story(t, "answers before requests, at most 4 in a row while a request waits", ipmb.Config{Handler: handler}, func(t *testing.T, w *world) {
		w.place(a, silent)
		w.busy()
		w.startAll(3, ask(a, cmdA))
		for i := range 20 {
			w.hear(from(peer, uint8(i), cmdA))
		}
		w.until(60 * ms)
		if order := w.order(1, letters); order != "aaaaAaaaaAaaaaAaaaaaaaa" {
			t.Errorf("written in the order %s", order)
		}
	})

	story(t, "answers alone wait for nothing", ipmb.Config{Handler: handler}, func(t *testing.T, w *world) {
		w.busy()
		for i := range 20 {
			w.hear(from(peer, uint8(i), cmdA))
		}
		w.until(50 * ms)
		if n := len(w.answers(peer)); n != 20 {
			t.Errorf("%d answers were written at once, want 20", n)
		}
	})

	story(t, "answers are written in the order in which they were ready", ipmb.Config{Handler: handler}, func(t *testing.T, w *world) {
		w.busy()
		for i := range 20 {
			w.hear(from(peer, uint8(i), cmdA))
		}
		w.until(60 * ms)
		for i, answer := range w.answers(peer) {
			if int(answer.Sequence) != i {
				t.Fatalf("answer %d has number %d", i, answer.Sequence)
			}
		}
	})

	story(t, "responders take turns", ipmb.Config{}, func(t *testing.T, w *world) {
		for _, to := range []ipmi.Address{a, b, c} {
			w.place(to, silent)
		}
		w.busy()
		w.startAll(30, ask(a, cmdA))
		w.startAll(5, ask(b, cmdA))
		w.startAll(5, ask(c, cmdA))
		w.until(60 * ms)
		order := w.order(1, letters)
		if len(order) != 40 {
			t.Fatalf("%d requests were written", len(order))
		}
		written := map[byte]int{}
		for i := range 15 {
			written[order[i]]++
			for _, n := range written {
				if n > i/3+1 {
					t.Fatalf("written in the order %s", order)
				}
			}
		}
	})

	story(t, "a responder's requests leave in the order of their calls", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(a, silent)
		w.busy()
		flights := w.startAll(20, ask(a, cmdA))
		w.until(60 * ms)
		for i, sent := range w.writes(a) {
			if string(sent.frame(t).Data) != string(flights[i].request.Data) {
				t.Fatalf("request %d is not that of call %d", i, i)
			}
		}
	})

	story(t, "a responder that is not there does not hold up the others", ipmb.Config{}, func(t *testing.T, w *world) {
		w.byteTime = oneByte
		w.startAll(60, ask(a, cmdA)) // no node there: 12 writes each
		w.place(b, prompt)
		for range 50 {
			before := w.now()
			if took := w.do(ask(b, cmdA)).answered().ended - before; took > 5*ms {
				t.Errorf("a call took %v", took)
			}
		}
	})

	story(t, "a flood of requests does not stop our own", ipmb.Config{Handler: handler}, func(t *testing.T, w *world) {
		w.byteTime = oneByte
		w.place(a, prompt)
		stop := time.Now().Add(time.Second)
		go func() {
			for i := 0; time.Now().Before(stop); i++ {
				w.deliver(from(peer, uint8(i&63), cmdA, byte(i), byte(i>>8)).Append(nil))
				time.Sleep(300 * time.Microsecond) // two and a half times what the wire can answer
			}
		}()
		time.Sleep(300 * ms)
		for range 100 {
			before := w.now()
			if took := w.do(ask(a, cmdA)).answered().ended - before; took > 10*ms {
				t.Errorf("a call took %v", took)
			}
		}
		time.Sleep(time.Until(stop) + 10*ms)
	})

	story(t, "256 frames that came together are all served", ipmb.Config{Handler: handler}, func(t *testing.T, w *world) {
		frames := make([][]byte, 256)
		for i := range frames {
			frames[i] = from(peer, uint8(i&63), ipmi.Command(i>>6)).Append(nil)
		}
		w.place(peer, silent)
		w.deliver(frames[:64]...)
		synctest.Wait()
		w.deliver(frames[64:]...)
		synctest.Wait()
		answered, dropped := len(w.answers(peer)), int(w.count("dropped-answers-full"))
		if answered+dropped != 256 || answered < 128 {
			t.Errorf("%d answered, %d dropped, want 256 together", answered, dropped)
		}
	})
}
