package bmc

import (
	"encoding/binary"

	"ipmbd/ipmi"
)

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
