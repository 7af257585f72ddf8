package record

import (
	"fmt"
	"strings"
)

// Event types with a meaning of their own (IPMI v2.0, table 42-1).
const (
	thresholdType      = 0x01
	sensorSpecificType = 0x6F
	firstOEMType       = 0x70
)

// What event data 1 says of the other two (IPMI v2.0, table 29-6).
const (
	data2Unspecified = 0x00 // bits 7:6
	data2Trigger     = 0x40 // of a threshold: the reading
	data3Unspecified = 0x00 // bits 5:4
	data3Trigger     = 0x10 // of a threshold: the threshold
	data2Mask        = 0xC0
	data3Mask        = 0x30
)

// event is an event in words. Readings and thresholds are raw: what they are in
// degrees or volts is in the sender's sensor data records.
func (r Record) event() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %02Xh: %s", sensorType(r[10]), r[11], r.happening())
	if r[12]&0x80 == 0 {
		b.WriteString(" asserted")
	} else {
		b.WriteString(" deasserted")
	}
	data1, threshold := r[13], r.eventType() == thresholdType
	if kind := data1 & data2Mask; kind != data2Unspecified {
		name := "data 2"
		if threshold && kind == data2Trigger {
			name = "reading"
		}
		fmt.Fprintf(&b, ", %s %02Xh", name, r[14])
	}
	if kind := data1 & data3Mask; kind != data3Unspecified {
		name := "data 3"
		if threshold && kind == data3Trigger {
			name = "threshold"
		}
		fmt.Fprintf(&b, ", %s %02Xh", name, r[15])
	}
	return b.String()
}

func (r Record) eventType() uint8 { return r[12] & 0x7F }

// happening is what has begun or ended.
func (r Record) happening() string {
	kind, offset := r.eventType(), r[13]&0x0F
	var names []string
	switch {
	case int(kind) < len(genericEvents):
		names = genericEvents[kind]
	case kind == sensorSpecificType && int(r[10]) < len(sensorTypes):
		names = sensorTypes[r[10]].events
	}
	switch {
	case int(offset) < len(names) && names[offset] != "":
		return names[offset]
	case kind >= firstOEMType:
		return fmt.Sprintf("OEM event %02Xh/%d", kind, offset)
	}
	return fmt.Sprintf("event %02Xh/%d", kind, offset)
}

// firstOEMSensor: from here on sensor types are the manufacturer's.
const firstOEMSensor = 0xC0

func sensorType(t uint8) string {
	switch {
	case int(t) < len(sensorTypes) && sensorTypes[t].name != "":
		return sensorTypes[t].name
	case t >= firstOEMSensor:
		return fmt.Sprintf("OEM sensor type %02Xh", t)
	}
	return fmt.Sprintf("sensor type %02Xh", t)
}
