package bmc

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"sync"

	"ipmbd/bmc/record"
)

// thresholdEvents is the event type of sensors with thresholds (IPMI v2.0, table 42-1). All other
// sensors are discrete.
const thresholdEvents = 0x01

// Thresholds are the limits of a sensor's normal readings, in its unit. The sensor has no
// threshold that is nil.
type Thresholds struct {
	// Thresholds of a sensor that measures, from min to max. A reading that passes one is an
	// event.
	LowerNonCritical    *float64 `conf:"lower-non-critical"`
	LowerCritical       *float64 `conf:"lower-critical"`
	LowerNonRecoverable *float64 `conf:"lower-non-recoverable"`
	UpperNonCritical    *float64 `conf:"upper-non-critical"`
	UpperCritical       *float64 `conf:"upper-critical"`
	UpperNonRecoverable *float64 `conf:"upper-non-recoverable"`
}

// The places of thresholds in masks and in requests.
const (
	lowerNonCritical = iota
	lowerCritical
	lowerNonRecoverable
	upperNonCritical
	upperCritical
	upperNonRecoverable
	thresholdCount
)

// thresholdNames are the keys of the configuration.
var thresholdNames = [thresholdCount]string{
	"lower-non-critical", "lower-critical", "lower-non-recoverable",
	"upper-non-critical", "upper-critical", "upper-non-recoverable",
}

func (t Thresholds) all() [thresholdCount]*float64 {
	return [...]*float64{t.LowerNonCritical, t.LowerCritical, t.LowerNonRecoverable,
		t.UpperNonCritical, t.UpperCritical, t.UpperNonRecoverable}
}

// SensorConfig describes a sensor: one that measures and may have thresholds, or a discrete one,
// which has states. The tags are the keys of the configuration file; see package service/config.
type SensorConfig struct {
	// Name of the sensor, 2 to 16 characters of Latin-1.
	Name string `conf:"name,required" format:"record name"`
	// Number of the sensor. Each sensor has its own.
	Number uint8 `conf:"number" range:"0..254"`
	// Type of the sensor (IPMI v2.0, table 42-3): 1 is temperature.
	Type uint8 `conf:"type"`
	// What the sensor belongs to (IPMI v2.0, table 43-13): 7 is the system board.
	Entity uint8 `conf:"entity"`
	// Which of several entities it is.
	Instance uint8 `conf:"instance" range:"0..127"`
	// 0 or 1 for a sensor that measures, another event type of IPMI v2.0, table 42-1, for a
	// discrete sensor: 111 (6Fh) has the states of its sensor type.
	EventType uint8 `conf:"event-type" range:"0..127"`
	// Unit of a sensor that measures (IPMI v2.0, table 43-15): 1 is degrees Celsius.
	Unit uint8 `conf:"unit"`
	// Range that the readings must cover, in the sensor's unit.
	Min        float64    `conf:"min"`
	Max        float64    `conf:"max"`
	Thresholds Thresholds `conf:",inline"`
	// How far a reading must come back behind a threshold before the threshold counts as no
	// longer passed, in the sensor's unit.
	Hysteresis float64 `conf:"hysteresis"`
	// States that a discrete sensor can have: bit n stands for state n.
	States uint16 `conf:"states" range:"0..32767"`
	// Value of a sensor without a source: a reading, or a mask of states. Set Sensor Reading can
	// change it.
	Value float64 `conf:"value"`
	// File that holds the value as a number, read once a second. A file that does not return the
	// value within 2 s, or has more than 4096 bytes, makes the sensor unavailable.
	File string `conf:"file" format:"path"`
	// Factor of the number in the file, 0.001 for the temperatures of hwmon. 0 is 1.
	Scale float64 `conf:"scale"`
	// Read gives the value if it is not nil. It must not block. Its error is ErrNoValue before the
	// first value.
	Read func() (float64, error)
}

const (
	maxInstance = 0x7F
	maxStates   = 0x7FFF
	noSensor    = 0xFF // is no number of a sensor
)

func (c SensorConfig) discrete() bool { return c.EventType > thresholdEvents }

// Validate reports all faults.
func (c SensorConfig) Validate() error {
	var errs []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("sensor %q: "+format, append([]any{c.Name}, a...)...))
		}
	}
	_, err := record.Latin1(c.Name, record.MaxName)
	check(err == nil, "the name %w", err)
	check(c.Number != noSensor, "number FFh is reserved")
	check(c.Instance <= maxInstance, "entity instance %02Xh is above %02Xh", c.Instance, maxInstance)
	check(c.Read == nil || c.File == "", "both a file and a function give its value")
	if c.discrete() {
		check(c.EventType <= 0x7F, "event type %02Xh is above 7Fh", c.EventType)
		check(c.States > 0 && c.States <= maxStates, "states %04Xh; 1 to 15 states are possible", c.States)
		check(c.Value >= 0 && c.Value <= math.MaxUint16, "a value of %g; it is a mask of states", c.Value)
		return errors.Join(errs...)
	}
	if _, err = newFactors(c.Min, c.Max); err != nil {
		check(false, "%w", err)
		return errors.Join(errs...)
	}
	for i, t := range c.Thresholds.all() {
		if t != nil {
			check(*t >= c.Min && *t <= c.Max, "%s %g is not from min to max, %g to %g", thresholdNames[i], *t, c.Min, c.Max)
		}
	}
	check(c.Value == 0 || c.Value >= c.Min && c.Value <= c.Max, "value %g is not from min to max, %g to %g", c.Value, c.Min, c.Max)
	check(c.Hysteresis >= 0 && !(c.Hysteresis > c.Max-c.Min), "hysteresis %g is not from 0 to the distance of min and max, %g",
		c.Hysteresis, c.Max-c.Min)
	if len(errs) == 0 {
		err = c.sensor().limits.validate()
		check(err == nil, "%w", err)
	}
	return errors.Join(errs...)
}

// sensor is a sensor and its state.
type sensor struct {
	SensorConfig
	factors
	file   *sensorFile // nil for none
	failed bool        // the last poll found no value; of PollSensors

	mu    sync.Mutex
	fixed uint16 // the reading of a sensor without a source; commands may set it
	limits
	events     eventEnables
	state      uint16 // mask of the states or events that hold
	asserted   uint16 // mask of the events since they were armed
	deasserted uint16
	rearmed    bool // since the last update, so that state and events are not known
}

// limits are the limits of normal readings as commands have them.
type limits struct {
	present    byte // mask of thresholds
	thresholds [thresholdCount]byte
	hysteresis [2]byte // positive-going, negative-going
}

// validate reports thresholds that are not in their order, and a hysteresis that keeps the
// innermost thresholds passed for ever, or both at once.
func (l limits) validate() error {
	var order []int // of the thresholds that are present, from the lowest
	for _, i := range []int{
		lowerNonRecoverable, lowerCritical, lowerNonCritical,
		upperNonCritical, upperCritical, upperNonRecoverable,
	} {
		if l.present&(1<<i) != 0 {
			order = append(order, i)
		}
	}
	lower, upper := -1, maxReading+1 // the innermost ones
	for n, i := range order {
		at := int(l.thresholds[i])
		if n > 0 && at < int(l.thresholds[order[n-1]]) {
			return errors.New("the thresholds are not in their order")
		}
		if i < upperNonCritical {
			lower = at
		} else {
			upper = min(upper, at)
		}
	}
	switch rising, falling := int(l.hysteresis[0]), int(l.hysteresis[1]); {
	case lower >= upper:
		return errors.New("a lower threshold is not below the upper ones")
	case rising > 0 && upper <= maxReading && upper-rising <= max(lower, 0),
		falling > 0 && lower >= 0 && lower+falling >= min(upper, maxReading):
		return errors.New("the hysteresis reaches beyond the range between the thresholds")
	}
	return nil
}

func newSensor(c SensorConfig) (*sensor, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c.sensor(), nil
}

// sensor is the sensor of a description in which Validate has found no fault.
func (c SensorConfig) sensor() *sensor {
	s := &sensor{SensorConfig: c}
	if c.File != "" {
		s.file = &sensorFile{path: c.File, err: ErrNoValue}
	}
	if !c.discrete() {
		s.EventType = thresholdEvents
		s.factors, _ = newFactors(c.Min, c.Max)
	}
	s.initialize()
	return s
}

// initialize sets the sensor to its description. The caller holds mu.
func (s *sensor) initialize() {
	if !s.discrete() {
		for i, t := range s.Thresholds.all() {
			if t != nil {
				s.present |= 1 << i
				s.thresholds[i] = s.raw(*t)
			}
		}
		s.hysteresis = [2]byte{s.steps(s.Hysteresis), s.steps(s.Hysteresis)}
	}
	s.events = eventEnables{messages: true, scanning: true, assert: s.possible(), deassert: s.possible()}
	s.fixed, _ = s.reading(s.Value)
	s.state, s.asserted, s.deasserted, s.rearmed = 0, 0, 0, false
}

// settable reports whether the sensor has no source.
func (s *sensor) settable() bool { return s.Read == nil && s.File == "" }

// value is the last value of the sensor's source.
func (s *sensor) value() (float64, error) {
	if s.Read != nil {
		return s.Read()
	}
	v, err := s.file.last()
	return v * cmp.Or(s.Scale, 1), err
}

// read is the reading: a byte of a sensor with thresholds, a mask of states of a discrete sensor.
// It does not block.
func (s *sensor) read() (reading uint16, err error) {
	if s.settable() {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.fixed, nil
	}
	v, err := s.value()
	if err != nil {
		return 0, err
	}
	reading, ok := s.reading(v)
	if !ok {
		return 0, fmt.Errorf("%g is no reading", v)
	}
	return reading, nil
}

// reading is the reading of a value.
func (s *sensor) reading(v float64) (reading uint16, ok bool) {
	switch {
	case math.IsNaN(v), math.IsInf(v, 0):
		return 0, false
	case !s.discrete():
		return uint16(s.raw(v)), true
	case v < 0 || v > math.MaxUint16:
		return 0, false
	}
	return uint16(v) & s.States, true
}

// newSensors makes the sensors of descriptions, or returns all faults in them.
func newSensors(configs []SensorConfig) ([]*sensor, error) {
	var all []*sensor
	var errs []error
	for _, c := range configs {
		s, err := newSensor(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, other := range all {
			if other.Number == c.Number {
				errs = append(errs, fmt.Errorf("sensor %q: number %02Xh is that of %q", c.Name, c.Number, other.Name))
			}
		}
		all = append(all, s)
	}
	return all, errors.Join(errs...)
}

// sensor is the sensor of a number, nil if there is none.
func (b *BMC) sensor(number uint8) *sensor {
	for _, s := range b.sensors {
		if s.Number == number {
			return s
		}
	}
	return nil
}
