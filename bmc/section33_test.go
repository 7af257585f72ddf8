package bmc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

// What sections 33 and 34 of IPMI v2.0 ask for and the other tests of the SDR repository and of FRU
// inventory devices do not hold. Each name begins with the section or table.
func TestSectionsOfTheRepository(t *testing.T) {
	story(t, "table 33-2: the mandatory commands are served", func(t *testing.T, b *bench) {
		b.serves(ipmi.NetFnStorage, 0x20, 0x22, 0x23)
		b.serves(ipmi.NetFnSensor, 0x20, 0x21, 0x22) // mandatory as soon as one of them is there
	})

	equipped(t, "33.8: no two records have one ID", func(t *testing.T, b *bench, _, _ *float64) {
		seen := make(map[uint16]bool)
		for id, next := uint16(record.First), uint16(0); id != record.Last; id = next {
			var whole []byte
			whole, next = b.bmc.repository.findRecord(id)
			own := uint16(whole[0]) | uint16(whole[1])<<8
			if seen[own] || own == record.First || own == record.Last || id != record.First && own != id {
				t.Errorf("ID %04Xh of the record %04Xh", own, id)
			}
			seen[own] = true
		}
		if len(seen) != 3 {
			t.Errorf("%d records", len(seen))
		}
	})

	equipped(t, "33.9: the time of the addition is not the log's", func(t *testing.T, b *bench, _, _ *float64) {
		time.Sleep(time.Hour)
		b.storage(0x44, someRecord)
		b.is("clear", b.storage(0x47, b.reserves()+"434C52 AA"), "00 01")
		b.is("added, never erased", b.storage(0x20, "")[6:14], "80436D38 FFFFFFFF")
	})

	equipped(t, "33.10: a record has room for 64 bytes", func(t *testing.T, b *bench, _, _ *float64) {
		got := b.storage(0x21, "")
		unit, records := int(got[3])|int(got[4])<<8, int(got[9])
		if unit < 16 || unit*records < 64 {
			t.Errorf("%d units of %d bytes", records, unit)
		}
		for _, whole := range b.bmc.repository.records {
			if len(whole) > unit*records {
				t.Errorf("a record of %d bytes", len(whole))
			}
		}
	})

	for of, reserve := range map[string]func(b *bench) []byte{
		"33.11.2": func(b *bench) []byte { return b.storage(0x22, "") },
		"35.4":    func(b *bench) []byte { return b.sensor(0x22, "") },
	} {
		read := func(b *bench, data string) []byte {
			if of == "35.4" {
				return b.sensor(0x21, data)
			}
			return b.storage(0x23, data)
		}
		for name, tt := range map[string]struct {
			between func(b *bench)
			code    string
		}{
			"nothing":             {func(*bench) {}, "00"},
			"a cold reset":        {func(b *bench) { b.app(0x02, "") }, "C5"},
			"a warm reset":        {func(b *bench) { b.app(0x03, "") }, "C5"},
			"another reservation": {func(b *bench) { reserve(b) }, "C5"},
			"a record of the log": {func(b *bench) { b.storage(0x44, someRecord) }, "00"},
			"the log is reserved": {func(b *bench) { b.storage(0x42, "") }, "00"},
			"one of the other kind": {func(b *bench) {
				if of == "35.4" {
					b.storage(0x22, "")
				} else {
					b.sensor(0x22, "")
				}
			}, "00"},
		} {
			equipped(t, of+": a read after "+name, func(t *testing.T, b *bench, _, _ *float64) {
				b.is("reserve", reserve(b), "00 0100")
				tt.between(b)
				b.is("a part", read(b, "0100 0200 05 03")[:1], tt.code)
				b.is("the beginning needs none", read(b, "0000 0200 00 03")[:1], "00")
			})
		}
		equipped(t, of+": no reservation is 0000h", func(t *testing.T, b *bench, _, _ *float64) {
			b.bmc.repository.holder.id, b.bmc.repository.deviceHolder.id = 0xFFFF, 0xFFFF
			b.is("reserve", reserve(b), "00 0100")
			b.is("a part with none", read(b, "0000 0200 05 03"), "C5")
		})
		equipped(t, of+": the reservation of another requester is none", func(t *testing.T, b *bench, _, _ *float64) {
			b.is("reserve", reserve(b), "00 0100")
			b.is("another one", b.on("host1", 1, ipmi.NetFnStorage, 0x23, "0100 0200 05 03"), "C5")
			b.is("another one", b.on("host1", 1, ipmi.NetFnSensor, 0x21, "0100 0200 05 03"), "C5")
		})
	}

	equipped(t, "33.18: one clock, also after it was set", func(t *testing.T, b *bench, _, _ *float64) {
		for _, set := range []ipmi.Command{0x49, 0x29} {
			b.is("set", b.storage(set, "00000060"), "00")
			time.Sleep(time.Second)
			b.is("of the log", b.storage(0x48, ""), "00 01000060")
			b.is("of the repository", b.storage(0x28, ""), "00 01000060")
		}
	})

	story(t, "table 43-1: a sensor without thresholds has no hysteresis and no events", func(t *testing.T, b *bench) {
		bare, some := inlet(nil), inlet(nil)
		bare.Thresholds, bare.Hysteresis, some.Number = Thresholds{}, 0, 0x32
		b.bmc = opened(t, Config{Sensors: []SensorConfig{bare, some, supply(nil)}})
		for i, want := range []string{"43", "68", "40"} {
			whole := b.bmc.repository.records[i+1]
			b.is("capabilities", whole[11:12], want)
		}
		b.is("its hysteresis", b.sensor(0x25, "30 FF"), "00 00 00")
		b.is("its thresholds", b.sensor(0x27, "30"), "00 00 00 00 00 00 00 00")
		b.is("its events", b.sensor(0x29, "30"), "00 C0 0000 0000")
	})

	story(t, "43: each record says its length, and its name fits", func(t *testing.T, b *bench) {
		long := strings.Repeat("n", record.MaxName)
		warm, present := inlet(nil), supply(nil)
		warm.Name, present.Name = long, long
		b.bmc = opened(t, Config{Sensors: []SensorConfig{warm, present},
			FRUs: []FRUConfig{{Name: long, ID: 1}}, Controllers: []Controller{{Name: long, Address: 0x82}}})
		for _, whole := range b.bmc.repository.records {
			if int(whole[4]) != len(whole)-5 || len(whole) > record.MaxSDRLength || whole[2] != record.SDRVersion {
				t.Errorf("% X", whole)
			}
		}
	})
}

func TestSectionsOfFRUs(t *testing.T) {
	devices := map[string]struct {
		frus     []FRUConfig
		supports bool
	}{
		"no device":             {nil, false},
		"another device":        {[]FRUConfig{{Name: "Riser", ID: 1}}, false},
		"device 0":              {[]FRUConfig{{Name: "Board"}}, true},
		"device 0 and others":   {[]FRUConfig{{Name: "Riser", ID: 254}, {Name: "Board"}}, true},
		"a device without size": {[]FRUConfig{{Name: "Board", Data: []byte{}}}, true},
	}
	for name, tt := range devices {
		story(t, "table 43-8: the support of FRU device 0 with "+name, func(t *testing.T, b *bench) {
			b.bmc = opened(t, Config{FRUs: tt.frus})
			id, err := ipmi.DecodeDeviceID(b.app(0x01, "")[1:])
			whole, _ := b.bmc.repository.findRecord(record.First)
			if err != nil || id.Support != ipmi.DeviceSupport(whole[8]) || (id.Support&ipmi.SupportsFRU != 0) != tt.supports {
				t.Errorf("%v and %v in the record, %v", id.Support, ipmi.DeviceSupport(whole[8]), err)
			}
			if served := b.storage(0x10, "00")[0] == 0; served != tt.supports {
				t.Errorf("served %t", served)
			}
		})
	}

	story(t, "table 34-1: the mandatory commands are served", func(t *testing.T, b *bench) {
		b.serves(ipmi.NetFnStorage, 0x10, 0x11, 0x12)
	})

	for cmd, rest := range map[ipmi.Command]string{0x10: "", 0x11: "0000 01", 0x12: "0000 01"} {
		story(t, fmt.Sprintf("tables 34-2 to 34-4: device FFh is reserved in %02Xh", uint8(cmd)), func(t *testing.T, b *bench) {
			b.bmc = opened(t, Config{FRUs: []FRUConfig{{Name: "Board"}}})
			b.is("FFh", b.storage(cmd, "FF"+rest), "CC")
			b.is("one that is not there", b.storage(cmd, "FE"+rest), "CB")
			if got := b.storage(cmd, "00"+rest); got[0] != 0 {
				t.Errorf("% X", got)
			}
		})
	}

	story(t, "34.2, 34.3: offsets begin at 0, counts say what was done, nothing is interpreted", func(t *testing.T, b *bench) {
		b.bmc = opened(t, Config{FRUs: []FRUConfig{{Name: "Board", Data: make([]byte, 300)}}})
		b.is("size, by bytes", b.storage(0x10, "00"), "00 2C01 00")
		b.is("what no FRU begins with", b.storage(0x12, "00 0000 FFFEFD"), "00 03")
		b.is("the last byte", b.storage(0x12, "00 2B01 EE"), "00 01")
		b.is("read", b.storage(0x11, "00 0000 04"), "00 04 FFFEFD00")
		b.is("the last byte", b.storage(0x11, "00 2B01 01"), "00 01 EE")
		b.is("up to the end", b.storage(0x11, "00 2A01 10"), "00 02 00EE")
		b.is("none", b.storage(0x11, "00 0000 00"), "00 00")
		b.is("behind the end", b.storage(0x12, "00 2B01 0102"), "C9")
		b.is("no byte of it", b.storage(0x11, "00 2B01 01"), "00 01 EE")
	})
}
