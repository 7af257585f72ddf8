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
			return refuse(ipmi.CodeNotPresent)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return serve(s, req.Data[1:])
	}
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
			return refuse(ipmi.CodeNotPresent)
		}
		reading, err := s.read()
		s.mu.Lock()
		defer s.mu.Unlock()
		flags := s.events.flags()
		if err != nil || !s.events.scanning {
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
	if data[0] != hysteresisMask {
		return refuse(ipmi.CodeInvalidField)
	}
	s.hysteresis = [2]byte(data[1:])
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
	mask := data[0]
	if mask&^s.present != 0 {
		return refuse(ipmi.CodeInvalidField)
	}
	for i, t := range data[1:] {
		if mask&(1<<i) != 0 {
			s.thresholds[i] = t
		}
	}
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

// answerMasks answers with flags and the masks of assertions and deassertions.
func answerMasks(flags byte, assert, deassert uint16) ipmi.Response {
	return answer(flags, byte(assert), byte(assert>>8), byte(deassert), byte(deassert>>8))
}

func setEventEnable(s *sensor, data []byte) ipmi.Response {
	flags, e := data[0], &s.events
	assert, deassert := masks(data[1:])
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
// an event again when the sensor is read.
func rearmEvents(s *sensor, data []byte) ipmi.Response {
	assert, deassert := masks(data[1:])
	if data[0]&rearmSelected == 0 {
		assert, deassert = maxMask, maxMask
	}
	s.state &^= assert
	s.asserted &^= assert
	s.deasserted &^= deassert
	return answer()
}

func getEventStatus(s *sensor, flags byte, _ uint16) ipmi.Response {
	return answerMasks(flags, s.asserted, s.deasserted)
}

// getReading answers with the reading, flags, and the thresholds that the reading has passed, or
// the states. Unused bits are 1.
func getReading(s *sensor, flags byte, reading uint16) ipmi.Response {
	switch {
	case flags&unavailable != 0:
		return answer(0, flags, 0, 0)
	case s.discrete():
		return answer(0, flags, byte(reading), byte(reading>>8)|0x80)
	}
	return answer(byte(reading), flags, s.passed(byte(reading))|0xC0)
}

// setSensorType takes sensor type and event type. It accepts the configured types only.
func setSensorType(s *sensor, data []byte) ipmi.Response {
	if data[0] != s.Type || data[1] != s.EventType {
		return refuse(ipmi.CodeIllegalForType)
	}
	return answer()
}

func getSensorType(s *sensor, _ []byte) ipmi.Response { return answer(s.Type, s.EventType) }

// Operations of Set Sensor Reading And Event Status, two bits for each part of its data (section
// 35.17).
const (
	operationBits = 3
	assertShift   = 4 // assertions; deassertions are at 2, event data at 6

	leavePart  = 0
	writePart  = 1
	setBits    = 2 // set the bits of the mask
	clearBits  = 3 // those that are not in the mask
	onlyStates = operationBits << assertShift
)

// setReading takes operations, the reading, and the asserted states. It sets the reading of a
// sensor with thresholds, or the states of a discrete sensor; a discrete sensor has no reading.
// Events cannot be set: they follow when the sensor is polled. A sensor with a source cannot be
// set.
func setReading(s *sensor, data []byte) ipmi.Response {
	operation, values, used, needed := data[0], data[1:], byte(operationBits), 1
	if s.discrete() {
		used, needed = onlyStates, 2
	}
	switch {
	case !s.settable():
		return refuse(ipmi.CodeIllegalForType)
	case operation&^used != 0, !s.discrete() && operation > writePart:
		return refuse(ipmi.CodeInvalidField)
	case operation == leavePart:
		return answer()
	case len(values) < needed:
		return refuse(ipmi.CodeLengthInvalid)
	case !s.discrete():
		s.fixed = uint16(values[0])
		return answer()
	}
	mask, _ := masks(values[1:])
	switch operation >> assertShift {
	case writePart:
		s.fixed = mask & s.States
	case setBits:
		s.fixed |= mask & s.States
	case clearBits:
		s.fixed &= mask
	}
	return answer()
}
