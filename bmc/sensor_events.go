package bmc

import (
	"errors"

	"ipmbd/ipmi"
)

// eventEnables are the events that a sensor sends.
type eventEnables struct {
	messages, scanning bool
	assert, deassert   uint16
}

// offsets are the events of thresholds, as bits of masks and in event data: lower thresholds
// going low, upper ones going high (IPMI v2.0, table 42-2).
var offsets = [thresholdCount]int{0, 2, 4, 7, 9, 11}

// possible is the mask of the events that a sensor can have.
func (s *sensor) possible() uint16 {
	if s.discrete() {
		return s.States
	}
	var mask uint16
	for i, offset := range offsets {
		if s.present&(1<<i) != 0 {
			mask |= 1 << offset
		}
	}
	return mask
}

// isBeyond reports whether a reading is at a threshold or beyond it. A threshold that was passed
// before counts as passed until the reading has come back by more than the hysteresis (IPMI v2.0,
// sections 35.6 and 35.13.2: the positive-going hysteresis is for upper thresholds).
func (s *sensor) isBeyond(threshold int, reading byte, wasPassed bool) bool {
	var hysteresis [2]int
	if wasPassed {
		hysteresis = [2]int{int(s.hysteresis[0]), int(s.hysteresis[1])}
	}
	at := int(s.thresholds[threshold])
	switch {
	case s.present&(1<<threshold) == 0:
		return false
	case threshold < upperNonCritical:
		return int(reading) <= at+hysteresis[1]
	}
	return int(reading) >= at-hysteresis[0]
}

// passed is the mask of thresholds that a reading is at or beyond.
func (s *sensor) passed(reading byte) (mask byte) {
	for i := range s.thresholds {
		if s.isBeyond(i, reading, false) {
			mask |= 1 << i
		}
	}
	return mask
}

// next is the mask of the events that hold with a reading.
func (s *sensor) next(reading uint16) (state uint16) {
	if s.discrete() {
		return reading
	}
	for i, offset := range offsets {
		if s.isBeyond(i, byte(reading), s.state&(1<<offset) != 0) {
			state |= 1 << offset
		}
	}
	return state
}

// PollSensors reads all sensors. It calls raise with the events of the changes since the last time
// that the sensors were read. It waits for the files of sensors for 100 ms at most: a slower file
// gives its value to a later call. Each file has one read in progress at most, which the end of
// the process abandons. One goroutine may call PollSensors.
func (b *BMC) PollSensors(raise func(ipmi.Event)) {
	readFiles(b.sensors)
	for _, s := range b.sensors {
		reading, err := s.read()
		if errors.Is(err, ErrNoValue) {
			continue
		}
		if failed := err != nil; s.failed != failed {
			s.failed = failed
			if b.config.SensorFault != nil {
				b.config.SensorFault(s.Name, err)
			}
		}
		if err != nil {
			continue
		}
		for _, e := range s.update(reading) {
			raise(e)
		}
	}
}

// RearmSensors has all sensors forget their events. Those of conditions that still hold come again
// with the next poll (IPMI v2.0, section 29.1).
func (b *BMC) RearmSensors() {
	for _, s := range b.sensors {
		s.mu.Lock()
		s.rearm(maxMask, maxMask)
		s.mu.Unlock()
	}
}

// rearm forgets events. The caller holds mu.
func (s *sensor) rearm(assert, deassert uint16) {
	s.state &^= assert
	s.asserted &^= assert
	s.deasserted &^= deassert
	s.rearmed = true
}

// update takes a reading and returns its events.
func (s *sensor) update(reading uint16) []ipmi.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.events.scanning {
		return nil
	}
	state := s.next(reading)
	risen, fallen := state&^s.state, s.state&^state
	s.state, s.rearmed = state, false
	s.asserted = s.asserted&^fallen | risen
	s.deasserted = s.deasserted&^risen | fallen
	if !s.events.messages {
		return nil
	}
	var events []ipmi.Event
	for offset := range 16 {
		bit := uint16(1) << offset
		if risen&s.events.assert&bit != 0 {
			events = append(events, s.event(offset, 0, reading))
		}
		if fallen&s.events.deassert&bit != 0 {
			events = append(events, s.event(offset, deassertion, reading))
		}
	}
	return events
}

const (
	deassertion     = 1 << 7
	triggerReadings = 0x50 // event data 2 is the reading, 3 the threshold
)

func (s *sensor) event(offset int, direction byte, reading uint16) ipmi.Event {
	m := [7]byte{eventRevision, s.Type, s.Number, direction | s.EventType, byte(offset), noEventData, noEventData}
	for i, o := range offsets {
		if !s.discrete() && o == offset {
			m[4], m[5], m[6] = triggerReadings|byte(offset), byte(reading), s.thresholds[i]
		}
	}
	return ipmi.Event{Channel: ipmi.ChannelSystemInterface, Generator: bmcGenerator, Message: m}
}
