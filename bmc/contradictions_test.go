package bmc

import (
	"fmt"
	"strings"
	"testing"

	"ipmbd/ipmi"
)

// contradictions are requests whose fields are right each, and wrong together, or beside what the
// BMC has. Between them are requests at the edge that are right.
var contradictions = []struct {
	name     string
	netFn    ipmi.NetFn
	command  ipmi.Command
	requests string // one after the other; "-> CC" behind one that is refused
}{
	{"a pre-timeout and a countdown", ipmi.NetFnApp, 0x24,
		"05 00 04 00 0A00 -> CC; 04 30 01 00 0A00 -> CC; 04 30 FF 00 FFFF; 44 30 FF 00 F609 -> CC; 44 30 FF 00 F709; " +
			"04 30 01 00 0000 -> CC; 04 30 00 00 0000; 04 30 01 00 0B00"},

	{"thresholds out of order", ipmi.NetFnSensor, 0x26,
		"30 18 00 00 00 33 32 00 -> CC; 30 08 00 00 00 33 00 00 -> CC; 30 10 00 00 00 00 27 00 -> CC; " +
			"30 02 00 28 00 00 00 00 -> CC; 30 08 00 00 00 05 00 00 -> CC; 30 1A 00 46 00 3C 32 00 -> CC; " +
			"30 18 00 00 00 32 32 00; 30 1A 00 46 00 50 5A 00"},
	{"thresholds and a hysteresis", ipmi.NetFnSensor, 0x26,
		"30 08 00 00 00 07 00 00 -> CC; 30 02 00 26 00 00 00 00 -> CC; 30 08 00 00 00 08 00 00"},
	{"a hysteresis beyond the range", ipmi.NetFnSensor, 0x24,
		"30 FF 23 00 -> CC; 30 FF 00 23 -> CC; 30 FF FF FF -> CC; 30 FF 22 22; 30 FF 00 00"},
	{"a hysteresis of upper thresholds only", ipmi.NetFnSensor, 0x24,
		"32 FF 32 00 -> CC; 32 FF 31 FF; 32 FF 31 00"},
	{"a hysteresis of lower thresholds only", ipmi.NetFnSensor, 0x24,
		"33 FF 00 CD -> CC; 33 FF FF CC; 33 FF 00 CC"},
	{"a threshold that is not there", ipmi.NetFnSensor, 0x26, "30 01 05 00 00 00 00 00 -> CC"},
	{"event data, states and readings that cannot be set", ipmi.NetFnSensor, 0x30,
		"30 41 10 0000 0000 500000 -> 81; 30 10 10 0100 0000 000000 -> 80; 31 01 10 0100 0000 000000 -> 80; 30 01 10"},

	{"a time before the last record", ipmi.NetFnStorage, 0x49,
		"FFFFFF3F -> CC; 00000000 -> CC; FFFFFFFF -> CC; 00000040; 01000040; 00000040"},
	{"a time of the repository before the last record", ipmi.NetFnStorage, 0x29, "FFFFFF3F -> CC; 00000040"},
	{"an offset to UTC of more than a day", ipmi.NetFnStorage, 0x5D, "A105 -> C9; 5FFA -> C9; A005; 60FA; FF07"},

	{"a VLAN that none can be", ipmi.NetFnTransport, 0x01,
		"01 14 0080 -> CC; 01 14 FF8F -> CC; 01 14 FF0F -> CC; 01 14 0000; 01 14 0180; 01 14 FE8F"},
	{"a MAC address of a group", ipmi.NetFnTransport, 0x01,
		"01 05 01005E000001 -> CC; 01 05 FFFFFFFFFFFF -> CC; 01 0D 333300000001 -> CC; 01 0F 010000000000 -> CC; 01 05 020000000001"},
	{"a mask with holes", ipmi.NetFnTransport, 0x01,
		"01 06 FF00FF00 -> CC; 01 06 00FFFFFF -> CC; 01 06 FFFFFF01 -> CC; 01 06 FFFFFE00; 01 06 00000000; 01 06 FFFFFFFF"},
	{"an address that no node has", ipmi.NetFnTransport, 0x01,
		"01 03 E0000001 -> CC; 01 03 FFFFFFFF -> CC; 01 03 7F000001 -> CC; 01 03 00000001 -> CC; 01 0C EFFFFFFA -> CC; " +
			"01 0E FFFFFFFF -> CC; 01 03 00000000; 01 03 C0A80001"},
	{"a packet that lives no hop, a port 0", ipmi.NetFnTransport, 0x01,
		"01 07 004010 -> CC; 01 08 0000 -> CC; 01 09 0000 -> CC; 01 07 014010"},

	{"system info longer than its blocks", ipmi.NetFnApp, 0x58, "01 00 00 FF -> CC; 04 00 00 FF -> CC; 01 00 00 FE"},
	{"a set that is in progress", ipmi.NetFnApp, 0x58, "00 01; 00 01 -> 81; 00 00; 00 01"},
	{"a session limit without sessions", ipmi.NetFnApp, 0x43, "91 02 04 01 -> CC; 91 02 04 00; 91 02 04"},
	{"alerting and authentication of a channel that has none", ipmi.NetFnApp, 0x40, "01 40 44 -> CC; 01 68 44 -> CC; 01 60 44"},

	{"a block of boot options that has none", ipmi.NetFnChassis, 0x09, "05 01 00 -> CC; 05 00 01 -> CC; 07 01 00; 07 01 01 -> CC"},
	{"an acknowledgement of a reserved party", ipmi.NetFnChassis, 0x08, "04 20 00 -> CC; 04 FF 1F -> CC; 04 1F 1F; 04 FF FF"},
	{"a policy and a power cycle of what is off", ipmi.NetFnChassis, 0x02, "00; 02 -> D5; 01; 02"},

	{"the part of a record that follows no other", ipmi.NetFnStorage, 0x45,
		"0100 0000 04 00 AA -> CB; 0100 0500 00 00 AA -> CB; 0200 0000 00 00 AA -> C5; 0100 0000 00 01 AA -> 80"},
	{"the erasure of a log that is not reserved", ipmi.NetFnStorage, 0x47, "0200 434C52 AA -> C5; 0100 434C52 AA"},
	{"the part of a FRU behind its end", ipmi.NetFnStorage, 0x12, "00 0F00 4142 -> C9; 00 1000 41 -> C9; 00 0E00 4142"},
}

// TestContradictions: a request that contradicts itself, or what the BMC has, is refused and leaves
// nothing.
func TestContradictions(t *testing.T) {
	var cases int
	for _, tt := range contradictions {
		story(t, tt.name, func(t *testing.T, b *bench) {
			warm, present := inlet(nil), supply(nil)
			upper, lower := inlet(nil), inlet(nil)
			upper.Name, upper.Number, upper.Thresholds = "Upper", 0x32, Thresholds{UpperCritical: at(50)}
			lower.Name, lower.Number, lower.Thresholds = "Lower", 0x33, Thresholds{LowerCritical: at(50)}
			b.bmc = opened(t, Config{
				Machine: new(fakeMachine), Sensors: []SensorConfig{warm, present, upper, lower},
				FRUs: []FRUConfig{{Name: "Board", Size: 16}},
			})
			b.is("clock", b.storage(0x49, "00000040"), "00")
			b.is("record", b.storage(0x44, "FFFF 02 00000000 2000 04 01 30 01 57 60 5F"), "00 0100")
			b.is("reserve", b.on(host0, 0, ipmi.NetFnStorage, 0x42, ""), "00 0100")
			state := func() string {
				thresholds := b.sensor(0x27, "30")
				return fmt.Sprint(b.bmc.journal.snapshot(), b.app(getTimer, ""), thresholds, b.sensor(0x25, "30 FF"), b.sensor(0x2D, "30"))
			}
			for _, request := range strings.Split(tt.requests, ";") {
				data, want, refused := strings.Cut(request, "->")
				before := state()
				got := fmt.Sprintf("%02X", b.on(host0, 0, tt.netFn, tt.command, strings.TrimSpace(data))[0])
				switch {
				case refused && (got != strings.TrimSpace(want) || state() != before):
					t.Errorf("%s: %s, want%s; changed %t", data, got, want, state() != before)
				case !refused && got != "00":
					t.Errorf("%s: %s, which is right", data, got)
				}
				cases++
			}
		})
	}
	t.Logf("%d requests of %d kinds", cases, len(contradictions))
}

// TestContradictionsOfSensors: the configuration of a sensor cannot contradict itself either.
func TestContradictionsOfSensors(t *testing.T) {
	for name, change := range map[string]func(*SensorConfig){
		"upper thresholds out of order":     func(c *SensorConfig) { c.Thresholds.UpperCritical = at(30) },
		"a lower threshold above the upper": func(c *SensorConfig) { c.Thresholds.LowerCritical = at(45) },
		"a hysteresis beyond the range":     func(c *SensorConfig) { c.Hysteresis = 40 },
	} {
		c := inlet(nil)
		change(&c)
		if err := (Config{Sensors: []SensorConfig{c}}).Validate(); err == nil || !strings.Contains(err.Error(), `sensor "Inlet"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
