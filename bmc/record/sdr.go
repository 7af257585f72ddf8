package record

import (
	"encoding/binary"

	"ipmbd/ipmi"
)

const (
	// SDRVersion is the version of the sensor data records of IPMI 1.5 and 2.0.
	SDRVersion = 0x51
	// MaxSDRLength is the length of the longest record: a full one with a name of 16 bytes.
	MaxSDRLength = 64
)

// Types of sensor data records (IPMI v2.0, section 43).
const (
	fullSensor        = 0x01
	compactSensor     = 0x02
	fruLocator        = 0x11
	controllerLocator = 0x12
)

// SDR is a sensor data record (IPMI v2.0, section 43). Each begins with the same bytes and ends
// with a name. Numbers are LSB first.
//
//	0-1  record ID
//	2    SDRVersion
//	3    record type
//	4    length of what follows
type SDR interface {
	// Append appends the record to b.
	Append(b []byte, id uint16) []byte
}

const sdrHeader = 5

// appendSDR appends a record: a header, r as the bytes from 5 up to the name, and the name. A name
// that no record can hold is left out.
func appendSDR(b []byte, id uint16, kind byte, r []byte, name string) []byte {
	text, err := appendText(nil, name, MaxName)
	if err != nil {
		text = []byte{textLength}
	}
	b = binary.LittleEndian.AppendUint16(b, id)
	b = append(b, SDRVersion, kind, byte(len(r)-sdrHeader+len(text)))
	return append(append(b, r[sdrHeader:]...), text...)
}

// Sensor is the record of a sensor: a full one if it measures, else a compact one (IPMI v2.0,
// tables 43-1 and 43-2).
//
//	5-6    address of the controller, channel and LUN
//	7      sensor number
//	8-9    entity ID, entity instance
//	10     initialization: bits 1:0 events and scanning enabled, bit 7 the reading can be set
//	11     capabilities: bit 6 rearms itself, bits 5:4 hysteresis, bits 3:2 thresholds, bits 1:0
//	       control of events
//	12-13  sensor type, event type
//	14-19  masks
//	20-22  units: bits 7:6 of the first byte format of readings; base unit; modifier
//	       full                                compact
//	23     linearization: 0 linear             23-24  sensors that share the record
//	24-29  factors                             25-26  hysteresis
//	30     readings that follow: none          27-30  reserved, OEM
//	31-33  nominal reading, normal range       31     type/length of the name
//	34-35  highest and lowest reading          32-    name
//	36-41  thresholds
//	42-43  hysteresis
//	44-46  reserved, OEM
//	47     type/length of the name
//	48-    name
type Sensor struct {
	Owner            ipmi.Address // the controller
	Number           uint8
	Entity, Instance uint8
	Settable         bool // Set Sensor Reading And Event Status can set the reading.
	Type, EventType  uint8
	// Masks are bytes 14 to 19: assertions and lower thresholds, deassertions and upper
	// thresholds, states or settable and readable thresholds.
	Masks  [3]uint16
	Analog *Analog // nil for a discrete sensor
	Name   string
}

// Analog is how a sensor measures.
type Analog struct {
	Unit uint8 // IPMI v2.0, table 43-15
	// Factors are the bytes of Get Sensor Reading Factors: M and tolerance, B and accuracy,
	// exponents.
	Factors [6]byte
	// Thresholds are readings, from upper non-recoverable down to upper non-critical, then from
	// lower non-recoverable up to lower non-critical.
	Thresholds [6]byte
	Hysteresis [2]byte // positive-going, negative-going
}

const (
	initiallyEnabled   = 0x03
	readingSettable    = 1 << 7
	autoRearm          = 1 << 6
	thresholdsSettable = 0x28 // and the hysteresis, and both can be read
	noEvents           = 0x03 // nor thresholds
	noAnalogReading    = 0xC0
	maxReading         = 0xFF
	fullLength         = 47 // up to the name
	compactLength      = 31
)

// Append implements SDR.
func (s Sensor) Append(b []byte, id uint16) []byte {
	r := [fullLength]byte{5: byte(s.Owner), 7: s.Number, s.Entity, s.Instance, initiallyEnabled, autoRearm, s.Type, s.EventType}
	if s.Settable {
		r[10] |= readingSettable
	}
	for i, mask := range s.Masks {
		binary.LittleEndian.PutUint16(r[14+2*i:], mask)
	}
	if s.Analog == nil {
		r[20], r[23] = noAnalogReading, 1
		return appendSDR(b, id, compactSensor, r[:compactLength], s.Name)
	}
	if s.Masks[2] != 0 {
		r[11] |= thresholdsSettable
	} else {
		r[11] |= noEvents
	}
	r[21], r[34] = s.Analog.Unit, maxReading
	copy(r[24:], s.Analog.Factors[:])
	copy(r[36:], s.Analog.Thresholds[:])
	copy(r[42:], s.Analog.Hysteresis[:])
	return appendSDR(b, id, fullSensor, r[:], s.Name)
}

const (
	locatorLength  = 15 // up to the name
	logicalFRU     = 1 << 7
	logicalFRUType = 0x10
)

// FRULocator is the record of a FRU inventory device that FRU commands to its controller reach
// (IPMI v2.0, table 43-7).
//
//	5-6    address of the controller, device ID
//	7-8    bit 7 logical device, LUN and bus; channel
//	10-11  device type, modifier
//	12-13  entity ID, entity instance
//	15     type/length of the name
//	16-    name
type FRULocator struct {
	Owner            ipmi.Address // the controller
	ID               uint8
	Entity, Instance uint8
	Name             string
}

// Append implements SDR.
func (f FRULocator) Append(b []byte, id uint16) []byte {
	r := [locatorLength]byte{5: byte(f.Owner), f.ID, logicalFRU, 10: logicalFRUType, 12: f.Entity, f.Instance}
	return appendSDR(b, id, fruLocator, r[:], f.Name)
}

// ControllerLocator is the record of a management controller (IPMI v2.0, table 43-8).
//
//	5-6    address, channel
//	7      power states and initialization: none
//	8      capabilities
//	12-13  entity ID, entity instance
//	15     type/length of the name
//	16-    name
type ControllerLocator struct {
	Name             string
	Address          ipmi.Address
	Channel          ipmi.Channel
	Capabilities     uint8 // as in the response to Get Device ID
	Entity, Instance uint8
}

// Append implements SDR.
func (c ControllerLocator) Append(b []byte, id uint16) []byte {
	r := [locatorLength]byte{5: byte(c.Address), byte(c.Channel), 8: c.Capabilities, 12: c.Entity, c.Instance}
	return appendSDR(b, id, controllerLocator, r[:], c.Name)
}
