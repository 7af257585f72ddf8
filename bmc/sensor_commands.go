package bmc

import (
	"encoding/binary"

	"ipmbd/ipmi"
)

// sensorCommands are those of sensors (IPMI v2.0, section 35).
var sensorCommands = []command{
	{ipmi.NetFnSensor, 0x23, 2, 2, atOnce, ofThresholds(getReadingFactors)},
	{ipmi.NetFnSensor, 0x24, 4, 4, atOnce, ofThresholds(setHysteresis)},
	{ipmi.NetFnSensor, 0x25, 2, 2, atOnce, ofThresholds(getHysteresis)},
	{ipmi.NetFnSensor, 0x26, 8, 8, atOnce, ofThresholds(setThresholds)},
	{ipmi.NetFnSensor, 0x27, 1, 1, atOnce, ofThresholds(getThresholds)},
	{ipmi.NetFnSensor, 0x28, 2, 6, atOnce, ofSensor(setEventEnable)},
	{ipmi.NetFnSensor, 0x29, 1, 1, atOnce, ofSensor(getEventEnable)},
	{ipmi.NetFnSensor, 0x2A, 2, 6, atOnce, ofSensor(rearmEvents)},
	{ipmi.NetFnSensor, 0x2B, 1, 1, reads, getEventStatus},
	{ipmi.NetFnSensor, 0x2D, 1, 1, reads, getReading},
	{ipmi.NetFnSensor, 0x2E, 3, 3, atOnce, ofSensor(setSensorType)},
	{ipmi.NetFnSensor, 0x2F, 1, 1, atOnce, ofSensor(getSensorType)},
	{ipmi.NetFnSensor, 0x30, 2, 10, atOnce, ofSensor(setReading)},
}

// ofSensor serves a command of one sensor, whose number comes first, under its
// lock.
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

// getReadingFactors takes a reading, for sensors that are not linear. There is
// none after it.
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

// setThresholds takes a mask of those to be set, and a byte for each.
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

// Flags of enables and of readings.
const (
	messagesEnabled = 1 << 7
	scanningEnabled = 1 << 6
	unavailable     = 1 << 5
	selectionMask   = 3 << 4 // what the masks are for
	enableSelected  = 1 << 4
	disableSelected = 2 << 4
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

// masks are the masks of assertions and deassertions at the end of a request:
// bytes that are left out are zero.
func masks(data []byte) (assert, deassert uint16) {
	var all [4]byte
	copy(all[:], data)
	return binary.LittleEndian.Uint16(all[:]), binary.LittleEndian.Uint16(all[2:])
}

func appendMasks(to []byte, assert, deassert uint16) []byte {
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(to, assert), deassert)
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
	return answer(appendMasks([]byte{s.events.flags()}, s.events.assert, s.events.deassert)...)
}

const rearmSelected = 1 << 7

// rearmEvents forgets events, all or those of the masks, so that what still holds
// is an event again when the sensor is read.
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

const maxMask = 0xFFFF

func getEventStatus(b *BMC, req *ipmi.Request) ipmi.Response {
	return withReading(b, req, func(s *sensor, flags byte, _ uint16) ipmi.Response {
		return answer(appendMasks([]byte{flags}, s.asserted, s.deasserted)...)
	})
}

// getReading: reading, flags, and what the reading means: the thresholds that it
// is beyond, or the states. Bits without a meaning are 1.
func getReading(b *BMC, req *ipmi.Request) ipmi.Response {
	return withReading(b, req, func(s *sensor, flags byte, reading uint16) ipmi.Response {
		switch {
		case flags&unavailable != 0:
			return answer(0, flags, 0, 0)
		case s.discrete():
			return answer(0, flags, byte(reading), byte(reading>>8)|0x80)
		}
		return answer(byte(reading), flags, s.passed(byte(reading))|0xC0)
	})
}

// withReading reads the sensor of a request before it takes the sensor's lock.
func withReading(b *BMC, req *ipmi.Request, serve func(s *sensor, flags byte, reading uint16) ipmi.Response) ipmi.Response {
	s := b.sensor(req.Data[0])
	if s == nil {
		return refuse(ipmi.CodeNotPresent)
	}
	reading, ok := s.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	flags := s.events.flags()
	if !ok || !s.events.scanning {
		flags |= unavailable
	}
	return serve(s, flags, reading)
}

// setSensorType takes sensor type and event type. They are the configuration's,
// and no other ones can be set.
func setSensorType(s *sensor, data []byte) ipmi.Response {
	if data[0] != s.Type || data[1] != s.EventType {
		return refuse(ipmi.CodeIllegalForType)
	}
	return answer()
}

func getSensorType(s *sensor, _ []byte) ipmi.Response { return answer(s.Type, s.EventType) }

// What Set Sensor Reading And Event Status does with each part of its data, two
// bits each (IPMI v2.0, section 35.17).
const (
	operationBits = 3
	assertShift   = 4 // assertions; deassertions are at 2, event data at 6

	leavePart = 0
	writePart = 1
	maskOn    = 2 // sets the bits of the mask
	maskOff   = 3 // clears those that are not in it

	onlyReading = operationBits
	onlyStates  = operationBits << assertShift
)

// setReading takes operations, the reading, and the states that are asserted; a
// sensor with thresholds has its reading set, a discrete one its states. Events
// are what the sensor makes of that when it is polled next: they cannot be set.
// Neither can a sensor whose value comes from elsewhere.
func setReading(s *sensor, data []byte) ipmi.Response {
	operations, values := data[0], data[1:]
	settable := byte(onlyReading)
	if s.discrete() {
		settable = onlyStates
	}
	switch {
	case !s.settable():
		return refuse(ipmi.CodeIllegalForType)
	case operations&^settable != 0:
		return refuse(ipmi.CodeInvalidField)
	case s.discrete():
		return s.setStates(operations>>assertShift, values)
	}
	return s.setValue(operations, values)
}

func (s *sensor) setValue(operation byte, values []byte) ipmi.Response {
	switch {
	case operation == leavePart:
		return answer()
	case operation != writePart:
		return refuse(ipmi.CodeInvalidField)
	case len(values) < 1:
		return refuse(ipmi.CodeLengthInvalid)
	}
	s.fixed = uint16(values[0])
	return answer()
}

// setStates takes the reading, which a discrete sensor has none of, and the mask;
// bytes that are left out are zero.
func (s *sensor) setStates(operation byte, values []byte) ipmi.Response {
	if operation != leavePart && len(values) < 2 {
		return refuse(ipmi.CodeLengthInvalid)
	}
	var all [3]byte
	copy(all[:], values)
	mask := binary.LittleEndian.Uint16(all[1:])
	switch operation {
	case writePart:
		s.fixed = mask & s.States
	case maskOn:
		s.fixed |= mask & s.States
	case maskOff:
		s.fixed &= mask
	}
	return answer()
}
