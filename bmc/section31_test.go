package bmc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ipmbd/ipmi"
)

// What sections 31 and 32 of IPMI v2.0 ask for and the other tests of the log do not hold. Each
// name begins with the section or table.
func TestSectionsOfTheLog(t *testing.T) {
	const clear, progress = "434C52 AA", "434C52 00"

	story(t, "table 31-1: the mandatory commands are served", func(t *testing.T, b *bench) {
		b.serves(ipmi.NetFnStorage, 0x40, 0x43, 0x44, 0x47, 0x48, 0x49)
		b.serves(ipmi.NetFnStorage, 0x5C) // mandatory where 5Dh is served
	})

	story(t, "31: records stay in their order, and can be read in any", func(t *testing.T, b *bench) {
		for _, letter := range []string{"A1", "A2", "A3", "A4"} {
			b.storage(0x44, "FFFF E0"+strings.Repeat(letter, 13))
		}
		b.is("delete the second", b.storage(0x46, b.reserves()+"0200"), "00 0200")
		b.is("add one", b.storage(0x44, "FFFF E0"+strings.Repeat("A5", 13)), "00 0500")
		b.is("the fourth", b.storage(0x43, "0000 0400 03 00"), "C5")
		b.is("the fourth", b.storage(0x43, "0000 0400 00 04"), "00 0500 0400 E0 A4")
		b.is("the first", b.storage(0x43, "0000 0100 00 04"), "00 0300 0100 E0 A1")
		b.is("the third", b.storage(0x43, "0000 0300 00 04"), "00 0400 0300 E0 A3")
		b.is("the fifth", b.storage(0x43, "0000 0500 00 04"), "00 FFFF 0500 E0 A5")
	})

	story(t, "31.2: the times of addition and erasure are apart", func(t *testing.T, b *bench) {
		times := func(what, want string) { t.Helper(); b.is(what, b.storage(0x40, "")[6:14], want) }
		times("never", "FFFFFFFF FFFFFFFF")
		b.is("time", b.storage(0x49, "00000050"), "00")
		b.storage(0x44, someRecord)
		times("added", "00000050 FFFFFFFF")
		time.Sleep(time.Second)
		b.is("an OEM record", b.storage(0x44, "FFFF E0"+strings.Repeat("00", 13)), "00 0200")
		times("a record without a time", "01000050 FFFFFFFF")
		time.Sleep(time.Second)
		b.is("delete", b.storage(0x46, b.reserves()+"0100"), "00 0100")
		times("deleted", "01000050 02000050")
		time.Sleep(time.Second)
		b.is("clear", b.storage(0x47, b.reserves()+clear), "00 01")
		times("cleared", "01000050 03000050")
	})

	story(t, "31.2: the overflow flag stands until the log is cleared", func(t *testing.T, b *bench) {
		b.bmc = opened(t, Config{LogCapacity: 2})
		flags := func(what, want string) { t.Helper(); b.is(what, b.storage(0x40, "")[14:], want) }
		b.storage(0x44, someRecord)
		b.storage(0x44, someRecord)
		flags("full", "0F")
		b.is("no room", b.storage(0x44, someRecord), "C4")
		flags("one is lost", "8F")
		b.is("delete", b.storage(0x46, b.reserves()+"0000"), "00 0100")
		flags("it was lost still", "8F")
		b.is("there is room again", b.storage(0x44, someRecord), "00 0300")
		b.is("no room in parts", b.storage(0x45, b.reserves()+"0000 00 01"+someRecord), "C4")
		b.is("clear", b.storage(0x47, b.reserves()+clear), "00 01")
		flags("cleared", "0F")
	})

	story(t, "31.4: no reservation is 0000h", func(t *testing.T, b *bench) {
		b.bmc.log.holder.id = 0xFFFE
		b.is("the last number", b.storage(0x42, ""), "00 FFFF")
		b.is("the next one", b.storage(0x42, ""), "00 0100")
	})

	for name, cancel := range map[string]func(b *bench){
		"an entry is added":          func(b *bench) { b.is("add", b.storage(0x44, someRecord), "00 0200") },
		"an event is logged":         func(b *bench) { _ = b.bmc.log.Add(b.t.Context(), event) },
		"an entry is deleted":        func(b *bench) { b.is("delete", b.storage(0x46, "0100 0100"), "00 0100") },
		"the log is cleared":         func(b *bench) { b.is("clear", b.storage(0x47, "0100"+clear), "00 01") },
		"a cold reset":               func(b *bench) { b.is("reset", b.app(0x02, ""), "00") },
		"another reservation":        func(b *bench) { b.is("reserve", b.storage(0x42, ""), "00 0200") },
		"another one of another one": func(b *bench) { b.is("reserve", b.on("host1", 1, ipmi.NetFnStorage, 0x42, ""), "00 0200") },
	} {
		for restricted, data := range map[ipmi.Command]string{
			0x43: "0100 0000 01 FF", 0x45: "0100 0000 00 00 00", 0x46: "0100 0000", 0x47: "0100" + clear,
		} {
			story(t, fmt.Sprintf("31.4.2: %s, and %02Xh is refused", name, uint8(restricted)), func(t *testing.T, b *bench) {
				b.storage(0x44, someRecord)
				b.is("reserve", b.storage(0x42, ""), "00 0100")
				cancel(b)
				b.is("restricted", b.storage(restricted, data), "C5")
				if name == "the log is cleared" {
					b.is("how far it is", b.storage(0x47, "0100"+progress), "00 01")
				} else {
					b.is("how far a clear is", b.storage(0x47, "0100"+progress), "C5")
				}
			})
		}
	}

	story(t, "31.4.1: the reservation of another requester is none", func(t *testing.T, b *bench) {
		b.storage(0x44, someRecord)
		ipmb := func(requester ipmi.Address, cmd ipmi.Command, data string) []byte {
			req := &ipmi.Request{Interface: "bus0", Requester: requester, NetFn: ipmi.NetFnStorage, Command: cmd, Data: octets(data)}
			r, err := ipmi.Do(t.Context(), b.bmc, req)
			if err != nil {
				t.Fatal(err)
			}
			return append([]byte{byte(r.Code)}, r.Data...)
		}
		for cmd, data := range map[ipmi.Command]string{0x43: "0000 01 FF", 0x45: "0000 00 00 00", 0x46: "0000", 0x47: progress} {
			b.is("reserve", ipmb(0x82, 0x42, ""), "00 0100")
			b.is("another address", ipmb(0x84, cmd, "0100"+data), "C5")
			b.is("another interface", b.on(host0, 0, ipmi.NetFnStorage, cmd, "0100"+data), "C5")
			if got := ipmb(0x82, cmd, "0100"+data); got[0] != 0 {
				t.Errorf("its own: % X", got)
			}
			b.bmc.log.holder.id = 0
			b.storage(0x44, someRecord)
		}
	})

	story(t, "31.5: the record of an empty log is an error", func(t *testing.T, b *bench) {
		for _, id := range []string{"0000", "FFFF", "0100"} {
			b.is(id, b.storage(0x43, "0000"+id+"00 FF"), "CB")
		}
	})

	for _, tt := range []struct{ kind, want string }{
		{"00", "80"}, {"01", "80"}, {"03", "80"}, {"BF", "80"},
		{"02", "80436D38"}, {"C0", "80436D38"}, {"DF", "80436D38"}, {"E0", "11223344"}, {"FF", "11223344"},
	} {
		story(t, "31.6.1: type "+tt.kind+"h", func(t *testing.T, b *bench) {
			const rest = "2000 04 01 30 01 57 60 5F"
			if tt.want == "80" {
				b.is("add", b.storage(0x44, "3412"+tt.kind+"11223344"+rest), "80")
				b.is("add in parts", b.storage(0x45, b.reserves()+"0000 00 01 3412"+tt.kind+"11223344"+rest), "80")
				b.is("read", b.storage(0x43, "0000 0000 00 FF"), "CB")
				return
			}
			b.is("add", b.storage(0x44, "3412"+tt.kind+"11223344"+rest), "00 0100")
			b.is("read", b.storage(0x43, "0000 0000 00 FF"), "00 FFFF 0100"+tt.kind+tt.want+rest)
			b.is("add in parts", b.storage(0x45, b.reserves()+"0000 00 01 3412"+tt.kind+"11223344"+rest), "00 0200")
			b.is("read", b.storage(0x43, "0000 FFFF 00 FF"), "00 FFFF 0200"+tt.kind+tt.want+rest)
		})
	}

	story(t, "31.7: the last part gives the record its time", func(t *testing.T, b *bench) {
		b.is("set the time", b.storage(0x49, "00000050"), "00")
		reserved := b.reserves()
		b.is("begin", b.storage(0x45, reserved+"0000 00 00 FFFF02 00000000"), "00 0100")
		time.Sleep(3 * time.Second)
		b.is("end", b.storage(0x45, reserved+"0100 07 01 2000 04 01 30 01 57 60 5F"), "00 0100")
		b.is("read", b.storage(0x43, "0000 0000 00 07"), "00 FFFF 0100 02 03000050")
	})

	story(t, "31.7: an addition begins again after its reservation was cancelled", func(t *testing.T, b *bench) {
		b.is("begin", b.storage(0x45, b.reserves()+"0000 00 00 FFFF02 00000000"), "00 0100")
		again := b.reserves()
		b.is("go on", b.storage(0x45, again+"0100 07 01 2000 04 01 30 01 57 60 5F"), "CB")
		b.is("not at the beginning", b.storage(0x45, again+"0000 07 01 2000 04 01 30 01 57 60 5F"), "CB")
		b.is("overlap", b.storage(0x45, again+"0000 00 00 FFFFE0 00000000"), "00 0200")
		b.is("overlap", b.storage(0x45, again+"0200 06 01 00 2000 04 01 30 01 57 60 5F"), "C9")
		b.is("end", b.storage(0x45, again+"0200 07 01 2000 04 01 30 01 57 60 5F"), "00 0200")
		b.is("read", b.storage(0x43, "0000 0000 00 07"), "00 FFFF 0200 E0 00000000")
	})

	story(t, "31.10: events have the time that was set", func(t *testing.T, b *bench) {
		b.is("set the time", b.storage(0x49, "00000050"), "00")
		if err := b.bmc.log.Add(t.Context(), event); err != nil {
			t.Fatal(err)
		}
		b.is("read", b.storage(0x43, "0000 0000 00 07"), "00 FFFF 0100 02 00000050")
	})

	story(t, "31.11b: Set SEL Time makes the offset unspecified", func(t *testing.T, b *bench) {
		for _, set := range []ipmi.Command{0x49, 0x29} {
			b.is("set the offset", b.storage(0x5D, "3C00"), "00")
			b.is("a time that is refused", b.storage(set, "FFFFFFFF"), "CC")
			b.is("offset", b.storage(0x5C, ""), "00 3C00")
			b.is("set the time", b.storage(set, "00000050"), "00")
			b.is("offset", b.storage(0x5C, ""), "00 FF07")
		}
	})
}

// serves fails if the BMC does not know one of the commands.
func (b *bench) serves(n ipmi.NetFn, cmds ...ipmi.Command) {
	b.t.Helper()
	for _, cmd := range cmds {
		if _, ok := commands[commandKey{n, cmd}]; !ok {
			b.t.Errorf("netFn %02Xh command %02Xh is not served", uint8(n), uint8(cmd))
		}
	}
}
