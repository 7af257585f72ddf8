package bmc

import (
	"testing"
	"time"

	"ipmbd/ipmi"
)

func TestBootOptions(t *testing.T) {
	story(t, "as ipmitool chassis bootdev pxe sets them", func(t *testing.T, b *bench) {
		b.is("begin", b.chassis(0x08, "00 01"), "00")
		b.is("begin again", b.chassis(0x08, "00 01"), "81")
		b.is("progress", b.chassis(0x09, "00 00 00"), "00 01 00 01")
		b.is("acknowledge", b.chassis(0x08, "04 01 01"), "00")
		b.is("flags", b.chassis(0x08, "05 80 04 00 00 00"), "00")
		b.is("end", b.chassis(0x08, "00 00"), "00")
		b.is("progress", b.chassis(0x09, "00 00 00"), "00 01 00 00")
		b.is("flags", b.chassis(0x09, "05 00 00"), "00 01 05 80 04 00 00 00")
		b.is("of another host", b.on("host1", 1, ipmi.NetFnChassis, 0x09, "05 00 00"), "00 01 05 00 00 00 00 00")
	})

	story(t, "each parameter is read as it was set", func(t *testing.T, b *bench) {
		for _, tt := range []struct{ set, get, first string }{
			{"01 11", "01", "00"},
			{"02 03", "02", "00"},
			{"03 1F", "03", "00"},
			{"05 C0 3C 01 02 03", "05", "00 00 00 00 00"},
			{"06 0F 01020304 05060708", "06", "00 00000000 00000000"},
		} {
			b.is("at first", b.chassis(0x09, tt.get+"0000"), "00 01"+tt.get+tt.first)
			b.is("set "+tt.set, b.chassis(0x08, tt.set), "00")
			b.is("get "+tt.get, b.chassis(0x09, tt.get+"0000"), "00 01"+tt.set)
		}
	})

	story(t, "acknowledgements are set bit by bit", func(t *testing.T, b *bench) {
		b.is("set two", b.chassis(0x08, "04 03 03"), "00")
		b.is("get", b.chassis(0x09, "04 00 00"), "00 01 04 00 03")
		b.is("set another, clear one", b.chassis(0x08, "04 05 04"), "00")
		b.is("get", b.chassis(0x09, "04 00 00"), "00 01 04 00 06")
	})

	story(t, "a parameter is locked and unlocked, with its data or without", func(t *testing.T, b *bench) {
		b.is("set", b.chassis(0x08, "81 22"), "00")
		b.is("get", b.chassis(0x09, "01 00 00"), "00 01 81 22")
		b.is("unlock", b.chassis(0x08, "01"), "00")
		b.is("get", b.chassis(0x09, "01 00 00"), "00 01 01 22")
		b.is("lock the mailbox", b.chassis(0x08, "87"), "00")
		b.is("get", b.chassis(0x09, "07 00 00"), "00 01 87 00 00000000000000000000000000000000")
	})

	story(t, "the mailbox has blocks", func(t *testing.T, b *bench) {
		b.is("set the last", b.chassis(0x08, "07 04 000102030405060708090A0B0C0D0E0F"), "00")
		b.is("set part of the first", b.chassis(0x08, "07 00 A1B2"), "00")
		b.is("get the last", b.chassis(0x09, "07 04 00"), "00 01 07 04 000102030405060708090A0B0C0D0E0F")
		b.is("get the first", b.chassis(0x09, "07 00 00"), "00 01 07 00 A1B20000000000000000000000000000")
		b.is("set one byte of it", b.chassis(0x08, "07 00 C3"), "00")
		b.is("the others stay", b.chassis(0x09, "07 00 00"), "00 01 07 00 C3B20000000000000000000000000000")
		b.is("get one too many", b.chassis(0x09, "07 05 00"), "C9")
		b.is("set one too many", b.chassis(0x08, "07 05 00"), "C9")
	})
}

func TestBootFlags(t *testing.T) {
	const set, valid, over = "05 80 04 00 00 00", "00 01 05 80 04 00 00 00", "00 01 05 00 04 00 00 00"

	story(t, "are persistent only while they are valid", func(t *testing.T, b *bench) {
		b.is("set", b.chassis(0x08, "05 40 04 00 00 00"), "00")
		b.is("never persistent", b.chassis(0x09, "05 00 00"), "00 01 05 00 04 00 00 00")
		b.is("set", b.chassis(0x08, "05 C0 04 00 00 00"), "00")
		time.Sleep(time.Minute)
		b.is("no longer persistent", b.chassis(0x09, "05 00 00"), over)
	})

	story(t, "are valid for a minute", func(t *testing.T, b *bench) {
		b.is("set", b.chassis(0x08, set), "00")
		time.Sleep(59 * time.Second)
		b.is("59 s later", b.chassis(0x09, "05 00 00"), valid)
		time.Sleep(time.Second)
		b.is("60 s later", b.chassis(0x09, "05 00 00"), over)
		b.is("set again", b.chassis(0x08, set), "00")
		b.is("valid again", b.chassis(0x09, "05 00 00"), valid)
	})

	runs(t, "have another minute from a Chassis Control on", func(t *testing.T, r *rig) {
		r.is("set", r.chassis(0x08, set), "00")
		time.Sleep(50 * time.Second)
		r.is("reset", r.chassis(0x02, "03"), "00")
		time.Sleep(59 * time.Second)
		r.is("59 s later", r.chassis(0x09, "05 00 00"), valid)
		time.Sleep(time.Second)
		r.is("too late", r.chassis(0x02, "03"), "00")
		r.is("60 s later", r.chassis(0x09, "05 00 00"), over)
	})

	story(t, "are valid forever when flag clearing says so", func(t *testing.T, b *bench) {
		b.is("no time-out", b.chassis(0x08, "03 08"), "00")
		b.is("set", b.chassis(0x08, set), "00")
		time.Sleep(time.Hour)
		b.is("an hour later", b.chassis(0x09, "05 00 00"), valid)
	})

	story(t, "that were over are not valid again when flag clearing says forever", func(t *testing.T, b *bench) {
		b.is("set", b.chassis(0x08, set), "00")
		time.Sleep(time.Minute)
		b.is("no time-out", b.chassis(0x08, "03 08"), "00")
		b.is("get", b.chassis(0x09, "05 00 00"), over)
	})

	for clearing, want := range map[string]string{"00": over, "08": valid} {
		story(t, "have another minute from a restart on, flag clearing is "+clearing, func(t *testing.T, b *bench) {
			kept := newJournal(nil)
			b.bmc = opened(t, Config{journal: kept})
			b.is("flag clearing", b.chassis(0x08, "03"+clearing), "00")
			b.is("set", b.chassis(0x08, set), "00")
			time.Sleep(50 * time.Second)
			b.bmc = opened(t, Config{journal: kept})
			time.Sleep(59 * time.Second)
			b.is("59 s later", b.chassis(0x09, "05 00 00"), valid)
			time.Sleep(time.Second)
			b.is("60 s later", b.chassis(0x09, "05 00 00"), want)
		})
	}

	for clearing, want := range map[string]string{"00": over, "04": valid} {
		runs(t, "the watchdog resets, flag clearing is "+clearing, func(t *testing.T, r *rig) {
			r.is("flag clearing", r.chassis(0x08, "03"+clearing), "00")
			r.is("set", r.chassis(0x08, set), "00")
			r.is("watchdog", r.app(setTimer, "04 01 00 00 0000"), "00")
			r.is("expires", r.app(resetTimer, ""), "00")
			r.done("machine", "host0 0: hard reset")
			r.is("get", r.chassis(0x09, "05 00 00"), want)
		})
	}
}

func TestSettings(t *testing.T) {
	story(t, "what cannot be kept is not acknowledged", func(t *testing.T, b *bench) {
		b.bmc.onDisk(func() error { return ipmi.ErrNoSpace })
		b.is("boot option", b.chassis(0x08, "01 11"), "C4")
		b.is("lock", b.chassis(0x08, "81"), "C4")
		b.is("policy", b.chassis(0x06, "01"), "C4")
		b.is("system info", b.app(0x58, "02 00 00"), "C4")
		b.is("user name", b.app(0x45, "02 41000000000000000000000000000000"), "C4")
		b.is("password", b.app(0x47, "02 02 41000000000000000000000000000000"), "C4")
		b.is("LAN", b.transport(0x01, "01 03 0A000001"), "C4")
	})

	story(t, "what is kept outlives the BMC", func(t *testing.T, b *bench) {
		kept := newJournal(nil)
		b.bmc = opened(t, Config{journal: kept})
		b.is("set", b.chassis(0x08, "05 80 04 00 00 00"), "00")
		b.bmc = opened(t, Config{journal: kept})
		b.is("get", b.chassis(0x09, "05 00 00"), "00 01 05 80 04 00 00 00")
	})

	story(t, "values of another length are none", func(t *testing.T, b *bench) {
		b.is("set boot flags", b.chassis(0x08, "05 80 04 00 00 00"), "00")
		b.is("set a policy", b.chassis(0x06, "01"), "00 07")
		b.is("set system info", b.app(0x58, "02 00 01"), "00")
		b.is("set access", b.app(0x43, "8E 02 04"), "00")
		b.is("enable a user", b.app(0x47, "02 01"), "00")
		b.is("set a password", b.app(0x47, "02 02 41000000000000000000000000000000"), "00")
		for name := range b.bmc.journal.values {
			b.bmc.journal.values[name] = make([]byte, 3)
		}
		b.is("boot flags", b.chassis(0x09, "05 00 00"), "00 01 05 00 00 00 00 00")
		b.is("status", b.chassis(0x01, ""), "00 01 00 40")
		b.is("system info", b.app(0x59, "00 02 00 00"), "00 11 00 00000000000000000000000000000000")
		b.is("user", b.app(0x44, "0E 02"), "00 0A 80 01 0F")
		b.is("password", b.app(0x47, "02 03 41000000000000000000000000000000"), "80")
	})

	story(t, "refused boot flags do not keep those that are there", func(t *testing.T, b *bench) {
		b.is("set", b.chassis(0x08, "05 80 04 00 00 00"), "00")
		time.Sleep(50 * time.Second)
		b.bmc.onDisk(func() error { return ipmi.ErrNoSpace })
		b.is("set others", b.chassis(0x08, "05 80 08 00 00 00"), "C4")
		b.bmc.onDisk(func() error { return nil })
		b.is("still valid", b.chassis(0x09, "05 00 00"), "00 01 05 80 04 00 00 00")
		time.Sleep(20 * time.Second)
		b.is("over", b.chassis(0x09, "05 00 00"), "00 01 05 00 04 00 00 00")
	})

	story(t, "boot flags end when that can be stored again", func(t *testing.T, b *bench) {
		b.is("set", b.chassis(0x08, "05 80 04 00 00 00"), "00")
		b.bmc.HostReset(0)
		b.bmc.onDisk(func() error { return ipmi.ErrNoSpace })
		b.is("on a full disk", b.chassis(0x09, "05 00 00"), "C4")
		b.bmc.onDisk(func() error { return nil })
		b.is("then", b.chassis(0x09, "05 00 00"), "00 01 05 00 04 00 00 00")
	})

	runs(t, "a full disk at a cold reset", func(t *testing.T, r *rig) {
		r.is("set", r.chassis(0x08, "01 11"), "00")
		r.bmc.onDisk(func() error { return ipmi.ErrNoSpace })
		r.is("cold", r.app(0x02, ""), "C4")
		r.is("as before", r.chassis(0x09, "01 00 00"), "00 01 01 11")
	})

	runs(t, "a full disk when boot flags expire", func(t *testing.T, r *rig) {
		r.is("set", r.chassis(0x08, "05 80 04 00 00 00"), "00")
		r.bmc.onDisk(func() error { return ipmi.ErrNoSpace })
		r.is("watchdog", r.app(setTimer, "04 01 00 00 0000"), "00")
		r.is("expires", r.app(resetTimer, ""), "00")
		r.expired.expect(r.t, "expired", "host0 0: time-out, use 4, action 1, interrupt 0, "+ipmi.ErrNoSpace.Error())
		time.Sleep(time.Minute)
		r.is("get", r.chassis(0x09, "05 00 00"), "C4")
	})
}
