package bmc

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmi"
)

const (
	resetTimer ipmi.Command = 0x22
	setTimer   ipmi.Command = 0x24
	getTimer   ipmi.Command = 0x25
)

func TestWatchdog(t *testing.T) {
	runs(t, "it is not initialized before the first set", func(t *testing.T, r *rig) {
		r.is("reset", r.app(resetTimer, ""), "80")
		r.is("get", r.app(getTimer, ""), "00 00 00 00 00 0000 0000")
	})

	runs(t, "a set one does not run", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "04 01 00 00 6400"), "00")
		time.Sleep(time.Hour)
		r.is("get", r.app(getTimer, ""), "00 04 01 00 00 6400 6400")
		r.expired.expect(r.t, "expiries")
	})

	runs(t, "it counts down, and a reset starts again", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "44 01 00 00 6400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.is("at once", r.app(getTimer, ""), "00 44 01 00 00 6400 6400")
		time.Sleep(2550 * time.Millisecond)
		r.is("2.55 s later", r.app(getTimer, ""), "00 44 01 00 00 6400 4B00")
		for range 100 {
			r.is("reset", r.app(resetTimer, ""), "00")
			time.Sleep(9 * time.Second)
		}
		r.expired.expect(r.t, "expiries")
		r.done("machine")
	})

	runs(t, "it ends with its interface, and the next one's is another", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "04 01 00 00 6400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.bmc.InterfaceGone("host0")
		r.is("get", r.app(getTimer, ""), "00 00 00 00 00 0000 0000")
		r.is("reset", r.app(resetTimer, ""), "80")
		time.Sleep(time.Hour)
		r.expired.expect(r.t, "expiries")
	})

	for _, tt := range []struct{ name, set, did, event, expired, flag string }{
		{"no action", "01 00 00 00 0A00", "", "C0 01 FF", "use 1, action 0", "02"},
		{"reset", "02 01 00 00 0A00", "host0 0: hard reset", "C1 02 FF", "use 2, action 1", "04"},
		{"power down", "03 02 00 00 0A00", "host0 0: power down", "C2 03 FF", "use 3, action 2", "08"},
		{"power cycle", "05 03 00 00 0A00", "host0 0: power cycle", "C3 05 FF", "use 5, action 3", "20"},
	} {
		runs(t, "it expires with "+tt.name, func(t *testing.T, r *rig) {
			r.is("set", r.app(setTimer, tt.set), "00")
			r.is("reset", r.app(resetTimer, ""), "00")
			time.Sleep(999 * time.Millisecond)
			r.expired.expect(r.t, "too early")
			time.Sleep(time.Millisecond)
			r.expired.expect(r.t, "expired", "host0 0: time-out, "+tt.expired+", interrupt 0, <nil>")
			r.logged("log", "host0 0020 04 23 00 6F "+tt.event)
			if tt.did == "" {
				r.done("machine")
			} else {
				r.done("machine", tt.did)
			}
			r.is("get", r.app(getTimer, ""), "00"+tt.set[:5]+"00"+tt.flag+"0A00 0000")
			time.Sleep(time.Hour)
			r.expired.expect(r.t, "only once")
		})
	}

	runs(t, "don't log", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "84 20 01 00 1400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.is("get", r.app(getTimer, ""), "00 C4 20 01 00 1400 1400")
		time.Sleep(2 * time.Second)
		r.expired.expect(r.t, "expired",
			"host0 0: pre-timeout, use 4, action 0, interrupt 2, <nil>",
			"host0 0: time-out, use 4, action 0, interrupt 2, <nil>")
		r.logged("log")
	})

	runs(t, "don't log is for one expiry", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "84 00 00 3E 0200"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(200 * time.Millisecond)
		r.expired.expect(r.t, "expired", "host0 0: time-out, use 4, action 0, interrupt 0, <nil>")
		r.logged("log")
		r.is("get", r.app(getTimer, ""), "00 04 00 00 10 0200 0000")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(200 * time.Millisecond)
		r.expired.expect(r.t, "expired", "host0 0: time-out, use 4, action 0, interrupt 0, <nil>")
		r.logged("log", "host0 0020 04 23 00 6F C0 04 FF")
	})

	runs(t, "expiration flags stay until they are cleared by ones", func(t *testing.T, r *rig) {
		for _, use := range []string{"04", "05"} {
			r.is("set", r.app(setTimer, use+"00 00 00 0100"), "00")
			r.is("reset", r.app(resetTimer, ""), "00")
			time.Sleep(time.Second)
		}
		r.is("both", r.app(getTimer, ""), "00 05 00 00 30 0100 0000")
		r.is("clear one", r.app(setTimer, "04 00 00 10 0100"), "00")
		r.is("the other", r.app(getTimer, ""), "00 04 00 00 20 0100 0100")
		r.is("clear all", r.app(setTimer, "04 00 00 3E 0100"), "00")
		r.is("none", r.app(getTimer, ""), "00 04 00 00 00 0100 0100")
	})

	runs(t, "a set stops it, unless it says don't stop", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "04 01 00 00 6400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.is("set while it runs", r.app(setTimer, "44 01 00 00 C800"), "00")
		time.Sleep(time.Second)
		r.is("it runs", r.app(getTimer, ""), "00 44 01 00 00 C800 BE00")
		r.is("set", r.app(setTimer, "04 01 00 00 6400"), "00")
		r.is("it stands", r.app(getTimer, ""), "00 04 01 00 00 6400 6400")
		r.is("don't stop what stands", r.app(setTimer, "44 01 00 00 6400"), "00")
		r.is("it stands", r.app(getTimer, ""), "00 04 01 00 00 6400 6400")
		time.Sleep(time.Hour)
		r.expired.expect(r.t, "expiries")
	})

	runs(t, "a countdown of zero expires at once", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "04 01 00 00 0000"), "00")
		r.expired.expect(r.t, "not by set")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.expired.expect(r.t, "by reset", "host0 0: time-out, use 4, action 1, interrupt 0, <nil>")
	})

	runs(t, "each interface has its own", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "04 01 00 00 0A00"), "00")
		r.is("set the other's", r.on("host1", 1, ipmi.NetFnApp, setTimer, "04 02 00 00 1400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.is("reset the other's", r.on("host1", 1, ipmi.NetFnApp, resetTimer, ""), "00")
		r.is("a third has none", r.on("host2", 2, ipmi.NetFnApp, resetTimer, ""), "80")
		time.Sleep(time.Second)
		r.done("machine", "host0 0: hard reset")
		time.Sleep(time.Second)
		r.done("machine", "host1 1: power down")
		r.logged("log", "host0 0020 04 23 00 6F C1 04 FF", "host1 0020 04 23 00 6F C2 04 FF")
	})

	runs(t, "a slow machine does not hold up the others", func(t *testing.T, r *rig) {
		r.machine.slow = make(chan struct{})
		r.is("set", r.app(setTimer, "04 01 00 00 0A00"), "00")
		r.is("set the other's", r.on("host1", 1, ipmi.NetFnApp, setTimer, "04 00 00 00 1400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.is("reset the other's", r.on("host1", 1, ipmi.NetFnApp, resetTimer, ""), "00")
		time.Sleep(time.Second)
		synctest.Wait()
		r.is("it has expired", r.app(getTimer, ""), "00 04 01 00 10 0A00 0000")
		r.is("set again", r.app(setTimer, "04 01 00 00 0000"), "00")
		r.is("reset again", r.app(resetTimer, ""), "00")
		time.Sleep(time.Second)
		r.expired.expect(r.t, "the other", "host1 1: time-out, use 4, action 0, interrupt 0, <nil>")
		close(r.machine.slow)
		r.done("one after the other", "host0 0: hard reset")
		r.expired.expect(r.t, "the first", "host0 0: time-out, use 4, action 1, interrupt 0, <nil>")
	})

	runs(t, "its action is in time while its interrupt hangs", func(t *testing.T, r *rig) {
		r.machine.slow, r.machine.hangs = make(chan struct{}), PulseDiagnosticInterrupt
		r.is("set", r.app(setTimer, "44 21 01 00 1400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(2 * time.Second)
		r.done("in time", "host0 0: hard reset")
		r.expired.expect(r.t, "it is told of after the interrupt")
		r.logged("logged after it")
		// The host runs again, and hangs again.
		r.is("set", r.app(setTimer, "44 21 01 00 1400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(2 * time.Second)
		r.done("in time", "host0 0: hard reset")
		close(r.machine.slow)
		r.done("the interrupt", "host0 0: diagnostic interrupt")
		r.expired.expect(r.t, "in order",
			"host0 0: pre-timeout, use 4, action 1, interrupt 2, <nil>",
			"host0 0: time-out, use 4, action 1, interrupt 2, <nil>",
			"host0 0: time-out, use 4, action 1, interrupt 2, <nil>")
		r.logged("in order", "host0 0020 04 23 00 6F C8 24 FF", "host0 0020 04 23 00 6F C1 24 FF", "host0 0020 04 23 00 6F C1 24 FF")
	})

	runs(t, "its actions are in time while the log hangs, as many as it keeps in mind", func(t *testing.T, r *rig) {
		slow := make(chan struct{})
		logged := r.bmc.config.LogEvent
		r.bmc.config.LogEvent = func(ctx context.Context, e ipmi.Event) {
			<-slow
			logged(ctx, e)
		}
		for i := range maxPendingReports + 1 {
			r.is("set", r.app(setTimer, fmt.Sprintf("%02X 01 00 00 0A00", 1+i%5)), "00")
			r.is("reset", r.app(resetTimer, ""), "00")
			time.Sleep(time.Second)
			if i < maxPendingReports {
				r.done("in time", "host0 0: hard reset")
			}
		}
		r.done("one too many")
		r.expired.expect(r.t, "the first", "host0 0: time-out, use 1, action 1, interrupt 0, <nil>")
		close(slow)
		r.done("there is room", "host0 0: hard reset")
		var events []string
		for i := range maxPendingReports + 1 {
			events = append(events, fmt.Sprintf("host0 0020 04 23 00 6F C1 %02X FF", 1+i%5))
		}
		r.logged("in order", events...)
	})

	runs(t, "what the machine cannot do is told and logged", func(t *testing.T, r *rig) {
		r.machine.fail = ipmi.ErrUnsupported
		r.is("set", r.app(setTimer, "04 01 00 00 0A00"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(time.Second)
		r.expired.expect(r.t, "expired", "host0 0: time-out, use 4, action 1, interrupt 0, no way to do that")
		r.logged("log", "host0 0020 04 23 00 6F C1 04 FF")
	})

	runs(t, "a host that is reset has no watchdog that runs", func(t *testing.T, r *rig) {
		for _, action := range []string{"00", "03"} {
			r.is("set", r.app(setTimer, "04 01 00 00 0A00"), "00")
			r.is("reset", r.app(resetTimer, ""), "00")
			r.is("chassis control", r.chassis(0x02, action), "00")
			r.is("it stands", r.app(getTimer, ""), "00 04 01 00 00 0A00 0A00")
			r.is("it is not initialized", r.app(resetTimer, ""), "80")
		}
		r.is("set", r.app(setTimer, "04 01 00 00 0A00"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.is("does not stop it", r.chassis(0x02, "04"), "00")
		r.is("it runs", r.app(getTimer, ""), "00 44 01 00 00 0A00 0A00")
	})

	runs(t, "one that is started while a slow machine resets the host runs on", func(t *testing.T, r *rig) {
		r.machine.slow = make(chan struct{})
		r.is("set", r.app(setTimer, "04 00 00 00 6400"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		var control sync.WaitGroup
		control.Go(func() { r.is("chassis control", r.chassis(0x02, "03"), "00") })
		time.Sleep(time.Second)
		r.is("the host starts it again", r.app(resetTimer, ""), "00")
		close(r.machine.slow)
		control.Wait()
		r.is("it runs", r.app(getTimer, ""), "00 44 00 00 00 6400 6400")
	})

	story(t, "without anything configured, the built-in log has the event", func(t *testing.T, b *bench) {
		b.is("set", b.app(setTimer, "04 01 00 00 0000"), "00")
		b.is("reset", b.app(resetTimer, ""), "00")
		due, _ := b.bmc.expireWatchdogs(time.Now())
		b.bmc.handleExpiration(t.Context(), due[0])
		b.is("first record", b.storage(0x43, "0000 0000 00 FF"), "00 FFFF 0100 02 80436D38 2000 04 23 00 6F C1 04 FF")
	})
}

func TestPreTimeout(t *testing.T) {
	runs(t, "a messaging interrupt is pending until it is cleared", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "44 31 03 00 3C00"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(3 * time.Second)
		r.pending.expect(r.t, "pending", "host0 true")
		r.expired.expect(r.t, "expired", "host0 0: pre-timeout, use 4, action 1, interrupt 3, <nil>")
		r.logged("log", "host0 0020 04 23 00 6F C8 34 FF")
		r.is("it runs on", r.app(getTimer, ""), "00 44 31 03 00 3C00 1E00")
		r.bmc.ClearPreTimeout(host0)
		r.bmc.ClearPreTimeout(host0)
		r.bmc.ClearPreTimeout("nobody")
		r.pending.expect(r.t, "cleared once", "host0 false")
		time.Sleep(3 * time.Second)
		r.expired.expect(r.t, "expired", "host0 0: time-out, use 4, action 1, interrupt 3, <nil>")
		r.logged("log", "host0 0020 04 23 00 6F C1 34 FF")
		r.pending.expect(r.t, "not again")
	})

	runs(t, "only a set ends the countdown once it has come", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "44 31 03 00 3C00"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(4 * time.Second)
		r.is("reset", r.app(resetTimer, ""), "D5")
		r.is("set", r.app(setTimer, "44 31 03 00 3C00"), "00")
		r.pending.expect(r.t, "pending, and cleared by the set", "host0 true", "host0 false")
		r.is("it runs from the new value", r.app(getTimer, ""), "00 44 31 03 00 3C00 3C00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(3 * time.Second)
		r.pending.expect(r.t, "pending again", "host0 true")
	})

	runs(t, "an NMI goes to the machine", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "44 21 63 00 E803"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(time.Second)
		r.done("machine", "host0 0: diagnostic interrupt")
		r.expired.expect(r.t, "expired", "host0 0: pre-timeout, use 4, action 1, interrupt 2, <nil>")
		r.logged("log", "host0 0020 04 23 00 6F C8 24 FF")
		r.pending.expect(r.t, "not a message")
	})

	runs(t, "one of no seconds comes with the time-out", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "04 32 00 00 0A00"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(time.Second)
		r.expired.expect(r.t, "expired",
			"host0 0: pre-timeout, use 4, action 2, interrupt 3, <nil>",
			"host0 0: time-out, use 4, action 2, interrupt 3, <nil>")
	})

	runs(t, "a reset of the host ends it", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "44 31 03 00 3C00"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(6 * time.Second)
		r.done("machine", "host0 0: hard reset")
		r.pending.expect(r.t, "pending, and no more", "host0 true", "host0 false")
	})

	runs(t, "a cold reset of the BMC ends it, but a warm one does not", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "44 31 03 00 3C00"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		time.Sleep(3 * time.Second)
		r.pending.expect(r.t, "pending", "host0 true")
		r.is("warm", r.app(0x03, ""), "00")
		r.is("it runs", r.app(getTimer, ""), "00 44 31 03 00 3C00 1E00")
		r.is("cold", r.app(0x02, ""), "00")
		r.pending.expect(r.t, "no more", "host0 false")
		r.is("it is as at first", r.app(getTimer, ""), "00 00 00 00 00 0000 0000")
		r.is("it is not initialized", r.app(resetTimer, ""), "80")
	})

	runs(t, "nobody listens", func(t *testing.T, r *rig) {
		r.bmc.config.PreTimeout, r.bmc.config.Watchdog = nil, nil
		r.is("set", r.app(setTimer, "04 30 00 00 0000"), "00")
		r.is("reset", r.app(resetTimer, ""), "00")
		r.logged("log", "host0 0020 04 23 00 6F C8 34 FF", "host0 0020 04 23 00 6F C0 34 FF")
	})
}
