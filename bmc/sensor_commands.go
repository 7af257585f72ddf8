package bmc

import (
	"encoding/binary"

	"ipmbd/ipmi"
)

// sensorCommands are the commands of sensors (IPMI v2.0, section 35).
var sensorCommands = []command{
	{ipmi.NetFnSensor, 0x23, 2, 2, atOnce, ofThresholds(getReadingFactors)},
	{ipmi.NetFnSensor, 0x24, 4, 4, atOnce, ofThresholds(setHysteresis)},
	{ipmi.NetFnSensor, 0x25, 2, 2, atOnce, ofThresholds(getHysteresis)},
	{ipmi.NetFnSensor, 0x26, 8, 8, atOnce, ofThresholds(setThresholds)},
	{ipmi.NetFnSensor, 0x27, 1, 1, atOnce, ofThresholds(getThresholds)},
	{ipmi.NetFnSensor, 0x28, 2, 6, atOnce, ofSensor(setEventEnable)},
	{ipmi.NetFnSensor, 0x29, 1, 1, atOnce, ofSensor(getEventEnable)},
	{ipmi.NetFnSensor, 0x2A, 2, 6, atOnce, ofSensor(rearmEvents)},
	{ipmi.NetFnSensor, 0x2B, 1, 1, atOnce, withReading(getEventStatus)},
	{ipmi.NetFnSensor, 0x2D, 1, 1, atOnce, withReading(getReading)},
	{ipmi.NetFnSensor, 0x2E, 3, 3, atOnce, ofSensor(setSensorType)},
	{ipmi.NetFnSensor, 0x2F, 1, 1, atOnce, ofSensor(getSensorType)},
	{ipmi.NetFnSensor, 0x30, 2, 10, atOnce, ofSensor(setReading)},
}

// ofSensor serves a command of one sensor, whose number comes first, with the sensor's lock held.
func ofSensor(serve func(*sensor, []byte) ipmi.Response) func(*BMC, *ipmi.Request) ipmi.Response {
	return func(b *BMC, req *ipmi.Request) ipmi.Response {
		s := b.sensor(req.Data[0])
		if s == nil {
			return noSuchSensor(req.Data[0])
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return serve(s, req.Data[1:])
	}
}

// noSuchSensor refuses a number that no sensor has, or that none can have.
func noSuchSensor(number byte) ipmi.Response {
	if number == noSensor {
		return refuse(ipmi.CodeInvalidField)
	}
	return refuse(ipmi.CodeNotPresent)
}

// ofThresholds serves a command that discrete sensors do not have.
func ofThresholds(serve func(*sensor, []byte) ipmi.Response) func(*BMC, *ipmi.Request) ipmi.Response {
	return ofSensor(func(s *sensor, data []byte) ipmi.Response {
		if s.discrete() {
			return refuse(ipmi.CodeIllegalForType)
		}
		return serve(s, data)
	})
}

// withReading serves a command with the flags and the reading of a sensor. It reads the sensor
// before it takes the sensor's lock.
func withReading(serve func(s *sensor, flags byte, reading uint16) ipmi.Response) func(*BMC, *ipmi.Request) ipmi.Response {
	return func(b *BMC, req *ipmi.Request) ipmi.Response {
		s := b.sensor(req.Data[0])
		if s == nil {
			return noSuchSensor(req.Data[0])
		}
		reading, err := s.read()
		s.mu.Lock()
		defer s.mu.Unlock()
		flags := s.events.flags()
		if err != nil || !s.events.scanning || s.rearmed {
			flags |= unavailable
		}
		return serve(s, flags, reading)
	}
}

// getReadingFactors takes a reading, which matters only for sensors that are not linear. It
// answers with the largest reading, since no further reading has other factors, and the factors.
func getReadingFactors(s *sensor, _ []byte) ipmi.Response {
	factors := s.factors.bytes()
	return answer(append([]byte{maxReading}, factors[:]...)...)
}

const hysteresisMask = 0xFF // reserved for later use

func setHysteresis(s *sensor, data []byte) ipmi.Response {
	after := s.limits
	after.hysteresis = [2]byte(data[1:])
	if data[0] != hysteresisMask || after.validate() != nil {
		return refuse(ipmi.CodeInvalidField)
	}
	s.limits = after
	return answer()
}

func getHysteresis(s *sensor, data []byte) ipmi.Response {
	if data[0] != hysteresisMask {
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(s.hysteresis[:]...)
}

// setThresholds takes a mask of the thresholds to set, and a byte for each threshold.
func setThresholds(s *sensor, data []byte) ipmi.Response {
	mask, after := data[0], s.limits
	for i, t := range data[1:] {
		if mask&(1<<i) != 0 {
			after.thresholds[i] = t
		}
	}
	if mask&^s.present != 0 || after.validate() != nil {
		return refuse(ipmi.CodeInvalidField)
	}
	s.limits = after
	return answer()
}

func getThresholds(s *sensor, _ []byte) ipmi.Response {
	return answer(append([]byte{s.present}, s.thresholds[:]...)...)
}

// Flags of enables and of readings (sections 35.10 and 35.14).
const (
	messagesEnabled = 1 << 7
	scanningEnabled = 1 << 6
	unavailable     = 1 << 5
	selectionMask   = 3 << 4 // the use of the masks that follow
	enableSelected  = 1 << 4
	disableSelected = 2 << 4
	rearmSelected   = 1 << 7
	maxMask         = 0xFFFF

	reservedEnableBits = 0x0F
	reservedRearmBits  = 0x7F
)

func (e eventEnables) flags() (f byte) {
	if e.messages {
		f |= messagesEnabled
	}
	if e.scanning {
		f |= scanningEnabled
	}
	return f
}

// masks are the masks of assertions and deassertions at the end of a request. Missing bytes are
// zero.
func masks(data []byte) (assert, deassert uint16) {
	var all [4]byte
	copy(all[:], data)
	return binary.LittleEndian.Uint16(all[:]), binary.LittleEndian.Uint16(all[2:])
}

// hasReservedEvents reports whether masks have bits that no event of the sensor's kind has.
func (s *sensor) hasReservedEvents(assert, deassert uint16) bool {
	reserved := uint16(0xF000)
	if s.discrete() {
		reserved = 1 << 15
	}
	return (assert|deassert)&reserved != 0
}

// answerMasks answers with flags and the masks of assertions and deassertions.
func answerMasks(flags byte, assert, deassert uint16) ipmi.Response {
	return answer(flags, byte(assert), byte(assert>>8), byte(deassert), byte(deassert>>8))
}

func setEventEnable(s *sensor, data []byte) ipmi.Response {
	flags, e := data[0], &s.events
	assert, deassert := masks(data[1:])
	if flags&reservedEnableBits != 0 || s.hasReservedEvents(assert, deassert) {
		return refuse(ipmi.CodeInvalidField)
	}
	switch flags & selectionMask {
	case 0:
	case enableSelected:
		e.assert |= assert & s.possible()
		e.deassert |= deassert & s.possible()
	case disableSelected:
		e.assert &^= assert
		e.deassert &^= deassert
	default:
		return refuse(ipmi.CodeInvalidField)
	}
	e.messages, e.scanning = flags&messagesEnabled != 0, flags&scanningEnabled != 0
	return answer()
}

func getEventEnable(s *sensor, _ []byte) ipmi.Response {
	return answerMasks(s.events.flags(), s.events.assert, s.events.deassert)
}

// rearmEvents forgets all events, or the events in the masks. A condition that still holds causes
// an event again when the sensor is read; until then its state is unavailable.
func rearmEvents(s *sensor, data []byte) ipmi.Response {
	assert, deassert := masks(data[1:])
	switch {
	case data[0]&reservedRearmBits != 0:
		return refuse(ipmi.CodeInvalidField)
	case data[0]&rearmSelected == 0: // The masks are ignored.
		assert, deassert = maxMask, maxMask
	case s.hasReservedEvents(assert, deassert):
		return refuse(ipmi.CodeInvalidField)
	}
	s.rearm(assert, deassert)
	return answer()
}

func getEventStatus(s *sensor, flags byte, _ uint16) ipmi.Response {
	return answerMasks(flags, s.asserted, s.deasserted)
}

// getReading answers with the reading, flags, and the thresholds that the reading has passed, or
// the states. Unused bits are 1.
func getReading(s *sensor, flags byte, reading uint16) ipmi.Response {
	isKnown := flags&unavailable == 0
	if !isKnown {
		reading = 0
	}
	switch {
	case s.discrete():
		return answer(0, flags, byte(reading), byte(reading>>8)|0x80)
	case !isKnown:
		return answer(0, flags, 0xC0)
	}
	return answer(byte(reading), flags, s.passed(byte(reading))|0xC0)
}

// setSensorType takes sensor type and event type. It accepts the configured types only.
func setSensorType(s *sensor, data []byte) ipmi.Response {
	const reserved = 1 << 7
	if data[1]&reserved != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	if data[0] != s.Type || data[1] != s.EventType {
		return refuse(ipmi.CodeIllegalForType)
	}
	return answer()
}

func getSensorType(s *sensor, _ []byte) ipmi.Response { return answer(s.Type, s.EventType) }

// Operations of Set Sensor Reading And Event Status, two bits for each part of its data (section
// 35.17): event data, assertions, deassertions, reading.
const (
	operationBits  = 3
	eventDataShift = 6
	assertShift    = 4
	deassertShift  = 2

	offsetOfAsserted   = 1 // behind the reading
	offsetOfDeasserted = 3

	leavePart = 0
	writePart = 1
	setBits   = 2 // set the bits of the mask
	clearBits = 3 // those that are not in the mask; of event data: reserved

	codeNotSettable  ipmi.CompletionCode = 0x80 // this reading, or these status bits
	codeNoEventBytes ipmi.CompletionCode = 0x81 // event data cannot be set
)

// setReading takes operations, the reading, the asserted and deasserted states, and event data. It
// sets the reading of a sensor with thresholds, or the states of a discrete sensor; a discrete
// sensor has no reading. States whose byte is absent stay. Events cannot be set: they follow when
// the sensor is polled. A sensor with a source cannot be set.
func setReading(s *sensor, data []byte) ipmi.Response {
	operation, values := data[0], data[1:]
	part := func(shift int) byte { return operation >> shift & operationBits }
	var given [9]byte // missing bytes are zero
	copy(given[:], values)
	mask, deasserted := masks(given[1:])
	reading, assertions, deassertions := part(0), part(assertShift), part(deassertShift)
	if len(values) <= offsetOfAsserted {
		assertions = leavePart
	}
	if len(values) <= offsetOfDeasserted {
		deassertions = leavePart
	}
	others := deassertions | assertions
	if s.discrete() {
		others = deassertions | reading
	}
	switch {
	case part(eventDataShift) == clearBits, reading > writePart, s.hasReservedEvents(mask, deasserted):
		return refuse(ipmi.CodeInvalidField)
	case part(eventDataShift) != leavePart:
		return refuse(codeNoEventBytes)
	case !s.settable(), others != leavePart:
		return refuse(codeNotSettable)
	case reading == writePart && len(values) == 0:
		return refuse(ipmi.CodeLengthInvalid)
	case reading == writePart:
		s.fixed = uint16(values[0])
		return answer()
	}
	present := uint16(maxMask)
	if len(values) == offsetOfAsserted+1 {
		present = 0xFF
	}
	mask &= s.States
	switch assertions {
	case writePart:
		s.fixed = s.fixed&^present | mask
	case setBits:
		s.fixed |= mask
	case clearBits:
		s.fixed &= mask | ^present
	}
	return answer()
}
