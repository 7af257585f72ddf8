package bmc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ipmbd/ipmi"
)

// What section 27 of IPMI v2.0 asks for and the other tests of watchdogs do not hold. Each name
// begins with the section or table.
func TestSectionsOfTheWatchdog(t *testing.T) {
	story(t, "table 27-1: the mandatory commands are served", func(t *testing.T, b *bench) {
		b.serves(ipmi.NetFnApp, resetTimer, setTimer, getTimer)
	})

	const running, stopped = "00 44 01 00 00 6400 6400", "00 04 01 00 00 6400 6400"
	for state, want := range map[string]string{
		"80": running, "A0": running, "AA": running, "FF": running, "03": running,
		"81": stopped, "82": stopped, "83": stopped, "84": stopped, "85": stopped, "86": stopped, "87": stopped,
		"88": stopped, "89": stopped, "8A": stopped, "A1": stopped,
	} {
		runs(t, "27.7: the timer stops when the system sleeps or is off, state "+state+"h", func(t *testing.T, r *rig) {
			for number, name := range []string{"host0", "host1"} {
				r.is("set", r.on(name, number, ipmi.NetFnApp, setTimer, "04 01 00 00 6400"), "00")
				r.is("start", r.on(name, number, ipmi.NetFnApp, resetTimer, ""), "00")
			}
			r.is("state", r.app(0x06, state+"00"), "00")
			r.is("get", r.app(getTimer, ""), want)
			r.is("of another host", r.on("host1", 1, ipmi.NetFnApp, getTimer, ""), running)
			r.is("it can start again", r.app(resetTimer, ""), "00")
			r.is("get", r.app(getTimer, ""), running)
		})
	}

	runs(t, "27.4: an interval without an interrupt is no pre-timeout", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "04 01 01 00 1400"), "00")
		r.is("start", r.app(resetTimer, ""), "00")
		time.Sleep(1500 * time.Millisecond)
		r.expired.expect(r.t, "no pre-timeout")
		r.is("reset, after the interval has begun", r.app(resetTimer, ""), "00")
		time.Sleep(2 * time.Second)
		r.expired.expect(r.t, "expired", "host0 0: time-out, use 4, action 1, interrupt 0, <nil>")
	})

	for _, interrupt := range []string{"00", "20", "30"} {
		for _, action := range []string{"00", "01", "02", "03"} {
			runs(t, fmt.Sprintf("27.4: interrupt %sh and action %sh are apart", interrupt, action), func(t *testing.T, r *rig) {
				both := octets(interrupt)[0] | octets(action)[0]
				r.is("set", r.app(setTimer, fmt.Sprintf("04 %02X 01 00 1400", both)), "00")
				r.is("27.4.1: the selection is read", r.app(getTimer, ""), fmt.Sprintf("00 04 %02X 01 00 1400 1400", both))
				r.is("start", r.app(resetTimer, ""), "00")
				time.Sleep(2 * time.Second)
				rest := fmt.Sprintf("use 4, action %d, interrupt %d, <nil>", both&actionBits, both>>interruptShift)
				var want []string
				if interrupt != "00" {
					want = append(want, "host0 0: pre-timeout, "+rest)
				}
				r.expired.expect(r.t, "expired", append(want, "host0 0: time-out, "+rest)...)
			})
		}
	}

	runs(t, "27.6: parameters take effect at once with don't stop", func(t *testing.T, r *rig) {
		r.is("set", r.app(setTimer, "84 01 00 00 6400"), "00")
		r.is("start", r.app(resetTimer, ""), "00")
		r.is("set others", r.app(setTimer, "43 22 01 00 1400"), "00")
		time.Sleep(2 * time.Second)
		r.done("machine", "host0 0: diagnostic interrupt", "host0 0: power down")
		r.expired.expect(r.t, "expired", "host0 0: pre-timeout, use 3, action 2, interrupt 2, <nil>",
			"host0 0: time-out, use 3, action 2, interrupt 2, <nil>")
		r.logged("log", "host0 0020 04 23 00 6F C8 23 FF", "host0 0020 04 23 00 6F C2 23 FF")
	})

	runs(t, "27.6: flags that are not named stay as they are", func(t *testing.T, r *rig) {
		for use := 1; use <= 5; use++ {
			r.is("set", r.app(setTimer, fmt.Sprintf("%02X 00 00 00 0000", use)), "00")
			r.is("start", r.app(resetTimer, ""), "00")
			time.Sleep(time.Second)
		}
		for left, use := byte(0x3E), 1; use <= 5; use++ {
			left &^= 1 << use
			r.is("clear one", r.app(setTimer, fmt.Sprintf("04 00 00 %02X 0000", 1<<use)), "00")
			r.is("get", r.app(getTimer, ""), fmt.Sprintf("00 04 00 00 %02X 0000 0000", left))
		}
	})
}

// What section 28 asks for and the other tests of the chassis and of boot options do not hold.
func TestSectionsOfTheChassis(t *testing.T) {
	story(t, "table 28-1: the mandatory and the recommended commands are served", func(t *testing.T, b *bench) {
		b.serves(ipmi.NetFnChassis, 0x00, 0x01, 0x02, 0x07, 0x08, 0x09, 0x0F)
	})

	for id, want := range map[uint8]string{0: "00 00 20 20 20 20 20", 1: "00 00 00 20 20 20 20"} {
		story(t, fmt.Sprintf("28.1: FRU device %d", id), func(t *testing.T, b *bench) {
			b.bmc = opened(t, Config{FRUs: []FRUConfig{{Name: "Board", ID: id, Size: 16}}})
			b.is("capabilities", b.chassis(0x00, ""), want)
		})
	}

	story(t, "28.5: the command again begins the time again", func(t *testing.T, b *bench) {
		const off, on = "00 01 00 40", "00 01 00 50"
		b.is("identify", b.chassis(0x04, ""), "00")
		for range 10 {
			time.Sleep(15*time.Second - time.Millisecond)
			b.is("not less than 15 s", b.chassis(0x01, ""), on)
			b.is("identify", b.chassis(0x04, ""), "00")
		}
		b.is("of another host", b.on("host1", 1, ipmi.NetFnChassis, 0x01, ""), off)
		b.is("as long as can be", b.chassis(0x04, "FF"), "00")
		time.Sleep(255*time.Second - time.Millisecond)
		b.is("not less than 255 s", b.chassis(0x01, ""), on)
		time.Sleep(time.Millisecond)
		b.is("255 s later", b.chassis(0x01, ""), off)
	})

	story(t, "28.5: for ever overrides the interval", func(t *testing.T, b *bench) {
		b.is("identify", b.chassis(0x04, "00 01"), "00")
		time.Sleep(time.Hour)
		b.is("status", b.chassis(0x01, ""), "00 01 00 60")
		b.is("for a second instead", b.chassis(0x04, "01 00"), "00")
		time.Sleep(time.Second)
		b.is("status", b.chassis(0x01, ""), "00 01 00 40")
	})

	// What makes boot flags invalid, and the bit of flag clearing that keeps it from that.
	const flags, valid, over = "05 80 04 00 00 00", "00 01 05 80 04 00 00 00", "00 01 05 00 04 00 00 00"
	const always = 0xFF
	for _, tt := range []struct {
		steps string
		keeps byte
	}{
		{"the host is gone", keepAfterPowerUp},
		{"the host is reset", keepAfterReset},
		{"the watchdog resets", keepAfterWatchdog},
		{"1m0s", keepWithoutControl},
		{"59.999s", always},
		{"Chassis Control 00", always},
		{"Chassis Control 03, the host is reset", always},
		{"Chassis Control 02, the host is gone", always},
		{"50s, Chassis Control 04, 59.999s", always},
	} {
		for clearing := byte(0); clearing < 0x20; clearing++ {
			runs(t, fmt.Sprintf("28.12: boot flags, %s, flag clearing %02Xh", tt.steps, clearing), func(t *testing.T, r *rig) {
				r.is("flag clearing", r.chassis(0x08, fmt.Sprintf("03 %02X", clearing)), "00")
				r.is("set", r.chassis(0x08, flags), "00")
				for step := range strings.SplitSeq(tt.steps, ", ") {
					switch action, isControl := strings.CutPrefix(step, "Chassis Control "); {
					case isControl:
						r.is(step, r.chassis(0x02, action), "00")
					case step == "the host is gone":
						r.bmc.HostGone(0)
					case step == "the host is reset":
						r.bmc.HostReset(0)
					case step == "the watchdog resets":
						r.is("set", r.app(setTimer, "04 01 00 00 0000"), "00")
						r.is("start", r.app(resetTimer, ""), "00")
						r.done("machine", "host0 0: hard reset")
					default:
						d, err := time.ParseDuration(step)
						if err != nil {
							t.Fatal(err)
						}
						time.Sleep(d)
					}
				}
				want := over
				if clearing&tt.keeps != 0 || tt.keeps == always {
					want = valid
				}
				r.is("get", r.chassis(0x09, "05 00 00"), want)
			})
		}
	}

	story(t, "28.13: the mailbox keeps 80 bytes", func(t *testing.T, b *bench) {
		at := func(block int) string { return fmt.Sprintf("07 %02X", block) }
		data := func(block int) string { return strings.Repeat(fmt.Sprintf("%02X", 0xA0+block), mailboxBlock) }
		for block := range 5 {
			b.is("set", b.chassis(0x08, at(block)+data(block)), "00")
		}
		for block := range 5 {
			b.is("get", b.chassis(0x09, at(block)+"00"), "00 01"+at(block)+data(block))
		}
	})

	story(t, "28.13: a parameter that is locked can be set", func(t *testing.T, b *bench) {
		b.is("lock", b.chassis(0x08, "81 11"), "00")
		b.is("set, still locked", b.chassis(0x08, "81 22"), "00")
		b.is("get", b.chassis(0x09, "01 00 00"), "00 01 81 22")
		b.is("set, unlocked", b.chassis(0x08, "01 33"), "00")
		b.is("get", b.chassis(0x09, "01 00 00"), "00 01 01 33")
	})

	story(t, "28.13: a change takes effect at once, set in progress or not", func(t *testing.T, b *bench) {
		b.is("begin", b.chassis(0x08, "00 01"), "00")
		b.is("set", b.chassis(0x08, "01 11"), "00")
		b.is("get", b.chassis(0x09, "01 00 00"), "00 01 01 11")
		b.is("end", b.chassis(0x08, "00 00"), "00")
		b.is("it stays", b.chassis(0x09, "01 00 00"), "00 01 01 11")
	})
}
