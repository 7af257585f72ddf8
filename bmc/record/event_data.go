package record

import (
	"math/bits"
	"slices"
	"strings"
)

// Kinds of event data 2 and 3 in bits 7:6 and 5:4 of event data 1 (IPMI v2.0, table 29-6).
const (
	kindUnspecified = iota
	kindTrigger     // of a threshold: the reading, the threshold; else the previous state
	kindOEM
	kindSpecific // an extension of the sensor type
)

// severityType is the event type whose offsets are severities (IPMI v2.0, tables 29-6 and 42-2).
const severityType = 0x07

// extension is a field of event data 2 or 3 in sensor-specific events.
type extension struct {
	sensorType uint8
	offsets    uint16 // mask of the events that have it
	data       int    // 2 or 3
	mask       uint8
	names      []string // by value, "" for none
	before     string   // a name
}

const anyOffset = 0xFFFF

// extensions are the fields whose values have names (IPMI v2.0, table 42-3).
var extensions = [...]extension{
	{0x08, 1 << 6, 3, 0x0F, []string{
		"vendor mismatch", "revision mismatch", "processor missing", "power rating mismatch", "voltage rating mismatch",
	}, ""},
	{0x0F, 1 << 0, 2, 0xFF, []string{
		"unspecified", "no memory", "no usable memory", "hard disk failure", "system board failure",
		"diskette subsystem failure", "hard disk controller failure", "keyboard failure", "boot medium not found",
		"video controller failure", "no video device", "firmware ROM corruption", "CPU voltage mismatch",
		"CPU speed mismatch",
	}, ""},
	{0x0F, 1<<1 | 1<<2, 2, 0xFF, []string{
		"unspecified", "memory initialization", "hard disk initialization", "secondary processor initialization",
		"user authentication", "user-initiated setup", "USB resource configuration", "PCI resource configuration",
		"option ROM initialization", "video initialization", "cache initialization", "SMBus initialization",
		"keyboard controller initialization", "management controller initialization", "docking station attachment",
		"enabling docking station", "docking station ejection", "disabling docking station", "OS wake-up vector",
		"starting OS boot", "baseboard initialization", "", "floppy initialization", "keyboard test",
		"pointing device test", "primary processor initialization",
	}, ""},
	{0x12, 1 << 3, 2, 0xF0, []string{
		"entry added", "entry added for a non-standard event", "entry added with SEL records", "log cleared",
		"log disabled", "log enabled",
	}, ""},
	{0x12, 1 << 3, 2, 0x0F, []string{"MCA log", "OEM log 1", "OEM log 2"}, ""},
	{0x12, 1 << 5, 2, 0x80, []string{"first of pair", "second of pair"}, ""},
	{0x12, 1 << 5, 2, 0x0F, []string{"SEL clock", "SDR clock"}, ""},
	{0x19, 1 << 0, 2, 0xFF, acpiStates, "to "},
	{0x19, 1 << 0, 3, 0xFF, slices.Concat(acpiStates, []string{"unknown"}), "from "},
	{0x1D, 1 << 7, 2, 0x0F, []string{ // table 28-11
		"unknown cause", "chassis control", "reset button", "power button", "watchdog", "OEM cause",
		"power restored: always on", "power restored: previous state", "reset by platform event filter",
		"power cycle by platform event filter", "soft reset", "clock wake-up",
	}, ""},
	{0x21, anyOffset, 2, 0x7F, []string{
		"PCI", "drive array", "external connector", "docking", "other internal slot", "slot of the sensor's entity",
		"AdvancedTCA", "memory device", "fan", "PCI Express", "SCSI", "SATA/SAS",
	}, ""},
	{0x23, anyOffset, 2, 0xF0, []string{"no interrupt", "SMI", "NMI", "messaging interrupt"}, ""},
	{0x23, anyOffset, 2, 0x0F, []string{"", "BIOS FRB2", "BIOS/POST", "OS load", "SMS/OS", "OEM use"}, ""},
	{0x2A, anyOffset, 3, 0x30, []string{"", "closed", "timed out", "configuration changed"}, ""},
	{0x2B, anyOffset, 2, 0xFF, []string{
		"unspecified", "controller device ID", "controller firmware revision", "controller device revision",
		"controller manufacturer", "controller IPMI version", "controller auxiliary firmware revision",
		"controller boot block", "other controller firmware", "system firmware", "SMBIOS", "operating system",
		"operating system loader", "service partition", "management agent", "management application",
		"management middleware", "programmable hardware", "module of a board", "component of a board",
		"board replaced with equivalent version", "board replaced with newer version",
		"board replaced with older version", "board configuration",
	}, ""},
	{0x2C, anyOffset, 2, 0xF0, []string{
		"normal change", "commanded by software", "operator's handle latch", "hot swap button", "FRU's own action",
		"communication lost", "communication lost locally", "unexpected extraction", "operator's intervention",
		"no IPMB address", "unexpected deactivation", "", "", "", "", "unknown cause",
	}, ""},
	{0x2C, anyOffset, 2, 0x0F, fruStates, "from "},
}

// pefActions are the bits of event data 2 of a platform event filter action (IPMI v2.0, table
// 42-3, System Event, offset 04h).
var pefActions = [...]string{"alert", "power off", "reset", "power cycle", "OEM action", "diagnostic interrupt"}

var acpiStates = []string{
	"S0/G0 working", "S1 sleeping, context kept", "S2 sleeping, processor context lost", "S3 sleeping, memory kept",
	"S4 suspended to disk", "S5/G2 soft off", "S4/S5 soft off", "G3 mechanical off", "sleeping in S1, S2 or S3",
	"G1 sleeping", "S5 by override", "legacy on", "legacy off",
}

var fruStates = []string{
	"not installed", "inactive", "activation requested", "activation in progress", "active",
	"deactivation requested", "deactivation in progress", "communication lost",
}

// dataMeaning is what event data 2 or 3 means, with a blank and in parentheses; "" if only the
// generator knows.
func (r Record) dataMeaning(data int, kind uint8) string {
	var words []string
	add := func(before string, names []string, value uint8) {
		if int(value) < len(names) && names[value] != "" {
			words = append(words, before+names[value])
		}
	}
	value, offset := r[12+data], r[13]&0x0F
	switch {
	case kind == kindTrigger && data == 2 && r.eventType() != thresholdType:
		add("from: ", r.eventNames(), value&0x0F)
		add("severity: ", genericEvents[severityType], value>>4)
	case kind != kindSpecific || r.eventType() != sensorSpecificType:
	case data == 2 && r[10] == 0x12 && offset == 4:
		for bit, name := range pefActions {
			if value>>bit&1 != 0 {
				words = append(words, name)
			}
		}
	default:
		for _, e := range extensions {
			if e.sensorType == r[10] && e.data == data && e.offsets>>offset&1 != 0 {
				add(e.before, e.names, value&e.mask>>bits.TrailingZeros8(e.mask))
			}
		}
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}
