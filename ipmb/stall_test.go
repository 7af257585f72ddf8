package ipmb_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// A write that stays in the kernel delays no call that can end with an error.
func TestStallHoldsNobody(t *testing.T) {
	story(t, "broadcasts end with the stall", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(0, blocks(time.Minute, silent))
		ends := make(chan time.Duration, 2)
		for range 2 { // one is being written, one waits
			go func() {
				if err := broadcast(t.Context(), w.engine, ipmi.NetFnApp, 0, cmdA, nil); err != ipmb.ErrStuck {
					t.Errorf("a broadcast ended with %v", err)
				}
				ends <- w.now()
			}()
		}
		for range 2 {
			if at := <-ends; at != ipmb.StallTime {
				t.Errorf("a broadcast ended at %v", at)
			}
		}
		time.Sleep(2 * time.Minute)
	})

	story(t, "an answer that the stall has made too old is not written", ipmb.Config{Handler: new(service)}, func(t *testing.T, w *world) {
		w.place(me, blocks(time.Minute, silent))
		w.start(ask(me, cmdA))
		w.until(time.Second)
		w.hear(from(peer, 5, cmdA))
		w.until(time.Minute - time.Second)
		w.hear(from(peer, 6, cmdA))
		time.Sleep(time.Minute)
		if a := w.answers(peer); len(a) != 1 || a[0].Sequence != 6 {
			t.Errorf("answers %v", a)
		}
		if n := w.count("answers-lost"); n != 1 {
			t.Errorf("%d answers were lost", n)
		}
	})

	story(t, "calls that it refuses are counted", ipmb.Config{}, func(t *testing.T, w *world) {
		w.place(me, blocks(10*time.Second, silent))
		w.start(ask(me, cmdA))
		w.until(3 * time.Second)
		for range 100 {
			w.start(ask(me, cmdB)).failed(ipmb.ErrStuck)
		}
		if n := w.count("calls-refused"); n != 100 {
			t.Errorf("%d refused calls were counted", n)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
	})
}
