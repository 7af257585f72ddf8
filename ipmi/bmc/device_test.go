package bmc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"ipmbd/ipmi"
)

func TestDevice(t *testing.T) {
	story(t, "one without identity says what it is", func(t *testing.T, b *bench) {
		b.is("device ID", b.app(0x01, ""), "00 20 01 00 00 02 DF 00 00 00 00 00")
		b.is("self test", b.app(0x04, ""), "00 55 00")
	})

	story(t, "one with an identity", func(t *testing.T, b *bench) {
		b.bmc = New(Config{
			Identity: Identity{ID: 0x21, Revision: 3, FirmwareMajor: 2, FirmwareMinor: 0x13, Manufacturer: 0x0A1B2C, Product: 0x1234, Auxiliary: [4]byte{1, 2, 3, 4}},
			GUID:     [16]byte{0: 0xA0, 15: 0xAF},
			SelfTest: func() Fault { return FaultSEL | FaultSDR },
		})
		b.is("device ID", b.app(0x01, ""), "00 21 03 02 13 02 DF 2C1B0A 3412 01020304")
		b.is("device GUID", b.app(0x08, ""), "00 A00000000000000000000000000000AF")
		b.is("system GUID", b.app(0x37, ""), "00 A00000000000000000000000000000AF")
		b.is("self test", b.app(0x04, ""), "00 57 C0")
	})

	story(t, "its device ID is read as it was written", func(t *testing.T, b *bench) {
		got, err := ipmi.DecodeDeviceID(b.app(0x01, "")[1:])
		if want := "device 20h revision 1, firmware 0.00, IPMI 2.0, manufacturer 0, product 0000h, sensors, SDR repository, SEL, FRU inventory, event receiver, bridge, chassis"; err != nil || got.String() != want {
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
		b.bmc = New(Config{})
		if other := b.app(0x08, ""); bytes.Equal(first, other) {
			t.Errorf("% X twice", other)
		}
	})

	story(t, "nobody can reset it", func(t *testing.T, b *bench) {
		b.is("cold", b.app(0x02, ""), "D5")
		b.is("warm", b.app(0x03, ""), "D5")
	})

	story(t, "somebody can reset it", func(t *testing.T, b *bench) {
		var asked []bool
		var fail error
		b.bmc = New(Config{Reset: func(_ context.Context, cold bool) error {
			asked = append(asked, cold)
			return fail
		}})
		b.is("cold", b.app(0x02, ""), "00")
		b.is("warm", b.app(0x03, ""), "00")
		if fmt.Sprint(asked) != "[true false]" {
			t.Error(asked)
		}
		fail = errors.New("it is being updated")
		b.is("when it fails", b.app(0x02, ""), "FF")
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
