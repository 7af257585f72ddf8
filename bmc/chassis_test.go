package bmc

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmi"
)

func TestChassisControl(t *testing.T) {
	runs(t, "each action is done", func(t *testing.T, r *rig) {
		for i, want := range []string{"power down", "power up", "power cycle", "hard reset", "diagnostic interrupt", "soft shutdown"} {
			r.is(want, r.on("host1", 1, ipmi.NetFnChassis, 0x02, "0"+string(rune('0'+i))), "00")
			r.done(want, "host1 1: "+want)
		}
	})

	t.Run("an action that there is not has no name", func(t *testing.T) {
		if got := (SoftShutdown + 1).String(); got != "unknown action" {
			t.Error(got)
		}
	})

	runs(t, "what is off cannot be cycled", func(t *testing.T, r *rig) {
		r.machine.off = true
		r.is("cycle", r.chassis(0x02, "02"), "D5")
		r.done("machine")
	})

	story(t, "nothing is done without a machine", func(t *testing.T, b *bench) {
		for _, action := range []string{"00", "01", "02", "03", "04", "05"} {
			b.is("control", b.chassis(0x02, action), "D5")
		}
		b.is("cause", b.chassis(0x07, ""), "00 00 00")
	})

	runs(t, "a machine that cannot, and one that fails", func(t *testing.T, r *rig) {
		r.machine.fail = ipmi.ErrUnsupported
		r.is("cannot", r.chassis(0x02, "03"), "D5")
		r.machine.fail = errors.New("wire cut")
		r.is("fails", r.chassis(0x02, "03"), "FF")
		r.is("cause", r.chassis(0x07, ""), "00 00 00")
	})
}

func TestChassisStatus(t *testing.T) {
	story(t, "a host without a machine is on", func(t *testing.T, b *bench) {
		b.is("status", b.chassis(0x01, ""), "00 01 00 40")
		b.is("capabilities", b.chassis(0x00, ""), "00 00 00 20 20 20 20")
	})

	runs(t, "power and last power event follow what was done", func(t *testing.T, r *rig) {
		r.is("down", r.chassis(0x02, "00"), "00")
		r.is("status", r.chassis(0x01, ""), "00 00 00 40")
		r.is("up", r.chassis(0x02, "01"), "00")
		r.is("status", r.chassis(0x01, ""), "00 01 10 40")
		r.is("of another host", r.on("host1", 1, ipmi.NetFnChassis, 0x01, ""), "00 01 00 40")
		r.is("watchdog", r.app(setTimer, "04 03 00 00 0000"), "00")
		r.is("expires", r.app(resetTimer, ""), "00")
		r.done("machine", "host0 0: power down", "host0 0: power up", "host0 0: power cycle")
		r.is("not by a command", r.chassis(0x01, ""), "00 01 00 40")
	})

	story(t, "power restore policy", func(t *testing.T, b *bench) {
		for policy, status := range map[string]string{"00": "00 01 00 40", "01": "00 21 00 40", "02": "00 41 00 40"} {
			b.is("set", b.chassis(0x06, policy), "00 07")
			b.is("set no change", b.chassis(0x06, "03"), "00 07")
			b.is("status", b.chassis(0x01, ""), status)
		}
	})

	story(t, "identify", func(t *testing.T, b *bench) {
		identifies := func(what, data, want string) {
			t.Helper()
			b.is(what, b.chassis(0x04, data), "00")
			b.is(what, b.chassis(0x01, ""), want)
		}
		const off, on, forever = "00 01 00 40", "00 01 00 50", "00 01 00 60"
		identifies("for 15 s", "", on)
		time.Sleep(14 * time.Second)
		b.is("14 s later", b.chassis(0x01, ""), on)
		time.Sleep(time.Second)
		b.is("15 s later", b.chassis(0x01, ""), off)
		identifies("for 3 s", "03 00", on)
		identifies("end", "00", off)
		identifies("forever", "03 01", forever)
		time.Sleep(time.Hour)
		b.is("an hour later", b.chassis(0x01, ""), forever)
		identifies("end", "00 00", off)
	})

	runs(t, "what is on does not start again", func(t *testing.T, r *rig) {
		r.is("up", r.chassis(0x02, "01"), "00")
		r.is("status", r.chassis(0x01, ""), "00 01 00 40")
		r.is("cause", r.chassis(0x07, ""), "00 00 00")
	})

	runs(t, "restart cause", func(t *testing.T, r *rig) {
		r.is("unknown", r.chassis(0x07, ""), "00 00 00")
		r.is("reset", r.chassis(0x02, "03"), "00")
		r.is("chassis control", r.chassis(0x07, ""), "00 01 0F")
		r.is("watchdog", r.app(setTimer, "04 01 00 00 0000"), "00")
		r.is("expires", r.app(resetTimer, ""), "00")
		r.done("machine", "host0 0: hard reset", "host0 0: hard reset")
		r.is("watchdog", r.chassis(0x07, ""), "00 04 0F")
		r.is("down", r.chassis(0x02, "00"), "00")
		r.is("the last one stays", r.chassis(0x07, ""), "00 04 0F")
	})

	story(t, "power-on hours", func(t *testing.T, b *bench) {
		b.is("none", b.chassis(0x0F, ""), "00 3C 00000000")
		time.Sleep(300*time.Hour + 59*time.Minute)
		b.is("300", b.chassis(0x0F, ""), "00 3C 2C010000")
	})

	runs(t, "power-on hours go on after a restart", func(t *testing.T, r *rig) {
		time.Sleep(300*time.Hour + time.Minute)
		r.is("300", r.chassis(0x0F, ""), "00 3C 2C010000")
		synctest.Wait() // The hours are in the journal.
		r.bmc = opened(t, Config{journal: r.bmc.journal})
		time.Sleep(2 * time.Hour)
		r.is("302", r.chassis(0x0F, ""), "00 3C 2E010000")
	})
}
