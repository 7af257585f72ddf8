package bmc

import (
	"encoding/binary"
	"fmt"

	"ipmbd/ipmi"
)

// Types of sensor data records (IPMI v2.0, section 43).
const (
	fullSensor    = 0x01
	compactSensor = 0x02
	fruLocator    = 0x11
	mcLocator     = 0x12

	recordVersion = 0x51
	recordHeader  = 5    // ID u16, version, type, length of what follows
	textLength    = 0xC0 // and the number of 8-bit characters
)

// Controller is a management controller that others may ask.
type Controller struct {
	// Name of the controller, 2 to 16 characters of ASCII.
	Name string `conf:"name,required"`
	// Address of the controller in its 8-bit form.
	Address ipmi.Address `conf:"address,required"`
	// IPMI channel on which it is.
	Channel ipmi.Channel `conf:"ipmi-channel" range:"0..11"`
	// What it supports, as in its response to Get Device ID.
	Capabilities uint8 `conf:"capabilities"`
	// What the controller belongs to (IPMI v2.0, table 43-13).
	Entity uint8 `conf:"entity"`
	// Which of several entities it is.
	Instance uint8 `conf:"instance"`
}

// Validate reports what is wrong.
func (c Controller) Validate() error {
	switch err := validName(c.Name); {
	case err != nil:
		return fmt.Errorf("controller %q: %w", c.Name, err)
	case !c.Address.IsSlave():
		return fmt.Errorf("controller %q: address %v", c.Name, c.Address)
	case c.Channel > ipmi.ChannelMaxImplemented:
		return fmt.Errorf("controller %q: channel %d is above %d", c.Name, c.Channel, ipmi.ChannelMaxImplemented)
	}
	return nil
}

// record makes the next record of a repository: IDs are the places from 1.
func (r *repository) record(kind byte, body []byte, name string) {
	data := binary.LittleEndian.AppendUint16(nil, uint16(len(r.records)+1))
	data = append(data, recordVersion, kind, byte(len(body)+1+len(name)))
	data = append(append(data, body...), textLength|byte(len(name)))
	r.records = append(r.records, append(data, name...))
}

// Capabilities and initial state of a sensor (IPMI v2.0, table 43-1).
const (
	scanAndEvents     = 0x03 // initially enabled
	readingSettable   = 1 << 7
	autoRearm         = 1 << 6
	settable          = 0x28 // hysteresis and thresholds can be read and set
	noAnalogReading   = 0xC0
	nothingOfReadings = 0x00
)

// addSensor makes a full record of a sensor with thresholds, and a compact one of
// a discrete sensor (IPMI v2.0, tables 43-1 and 43-2).
func (r *repository) addSensor(s *sensor) {
	head := []byte{bmcAddress, 0, s.Number, s.Entity, s.Instance, scanAndEvents, autoRearm, s.Type, s.EventType}
	if s.settable() {
		head[5] |= readingSettable
	}
	if s.discrete() {
		body := binary.LittleEndian.AppendUint16(appendMasks(head, s.States, s.States), s.States)
		body = append(body, noAnalogReading, 0, 0) // units
		body = append(body, 1, 0)                  // one sensor has this record
		body = append(body, 0, 0, 0, 0, 0, 0)      // hysteresis, reserved, OEM
		r.record(compactSensor, body, s.Name)
		return
	}
	head[6] |= settable
	events, lower, upper := s.possible(), uint16(s.present&0x07), uint16(s.present>>3)
	body := appendMasks(head, events|lower<<12, events|upper<<12)
	body = append(body, s.present, s.present) // thresholds that can be read and set
	body = append(body, 0, s.Unit, 0, 0)      // unsigned, linear
	body = s.factors.append(body)
	body = append(body, nothingOfReadings, 0, 0, 0, maxReading, 0)
	t := s.thresholds
	body = append(body, t[upperNonRecoverable], t[upperCritical], t[upperNonCritical],
		t[lowerNonRecoverable], t[lowerCritical], t[lowerNonCritical])
	body = append(body, s.hysteresis[0], s.hysteresis[1], 0, 0, 0)
	r.record(fullSensor, body, s.Name)
}

// addController makes a management controller device locator record (IPMI v2.0,
// table 43-9).
func (r *repository) addController(c Controller) {
	r.record(mcLocator, []byte{byte(c.Address), byte(c.Channel), 0, c.Capabilities, 0, 0, 0, c.Entity, c.Instance, 0}, c.Name)
}

// logicalFRU is a device that a controller's FRU commands reach (IPMI v2.0, table
// 43-8).
const (
	logicalFRU     = 1 << 7
	logicalFRUType = 0x10
)

// addFRU makes a FRU device locator record.
func (r *repository) addFRU(id, entity, instance uint8, name string) {
	r.record(fruLocator, []byte{bmcAddress, id, logicalFRU, 0, 0, logicalFRUType, 0, entity, instance, 0}, name)
}
