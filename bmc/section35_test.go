package bmc

import (
	"fmt"
	"testing"

	"ipmbd/ipmi"
)

// What section 35 of IPMI v2.0, and section 29 about the events of sensors, ask for and the other
// tests of sensors do not hold. Each name begins with the section or table.
func TestSectionsOfSensors(t *testing.T) {
	story(t, "table 35-1: the mandatory commands are served", func(t *testing.T, b *bench) {
		b.serves(ipmi.NetFnApp, 0x01, 0x04)
		b.serves(ipmi.NetFnSensor, 0x2D)
		b.serves(ipmi.NetFnSensor, 0x25, 0x27, 0x29, 0x2F) // mandatory where their Set is served
	})

	equipped(t, "35.2: a static population has no change indicator", func(t *testing.T, b *bench, _, _ *float64) {
		b.is("sensors on LUN 0", b.sensor(0x20, ""), "00 02 01")
	})

	equipped(t, "35.5: the factors of all readings are found from any of them", func(t *testing.T, b *bench, _, _ *float64) {
		first := b.sensor(0x23, "30 FF")
		for reading := range 256 {
			got := b.sensor(0x23, fmt.Sprintf("30 %02X", reading))
			if string(got) != string(first) || got[1] != 0xFF {
				t.Errorf("reading %02Xh: % X", reading, got)
			}
		}
	})

	for _, tt := range []struct {
		hysteresis        string
		rearmsUp, stillUp float64 // of the upper threshold at 40
		rearmsDn, stillDn float64 // of the lower threshold at 5
	}{
		{"00 00", 39, 40, 6, 5}, {"01 03", 38, 39, 9, 8}, {"03 01", 36, 37, 7, 6}, {"02 02", 37, 38, 8, 7},
	} {
		equipped(t, "35.13.3: deassertion with the hysteresis "+tt.hysteresis, func(t *testing.T, b *bench, degrees, _ *float64) {
			b.is("set", b.sensor(0x24, "30 FF"+tt.hysteresis), "00")
			status := func(at float64, want string) {
				t.Helper()
				*degrees = at
				b.polled()
				b.is(fmt.Sprint("at ", at), b.sensor(0x2B, "30"), "00 C0"+want)
			}
			status(39, "0000 0000")
			status(40, "8000 0000")
			status(tt.stillUp, "8000 0000")
			status(tt.rearmsUp, "0000 8000")
			status(6, "0000 8000")
			status(5, "0400 8000")
			status(tt.stillDn, "0400 8000")
			status(tt.rearmsDn, "0000 8400")
		})
	}

	equipped(t, "35.13.2: the comparison has no hysteresis, the event status has", func(t *testing.T, b *bench, degrees, _ *float64) {
		*degrees = 41
		b.polled()
		*degrees = 39
		b.polled()
		b.is("comparison", b.sensor(0x2D, "30"), "00 27 C0 C0")
		b.is("event status", b.sensor(0x2B, "30"), "00 C0 8000 0000")
	})

	equipped(t, "35.8: thresholds that are not selected are ignored, events follow the others", func(t *testing.T, b *bench, _, _ *float64) {
		b.polled()
		b.is("set one", b.sensor(0x26, "30 08 FF FF FF 14 00 00"), "00")
		b.is("all", b.sensor(0x27, "30"), "00 1A 00 05 00 14 32 00")
		b.raises("beyond it", "0401300157"+"1914")
	})

	for _, tt := range []struct{ data, threshold, discrete string }{
		{"E0", "E0 8402 8402", "E0 0301 0301"},
		{"E0 80", "C0 0402 8402", "C0 0301 0301"},
		{"E0 01", "C0 8402 8402", "C0 0201 0301"},
		{"E0 8002", "C0 0400 8402", "C0 0301 0301"},
		{"E0 0101 84", "C0 8402 0002", "C0 0200 0301"},
		{"E0 0101 8402", "C0 8402 0000", "C0 0200 0301"},
		{"40", "40 8402 8402", "40 0301 0301"},
		{"80", "80 8402 8402", "80 0301 0301"},
		{"00", "00 8402 8402", "00 0301 0301"},
	} {
		equipped(t, "35.10: "+tt.data+", the absent bytes are zero", func(t *testing.T, b *bench, _, _ *float64) {
			for number, want := range map[string]string{"30": tt.threshold, "31": tt.discrete} {
				b.is("set", b.sensor(0x28, number+tt.data), "00")
				got := b.sensor(0x29, number)
				want := octets(want)
				want[0] &^= 0x20
				if string(got[1:]) != string(want) {
					t.Errorf("sensor %s: % X, want % X", number, got[1:], want)
				}
			}
		})
	}

	equipped(t, "35.10: without messages the status goes on", func(t *testing.T, b *bench, degrees, states *float64) {
		b.polled()
		b.is("off", b.sensor(0x28, "30 40"), "00")
		b.is("off", b.sensor(0x28, "31 40"), "00")
		*degrees, *states = 41, 3
		b.raises("no message")
		b.is("status", b.sensor(0x2B, "30"), "00 40 8000 0000")
		b.is("status", b.sensor(0x2B, "31"), "00 40 0300 0000")
	})

	equipped(t, "35.10: without scanning the status stays", func(t *testing.T, b *bench, degrees, states *float64) {
		b.polled()
		b.is("off", b.sensor(0x28, "30 80"), "00")
		b.is("off", b.sensor(0x28, "31 80"), "00")
		*degrees, *states = 41, 3
		b.raises("no message")
		b.is("status", b.sensor(0x2B, "30"), "00 A0 0000 0000")
		b.is("reading", b.sensor(0x2D, "30"), "00 00 A0 C0")
		b.is("reading", b.sensor(0x2D, "31"), "00 00 A0 00 80")
		b.is("on", b.sensor(0x28, "30 C0"), "00")
		b.is("on", b.sensor(0x28, "31 C0"), "00")
		b.raises("what has changed", "0401300157"+"2928", "0408316F01FFFF")
	})

	for _, tt := range []struct{ data, status, threshold, discrete string }{
		{"00", "0000 0000", "57 59", "00 01"},
		{"00 FFFF FFFF", "0000 0000", "57 59", "00 01"}, // ignored
		{"80", "8002 0000", "", ""},
		{"80 80", "0002 0000", "57", ""},
		{"80 01", "8002 0000", "", "00"},
		{"80 0002", "8000 0000", "59", ""},
		{"80 0000 FF", "8002 0000", "", ""},
		{"80 8302 FF0F", "0000 0000", "57 59", "00 01"},
	} {
		equipped(t, "35.12: rearmed with "+tt.data+", the absent bytes are zero", func(t *testing.T, b *bench, degrees, states *float64) {
			*degrees, *states = 55, 3
			b.polled()
			b.is("rearm", b.sensor(0x2A, "30"+tt.data), "00")
			b.is("rearm", b.sensor(0x2A, "31"+tt.data), "00")
			b.is("status, not yet updated", b.sensor(0x2B, "30"), "00 E0"+tt.status)
			b.is("reading, not yet updated", b.sensor(0x2D, "30"), "00 00 E0 C0")
			b.is("states, not yet updated", b.sensor(0x2D, "31"), "00 00 E0 00 80")
			var want []string
			for _, offset := range octets(tt.threshold) {
				want = append(want, fmt.Sprintf("04013001%02X37%02X", offset, map[byte]byte{0x57: 0x28, 0x59: 0x32}[offset]))
			}
			for _, offset := range octets(tt.discrete) {
				want = append(want, fmt.Sprintf("0408316F%02XFFFF", offset))
			}
			b.raises("again", want...)
			b.raises("once")
			b.is("status", b.sensor(0x2B, "30"), "00 C0 8002 0000")
			b.is("states", b.sensor(0x2D, "31"), "00 00 C0 03 80")
		})
	}

	equipped(t, "29.1: all sensors are rearmed", func(t *testing.T, b *bench, degrees, states *float64) {
		*degrees, *states = 55, 3
		want := []string{"0401300157" + "3728", "0401300159" + "3732", "0408316F00FFFF", "0408316F01FFFF"}
		b.raises("first", want...)
		b.bmc.RearmSensors()
		b.is("not yet updated", b.sensor(0x2B, "30"), "00 E0 0000 0000")
		b.is("not yet updated", b.sensor(0x2B, "31"), "00 E0 0000 0000")
		b.raises("again", want...)
		b.raises("once")
	})

	equipped(t, "35.12: a rearmed sensor without a reading waits for it", func(t *testing.T, b *bench, degrees, _ *float64) {
		*degrees = 55
		b.polled()
		b.is("rearm", b.sensor(0x2A, "30 00"), "00")
		*degrees = gone
		b.raises("no reading")
		*degrees = 45
		b.is("not yet updated", b.sensor(0x2B, "30"), "00 E0 0000 0000")
		b.raises("the condition that still holds", "0401300157"+"2D28")
	})

	equipped(t, "35.13: one message for one event", func(t *testing.T, b *bench, degrees, states *float64) {
		b.polled()
		*degrees, *states = 41, 3
		if n := len(b.polled()); n != 2 {
			t.Errorf("%d messages", n)
		}
		for *degrees = 41; *degrees > 38; *degrees -= 0.25 {
			b.raises("not for a reading within the hysteresis")
		}
	})

	for _, length := range []int{4, 5, 6, 7, 8, 9, 10} {
		fixed(t, fmt.Sprintf("35.17: %d bytes", length), func(t *testing.T, b *bench) {
			b.is("reading", b.asks(ipmi.NetFnSensor, 0x30, octets("30 01 3C 0000 0000 000000")[:length]...), "00")
			b.is("it", b.sensor(0x2D, "30"), "00 3C C0 D8")
			b.is("states", b.asks(ipmi.NetFnSensor, 0x30, octets("31 20 00 0201 0000 000000")[:length]...), "00")
			want := "00 00 C0 03 81"
			if length == 4 {
				want = "00 00 C0 03 80"
			}
			b.is("them", b.sensor(0x2D, "31"), want)
		})
	}

	for _, operation := range []string{"10", "20", "30", "14", "24", "34", "04", "0C"} {
		fixed(t, "35.17: operation "+operation+"h without its states changes nothing", func(t *testing.T, b *bench) {
			b.is("set", b.sensor(0x30, "31 20 00 0201"), "00")
			b.is("absent", b.sensor(0x30, "31"+operation+"00"), "00")
			b.is("as before", b.sensor(0x2D, "31"), "00 00 C0 03 81")
			b.is("absent", b.sensor(0x30, "30"+operation+"00"), "00")
			b.is("as before", b.sensor(0x2D, "30"), "00 19 C0 C0")
		})
	}

	for _, tt := range []struct{ operation, want string }{
		{"10", "00 00 C0 02 81"}, {"20", "00 00 C0 03 81"}, {"30", "00 00 C0 00 81"},
	} {
		fixed(t, "35.17: operation "+tt.operation+"h leaves the states of the absent byte", func(t *testing.T, b *bench) {
			b.is("set", b.sensor(0x30, "31 20 00 0001"), "00")
			b.is("the lower ones", b.sensor(0x30, "31"+tt.operation+"00 02"), "00")
			b.is("all", b.sensor(0x2D, "31"), tt.want)
		})
	}

	for _, tt := range []struct{ name, data, code string }{
		{"assertions of a sensor with thresholds", "30 10 00 0000", "80"},
		{"deassertions", "30 04 00 0000 0000", "80"},
		{"deassertions of a discrete sensor", "31 04 00 0000 0000", "80"},
		{"the reading of a discrete sensor", "31 01 00", "80"},
		{"event data", "30 40 00 0000 0000 570000", "81"},
		{"event data without the offset", "31 80 00 0000 0000 570000", "81"},
	} {
		fixed(t, "table 35-18: "+tt.name+" cannot be set", func(t *testing.T, b *bench) {
			b.is("set", b.sensor(0x30, tt.data), tt.code)
		})
	}
}
