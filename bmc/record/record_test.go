package record

import (
	"bytes"
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
	{"generic digital", "0100 02 FFFFFF1F 2000 04 1A 51 83 01 FF FF", "149130h48m31s since start", "20h",
		"other FRU 51h: state on deasserted"},
	{"sensor-specific", "0100 02 00000020 0100 04 0C 10 6F 81 00 03", "1987-01-05 18:48:32Z", "BIOS 01h",
		"memory 10h: uncorrectable ECC asserted, data 2 00h"},
	{"log cleared, by a revision of IPMI 1.0", "0100 02 FFFFFFFF 2100 03 10 00 6F 02 FF FF", "no time", "SMI handler 21h",
		"event logging 00h: log area cleared asserted"},
	{"OS stop that is no panic", "0100 02 80436D38 8100 04 20 00 6F 02 FF FF", "2000-01-01 00:00:00Z", "remote console 81h",
		"OS stop 00h: graceful stop asserted"},
	{"event without a name between others", "0100 02 80436D38 6100 04 23 01 6F 05 FF FF", "2000-01-01 00:00:00Z", "OEM software 61h",
		"watchdog 2 01h: event 6Fh/5 asserted"},
	{"sensor type without events of its own", "0100 02 80436D38 8F00 04 01 01 6F 05 FF FF", "2000-01-01 00:00:00Z", "terminal 8Fh",
		"temperature 01h: event 6Fh/5 asserted"},
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
