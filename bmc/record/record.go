package record

import (
	"encoding/binary"
	"fmt"
	"strings"

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

// Types of records. From FirstOEM on they are the manufacturer's, with a time,
// from FirstUntimed on without one.
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

// OffsetOfTime is where the types that have a time have it.
const OffsetOfTime = 3

// ID is the record's ID.
func (r Record) ID() uint16 { return binary.LittleEndian.Uint16(r[:]) }

// Type is the record's type.
func (r Record) Type() Type { return Type(r[2]) }

// Time is when the record was added; NoTime where it does not say.
func (r Record) Time() Time {
	if t := r.Type(); t != SystemEvent && (t < FirstOEM || t >= FirstUntimed) {
		return NoTime
	}
	return Time(binary.LittleEndian.Uint32(r[OffsetOfTime:]))
}

// Generator is where an event has come from; NoGenerator where the record does not
// say.
func (r Record) Generator() Generator {
	if r.Type() != SystemEvent {
		return NoGenerator
	}
	return Generator(binary.LittleEndian.Uint16(r[7:]))
}

// manufacturer is that of a type with a time.
func (r Record) manufacturer() uint32 {
	return uint32(r[7]) | uint32(r[8])<<8 | uint32(r[9])<<16
}

// String is what the record says, without its ID, time and sender:
// "temperature 30h: upper critical going high asserted, reading 60h, threshold
// 5Fh".
func (r Record) String() string {
	switch t := r.Type(); {
	case t == SystemEvent:
		return r.event()
	case t >= FirstUntimed:
		return fmt.Sprintf("OEM record %02Xh: % x", uint8(t), r[3:])
	case t >= FirstOEM:
		return fmt.Sprintf("OEM record %02Xh of manufacturer %d (%06Xh): % x", uint8(t), r.manufacturer(), r.manufacturer(), r[10:])
	}
	return fmt.Sprintf("record of unknown type %02Xh: % x", r[2], r[3:])
}

// Generator is a generator ID: the first byte, lower here, is the address of a node
// or, if it is odd, of software, the second one channel<<4 | LUN (IPMI v2.0,
// table 32-1).
type Generator uint16

// NoGenerator is of records that name none: 00h is no node's address.
const NoGenerator Generator = 0

// Address is the node's or the software's.
func (s Generator) Address() ipmi.Address { return ipmi.Address(s) }

// IsSoftware reports whether the sender is software on the host or elsewhere.
func (s Generator) IsSoftware() bool { return s&1 == 1 }

// LUN is the node's.
func (s Generator) LUN() ipmi.LUN { return ipmi.LUN(s>>8) & ipmi.MaxLUN }

// Channel is the one that the event came in on; 0 for software, too.
func (s Generator) Channel() ipmi.Channel { return ipmi.Channel(s >> 12) }

// software is who has the software IDs up to one, as addresses (IPMI v2.0, table
// 5-4).
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

// String names the sender: "2Ch", "2Ch LUN 1 channel 3" where these are not 0,
// "system software 41h", "-" for none.
func (s Generator) String() string {
	if s == NoGenerator {
		return "-"
	}
	var text strings.Builder
	if s.IsSoftware() {
		for _, row := range software {
			if s.Address() <= row.last {
				text.WriteString(row.name + " ")
				break
			}
		}
	}
	text.WriteString(s.Address().String())
	if lun := s.LUN(); lun != 0 {
		fmt.Fprintf(&text, " LUN %d", lun)
	}
	if channel := s.Channel(); channel != 0 {
		fmt.Fprintf(&text, " channel %d", channel)
	}
	return text.String()
}
