package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"ipmbd/ipmi"
)

// RecordLength is the length of every record in bytes.
const RecordLength = 16

// IDs that are no record's (IPMI v2.0, section 31.5).
const (
	First uint16 = 0x0000 // asks for the oldest record
	Last  uint16 = 0xFFFF // asks for the newest; as a next one: there is none
)

// Type is the type of a record (IPMI v2.0, section 32).
type Type uint8

// Types of records. From FirstOEM on they are the manufacturer's, with a time, from FirstUntimed
// on without one.
const (
	SystemEvent  Type = 0x02
	FirstOEM     Type = 0xC0
	FirstUntimed Type = 0xE0
)

// Record is a record of the log (IPMI v2.0, tables 32-1 to 32-3), LSB first.
//
//	0-1   record ID
//	2     type
//	      system event           OEM with time    OEM without time
//	3-6   time                   time             data, 3-15
//	7-8   generator ID           manufacturer,
//	9     event message revision 7-9
//	10    sensor type            data, 10-15
//	11    sensor number
//	12    bit 7 deasserted, bits 6:0 event type
//	13-15 event data 1 to 3
type Record [RecordLength]byte

// OffsetOfTime is the place of the time in types that have one.
const OffsetOfTime = 3

// ID is the record's ID.
func (r Record) ID() uint16 { return binary.LittleEndian.Uint16(r[:]) }

// Type is the record's type.
func (r Record) Type() Type { return Type(r[2]) }

// Time is when the record was added; NoTime if its type has none.
func (r Record) Time() Time {
	if t := r.Type(); t != SystemEvent && (t < FirstOEM || t >= FirstUntimed) {
		return NoTime
	}
	return Time(binary.LittleEndian.Uint32(r[OffsetOfTime:]))
}

// Generator is the generator of an event; NoGenerator if the type has none.
func (r Record) Generator() Generator {
	if r.Type() != SystemEvent {
		return NoGenerator
	}
	return Generator(binary.LittleEndian.Uint16(r[7:]))
}

// String is the record in words, without its ID, time and generator: "temperature 30h: upper
// critical going high asserted, reading 60h, threshold 5Fh".
func (r Record) String() string {
	switch t := r.Type(); {
	case t == SystemEvent:
		return r.event()
	case t >= FirstUntimed:
		return fmt.Sprintf("OEM record %02Xh: % x", uint8(t), r[3:])
	case t >= FirstOEM:
		manufacturer := uint32(r[7]) | uint32(r[8])<<8 | uint32(r[9])<<16
		return fmt.Sprintf("OEM record %02Xh of manufacturer %d (%06Xh): % x", uint8(t), manufacturer, manufacturer, r[10:])
	}
	return fmt.Sprintf("record of unknown type %02Xh: % x", r[2], r[3:])
}

// Generator is a generator ID (IPMI v2.0, table 32-1). The lower byte is the address of a
// controller or, if it is odd, a software ID; the upper one is channel<<4 | LUN.
type Generator uint16

// NoGenerator is the generator of records without one: 00h is no address of a controller.
const NoGenerator Generator = 0

// software names the owners of the software IDs up to last, as addresses (IPMI v2.0, table 5-4).
var software = []struct {
	last ipmi.Address
	name string
}{
	{0x1F, "BIOS"},
	{0x3F, "SMI handler"},
	{0x5F, "system software"},
	{0x7F, "OEM software"},
	{0x8D, "remote console"},
	{0x8F, "terminal"},
	{0xFF, "software"},
}

// String names the generator: "2Ch", "2Ch LUN 1 channel 3" if these are not 0, "system software
// 41h", "-" for none.
func (g Generator) String() string {
	if g == NoGenerator {
		return "-"
	}
	var text strings.Builder
	address := ipmi.Address(g)
	for _, row := range software {
		if address&1 == 1 && address <= row.last {
			text.WriteString(row.name + " ")
			break
		}
	}
	text.WriteString(address.String())
	if lun := ipmi.LUN(g>>8) & ipmi.MaxLUN; lun != 0 {
		fmt.Fprintf(&text, " LUN %d", lun)
	}
	if channel := ipmi.Channel(g >> 12); channel != 0 {
		fmt.Fprintf(&text, " channel %d", channel)
	}
	return text.String()
}

// Time is a time in a log: seconds since 1970, or since the controller's start while it did not
// know the time (IPMI v2.0, section 37).
type Time uint32

const (
	// NoTime is an unknown time.
	NoTime Time = math.MaxUint32
	// lastRelative is the last time that counts from the start (IPMI v2.0, section 37.1).
	lastRelative Time = 0x2000_0000
)

// TimeOf is a time in a log.
func TimeOf(t time.Time) Time { return Time(t.Unix()) }

// UTC is the time; ok is false if there is none, or one since the start only.
func (t Time) UTC() (at time.Time, ok bool) {
	if t <= lastRelative || t == NoTime {
		return time.Time{}, false
	}
	return time.Unix(int64(t), 0).UTC(), true
}

// String is the time in UTC: "2000-01-01 00:00:00Z", "1m5s since start" or "no time".
func (t Time) String() string {
	if t == NoTime {
		return "no time"
	}
	if at, ok := t.UTC(); ok {
		return at.Format("2006-01-02 15:04:05Z")
	}
	return (time.Duration(t) * time.Second).String() + " since start"
}
