package ipmi

import (
	"encoding/binary"
	"fmt"
	"time"
)

// CommandPlatformEvent of NetFnSensor brings an event (IPMI v2.0, section 29.3).
const CommandPlatformEvent Command = 0x02

// Event is an event message and its origin.
type Event struct {
	Interface string
	Channel   Channel
	Host      int
	// Generator is the generator ID of the event's record, its first byte the lower one: from IPMB
	// the requester's address, then channel<<4 | LUN; from a system interface the ID in the
	// message, then 0 (IPMI v2.0, section 32.1).
	Generator uint16
	// Message is event message revision, sensor type, sensor number, direction<<7 | event type,
	// and event data 1 to 3, FFh where not given.
	Message [7]byte
}

// Revisions of event messages: IPMI 1.5 and later, and 1.0.
const (
	eventRevision   = 0x04
	eventRevision10 = 0x03
)

// Event data 2 and 3 may be left out.
const (
	minEventMessage = 5
	maxEventMessage = 7
)

// ParseEvent reads the Platform Event in a request. The code is CodeOK, or says what is wrong with
// it.
func ParseEvent(req *Request) (Event, CompletionCode) {
	e := Event{Interface: req.Interface, Channel: req.Channel, Host: req.Host}
	message := req.Data
	if req.Requester != 0 {
		e.Generator = uint16(req.Requester) | uint16(req.Channel)<<12 | uint16(req.RequesterLUN)<<8
	} else if len(message) > 0 {
		e.Generator = uint16(message[0])
		message = message[1:]
	}
	if len(message) < minEventMessage || len(message) > maxEventMessage {
		return Event{}, CodeLengthInvalid
	}
	if r := message[0]; r != eventRevision && r != eventRevision10 {
		return Event{}, CodeInvalidField
	}
	e.Message = [7]byte{5: 0xFF, 6: 0xFF}
	copy(e.Message[:], message)
	return e, CodeOK
}

// systemEvent is the type of a record of an event with a time (IPMI v2.0, section 32.1).
const systemEvent = 0x02

// Record is the event as a record of the system event log: record ID, type, time stamp in seconds,
// generator ID and message, LSB first. The record of an IPMI 1.0 event has the present revision
// (IPMI v2.0, table 32-1).
func (e Event) Record(id uint16, at time.Time) [16]byte {
	var record [16]byte
	binary.LittleEndian.PutUint16(record[0:], id)
	record[2] = systemEvent
	binary.LittleEndian.PutUint32(record[3:], uint32(at.Unix()))
	binary.LittleEndian.PutUint16(record[7:], e.Generator)
	copy(record[9:], e.Message[:])
	record[9] = eventRevision
	return record
}

// EventOf is the event in a record, without its origin. It returns false if the record is of
// another type or too short.
func EventOf(record []byte) (Event, bool) {
	if len(record) < 16 || record[2] != systemEvent {
		return Event{}, false
	}
	return Event{
		Generator: binary.LittleEndian.Uint16(record[7:]),
		Message:   [7]byte(record[9:16]),
	}, true
}

// Asserted reports whether the event is the beginning of a condition rather than its end.
func (e Event) Asserted() bool { return e.Message[3]&0x80 == 0 }

// Data is event data 1 to 3.
func (e Event) Data() []byte { return e.Message[4:] }

// String is the event in words: "sensor type 01h number 30h asserted, event type 01h, data 57 60
// 5F, from 2Ch".
func (e Event) String() string {
	m, direction := e.Message, "asserted"
	if !e.Asserted() {
		direction = "deasserted"
	}
	return fmt.Sprintf("sensor type %02Xh number %02Xh %s, event type %02Xh, data % X, from %v",
		m[1], m[2], direction, m[3]&0x7F, m[4:], Address(e.Generator))
}
