package bmc

import (
	"bytes"
	"testing"

	"ipmbd/ipmi"
)

func TestDevice(t *testing.T) {
	story(t, "one without identity says what it is", func(t *testing.T, b *bench) {
		b.is("device ID", b.app(0x01, ""), "00 20 01 00 00 02 D7 00 00 00 00 00")
		b.is("self test", b.app(0x04, ""), "00 55 00")
	})

	story(t, "one with an identity", func(t *testing.T, b *bench) {
		b.bmc = opened(t, Config{
			Identity: Identity{ID: 0x21, Revision: 3, Firmware: Firmware{2, 0x13}, Manufacturer: 0x0A1B2C, Product: 0x1234, Auxiliary: [4]byte{1, 2, 3, 4}},
			GUID:     [16]byte{0: 0xA0, 15: 0xAF},
		})
		b.is("device ID", b.app(0x01, ""), "00 21 03 02 13 02 D7 2C1B0A 3412 01020304")
		b.is("device GUID", b.app(0x08, ""), "00 A00000000000000000000000000000AF")
		b.is("system GUID", b.app(0x37, ""), "00 A00000000000000000000000000000AF")
	})

	story(t, "its device ID is read as it was written", func(t *testing.T, b *bench) {
		got, err := ipmi.DecodeDeviceID(b.app(0x01, "")[1:])
		if want := "device 20h revision 1, firmware 0.00, IPMI 2.0, manufacturer 0, product 0000h, sensors, SDR repository, SEL, event receiver, bridge, chassis"; err != nil || got.String() != want {
			t.Errorf("%v, %v", got, err)
		}
	})

	story(t, "a random GUID stays, and says that it is random", func(t *testing.T, b *bench) {
		first, again := b.app(0x08, ""), b.app(0x37, "")
		if len(first) != 17 || !bytes.Equal(first, again) {
			t.Errorf("% X, then % X", first, again)
		}
		if version, variant := first[1+9]>>4, first[1+7]>>6; version != 4 || variant != 2 {
			t.Errorf("version %d, variant %d of % X", version, variant, first)
		}
		b.bmc = opened(t, Config{})
		if other := b.app(0x08, ""); bytes.Equal(first, other) {
			t.Errorf("% X twice", other)
		}
	})

	equipped(t, "a warm reset ends what was begun", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("reserve the log", b.storage(0x42, ""), "00 0100")
		b.is("reserve the repository", b.storage(0x22, ""), "00 0100")
		b.is("begin a set", b.app(0x58, "00 01"), "00")
		b.is("set a threshold", b.sensor(0x26, "30 08 00 00 00 14 00 00"), "00")
		b.is("reset", b.app(0x03, ""), "00")
		b.is("clear the log", b.storage(0x47, "0100 434C52 AA"), "C5")
		b.is("read a part of a record", b.storage(0x23, "0100 0200 05 03"), "C5")
		b.is("begin a set", b.app(0x58, "00 01"), "00")
		b.is("the threshold stays", b.sensor(0x27, "30"), "00 1A 00 05 00 14 32 00")
	})

	equipped(t, "a cold reset makes sensors and the host's states new", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("set a threshold", b.sensor(0x26, "30 08 00 00 00 14 00 00"), "00")
		b.is("disable events", b.sensor(0x28, "30 00"), "00")
		b.is("ACPI states", b.app(0x06, "80 81"), "00")
		b.is("of another host", b.on("host1", 1, ipmi.NetFnApp, 0x06, "80 81"), "00")
		b.is("identify", b.chassis(0x04, "00 01"), "00")
		b.is("a setting", b.chassis(0x06, "01"), "00 07")
		b.is("an event", b.storage(0x44, "0000 02 00000000 2000 04 01 30 01 57 60 5F"), "00 0100")
		b.is("reset", b.app(0x02, ""), "00")
		b.is("threshold", b.sensor(0x27, "30"), "00 1A 00 05 00 28 32 00")
		b.is("events", b.sensor(0x29, "30"), "00 C0 8402 8402")
		b.is("ACPI states", b.app(0x07, ""), "00 2A 2A")
		b.is("of another host", b.on("host1", 1, ipmi.NetFnApp, 0x07, ""), "00 00 01")
		b.is("the setting stays, it does not identify itself", b.chassis(0x01, ""), "00 21 00 40")
		b.is("the event stays", b.storage(0x40, "")[:4], "00 51 0100")
	})

	runs(t, "a cold reset leaves the watchdogs of other hosts alone", func(t *testing.T, r *rig) {
		for number, name := range []string{"host0", "host1"} {
			r.is("set", r.on(name, number, ipmi.NetFnApp, setTimer, "04 01 00 00 6400"), "00")
			r.is("reset", r.on(name, number, ipmi.NetFnApp, resetTimer, ""), "00")
		}
		r.is("cold", r.app(0x02, ""), "00")
		r.is("its own is as at first", r.app(getTimer, ""), "00 00 00 00 00 0000 0000")
		r.is("the other runs", r.on("host1", 1, ipmi.NetFnApp, getTimer, ""), "00 44 01 00 00 6400 6400")
	})
}

func TestACPI(t *testing.T) {
	story(t, "states are told, one at a time, and for each host", func(t *testing.T, b *bench) {
		b.is("at first", b.app(0x07, ""), "00 2A 2A")
		b.is("set", b.app(0x06, "80 81"), "00")
		b.is("get", b.app(0x07, ""), "00 00 01")
		b.is("set the system's", b.app(0x06, "85 00"), "00")
		b.is("set no change", b.app(0x06, "FF FF"), "00")
		b.is("get", b.app(0x07, ""), "00 05 01")
		b.is("get of another host", b.on("host1", 1, ipmi.NetFnApp, 0x07, ""), "00 2A 2A")
		b.is("set one that there is not", b.app(0x06, "80 84"), "CC")
		b.is("get", b.app(0x07, ""), "00 05 01")
	})
}
