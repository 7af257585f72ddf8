package record

import (
	"bytes"
	"math/bits"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// texts are records and their texts for people.
var texts = []struct{ name, record, time, sender, text string }{
	{"threshold with reading", "0100 02 80436D38 2C00 04 01 30 01 59 60 5F", "2000-01-01 00:00:00Z", "2Ch",
		"temperature 30h: upper critical going high asserted, reading 60h, threshold 5Fh"},
	{"threshold without reading", "0100 02 80436D38 2C31 04 02 07 81 02 FF FF", "2000-01-01 00:00:00Z", "2Ch LUN 1 channel 3",
		"voltage 07h: lower critical going low deasserted"},
	{"threshold with an OEM's data", "0100 02 80436D38 2C10 04 04 07 01 A0 12 34", "2000-01-01 00:00:00Z", "2Ch channel 1",
		"fan 07h: lower non-critical going low asserted, data 2 12h, data 3 34h"},
	{"threshold that there is not", "0100 02 80436D38 2C00 04 01 30 01 0C FF FF", "2000-01-01 00:00:00Z", "2Ch",
		"temperature 30h: event 01h/12 asserted"},
	{"generic", "0100 02 78000000 2000 04 08 51 0B 01 FF FF", "2m0s since start", "20h",
		"power supply 51h: redundancy lost asserted"},
	{"generic digital", "0100 02 00000020 2000 04 1A 51 83 01 FF FF", "149130h48m32s since start", "20h",
		"other FRU 51h: state on deasserted"},
	{"sensor-specific", "0100 02 01000020 0100 04 0C 10 6F 81 00 03", "1987-01-05 18:48:33Z", "BIOS 01h",
		"memory 10h: uncorrectable ECC asserted, data 2 00h"},
	{"log cleared, by a revision of IPMI 1.0", "0100 02 FFFFFFFF 2100 03 10 00 6F 02 FF FF", "no time", "SMI handler 21h",
		"event logging 00h: log area cleared asserted"},
	{"OS stop that is no panic", "0100 02 80436D38 8100 04 20 00 6F 02 FF FF", "2000-01-01 00:00:00Z", "remote console 81h",
		"OS stop 00h: graceful stop asserted"},
	{"event without a name between others", "0100 02 80436D38 6100 04 23 01 6F 05 FF FF", "2000-01-01 00:00:00Z", "OEM software 61h",
		"watchdog 2 01h: event 6Fh/5 asserted"},
	{"sensor type without events of its own", "0100 02 80436D38 8F00 04 01 01 6F 05 FF FF", "2000-01-01 00:00:00Z", "terminal 8Fh",
		"temperature 01h: event 6Fh/5 asserted"},
	{"S1 keeps the context", "0100 02 80436D38 0100 04 22 01 6F 01 FF FF", "2000-01-01 00:00:00Z", "BIOS 01h",
		"ACPI power state 01h: S1 sleeping, context kept asserted"},
	{"S2 loses the processor's context", "0100 02 80436D38 0100 04 22 01 6F 02 FF FF", "2000-01-01 00:00:00Z", "BIOS 01h",
		"ACPI power state 01h: S2 sleeping, processor context lost asserted"},
	{"ACPI state with a gap before it", "0100 02 80436D38 0100 04 22 01 6F 0E FF FF", "2000-01-01 00:00:00Z", "BIOS 01h",
		"ACPI power state 01h: unknown asserted"},
	{"OEM event of an OEM sensor", "0100 02 80436D38 9100 04 C1 01 72 C3 12 34", "2000-01-01 00:00:00Z", "software 91h",
		"OEM sensor type C1h 01h: OEM event 72h/3 asserted, data 2 12h"},
	{"reserved types", "0100 02 80436D38 0000 04 2D 01 0D 03 12 34", "2000-01-01 00:00:00Z", "-",
		"sensor type 2Dh 01h: event 0Dh/3 asserted"},
	{"sensor type 0", "0100 02 80436D38 2000 04 00 01 6F 03 12 34", "2000-01-01 00:00:00Z", "20h",
		"sensor type 00h 01h: event 6Fh/3 asserted"},
	{"event type 0", "0100 02 80436D38 2000 04 01 01 00 03 12 34", "2000-01-01 00:00:00Z", "20h",
		"temperature 01h: event 00h/3 asserted"},
	{"OEM with a time", "0100 C0 80436D38 570100 010203040506", "2000-01-01 00:00:00Z", "-",
		"OEM record C0h of manufacturer 343 (000157h): 01 02 03 04 05 06"},
	{"OEM without a time", "0100 E0 80436D38 570100 010203040506", "no time", "-",
		"OEM record E0h: 80 43 6d 38 57 01 00 01 02 03 04 05 06"},
	{"unknown type", "0100 03 80436D38 2C00 04 01 30 01 57 60 5F", "no time", "-",
		"record of unknown type 03h: 80 43 6d 38 2c 00 04 01 30 01 57 60 5f"},
}

func TestTextsOfRecords(t *testing.T) {
	for _, tt := range texts {
		r := Record(octets(tt.record))
		got := []string{r.Time().String(), r.Generator().String(), r.String()}
		if diff := cmp.Diff([]string{tt.time, tt.sender, tt.text}, got); diff != "" || r.ID() != 1 {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// Texts of event data 2 and 3, from the bytes of an event: sensor type, event type and data 1 to 3.
func TestTextsOfEventData(t *testing.T) {
	for _, tt := range []struct{ event, text string }{
		{"08 6F 36 FF 03", "configuration error asserted, data 3 03h (power rating mismatch)"},
		{"0F 6F C0 02 FF", "error asserted, data 2 02h (no usable memory)"},
		{"0F 6F C0 0E FF", "error asserted, data 2 0Eh"},
		{"0F 6F C1 07 FF", "hang asserted, data 2 07h (PCI resource configuration)"},
		{"0F 6F C2 13 FF", "progress asserted, data 2 13h (starting OS boot)"},
		{"0F 6F C2 15 FF", "progress asserted, data 2 15h"},
		{"0F 6F 82 13 FF", "progress asserted, data 2 13h"},
		{"12 6F C3 30 FF", "entry added to auxiliary log asserted, data 2 30h (log cleared, MCA log)"},
		{"12 6F C4 05 FF", "platform event filter action asserted, data 2 05h (alert, reset)"},
		{"12 6F C4 C0 FF", "platform event filter action asserted, data 2 C0h"},
		{"12 6F C5 80 FF", "time stamp clock synchronization asserted, data 2 80h (second of pair, SEL clock)"},
		{"19 6F F0 05 0D", "soft power control failure asserted, data 2 05h (to S5/G2 soft off), data 3 0Dh (from unknown)"},
		{"1D 6F F7 04 0F", "system restart asserted, data 2 04h (watchdog), data 3 0Fh"},
		{"21 6F F0 09 02", "fault asserted, data 2 09h (PCI Express), data 3 02h"},
		{"23 6F C8 34 FF", "timer interrupt asserted, data 2 34h (messaging interrupt, SMS/OS)"},
		{"23 6F C1 04 FF", "hard reset asserted, data 2 04h (no interrupt, SMS/OS)"},
		{"23 6F C1 FF FF", "hard reset asserted, data 2 FFh"},
		{"2A 6F 31 FF 21", "session deactivated asserted, data 3 21h (timed out)"},
		{"2B 6F C1 16 FF", "firmware or software change detected asserted, data 2 16h (board replaced with older version)"},
		{"2C 6F C4 03 FF", "active asserted, data 2 03h (normal change, from activation in progress)"},
		{"2C 6F C4 F9 FF", "active asserted, data 2 F9h (unknown cause)"},
		{"01 07 42 01 FF", "transition to critical from less severe asserted, " +
			"data 2 01h (from: transition to non-critical from ok, severity: transition to ok)"},
		{"08 0B 42 FF FF", "redundancy degraded asserted, data 2 FFh"},
		{"0C 0B C2 01 FF", "redundancy degraded asserted, data 2 01h"},
		{"C1 6F C2 01 FF", "event 6Fh/2 asserted, data 2 01h"},
	} {
		e := octets(tt.event)
		r := Record{2: byte(SystemEvent), 10: e[0], 12: e[1], 13: e[2], 14: e[3], 15: e[4]}
		if _, text, _ := strings.Cut(r.String(), ": "); text != tt.text {
			t.Errorf("%s: %s", tt.event, text)
		}
	}
}

// Offsets are four bits.
func TestNamesHaveAnOffset(t *testing.T) {
	for kind, names := range genericEvents {
		if len(names) > 16 {
			t.Errorf("event type %02Xh: %d names", kind, len(names))
		}
	}
	for kind, s := range sensorTypes {
		if len(s.events) > 16 || s.name != printable(s.name) {
			t.Errorf("sensor type %02Xh: %q, %d names", kind, s.name, len(s.events))
		}
	}
	for _, e := range extensions {
		if highest := int(e.mask) >> bits.TrailingZeros8(e.mask); len(e.names) > highest+1 || e.data != 2 && e.data != 3 {
			t.Errorf("sensor type %02Xh: %d names of mask %02Xh of data %d", e.sensorType, len(e.names), e.mask, e.data)
		}
	}
}

func TestInfo(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       Info
		text       string
	}{
		{"full", "51 0010 0000 80436D38 FFFFFFFF 8F",
			Info{Version, 0x1000, 0, 0x386D4380, NoTime, TellAllocation | Reserve | AddParts | Delete, true},
			"1.5: get allocation information, reserve, add in parts, delete"},
		{"of few words", "51 0100 FFFF 10000000 20000000 02", Info{Version, 1, 0xFFFF, 0x10, 0x20, Reserve, false}, "1.5: reserve"},
		{"of none", "02 0000 0000 FFFFFFFF FFFFFFFF 00", Info{2, 0, 0, NoTime, NoTime, 0, false}, "2.0: none"},
	} {
		got, err := DecodeInfo(octets(tt.data))
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
		if b := got.Append(nil); !bytes.Equal(b, octets(tt.data)) {
			t.Errorf("%s: appended % X", tt.name, b)
		}
		if text := got.VersionText() + ": " + got.Operations.String(); text != tt.text {
			t.Errorf("%s: %q", tt.name, text)
		}
	}
}
