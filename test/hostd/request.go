package hostd

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// NetFn is the network function of the commands below.
const NetFn = 0x30

// Commands of NetFn.
const (
	// CommandEcho is answered with the request that arrived; see DecodeEcho.
	CommandEcho = 0x01
	// CommandDelay brings a time in milliseconds, two bytes LSB first, and the
	// data of the answer that is given after that time.
	CommandDelay = 0x02
	// CommandCode brings the completion code of the answer.
	CommandCode = 0x03
	// CommandLong brings the length of the answer's data in bytes, LSB first;
	// the data are 0, 1, 2 and so on modulo 256. At most 1024.
	CommandLong = 0x04

	// CommandDBusError is answered with the D-Bus error ErrorName.
	CommandDBusError = 0x10
	// CommandEvenNetFn is answered with the network function of the request.
	CommandEvenNetFn = 0x11
	// CommandSilence is never answered.
	CommandSilence = 0x12
	// CommandExit ends the process without an answer.
	CommandExit = 0x13
)

// ErrorName is the D-Bus error of CommandDBusError.
const ErrorName = "xyz.openbmc_project.Common.Error.InternalFailure"

// DeviceID is the data of the answer to Get Device ID.
const DeviceID = "\x50\x01\x04\x00\x02\x21\x57\x01\x00\x0B\x0B"

// Request is a request as it arrived on D-Bus.
type Request struct {
	Sender              string // the caller's unique name; empty in an echo
	NetFn, LUN, Command uint8
	Data                []byte
	RqSA, HostID        *int32 // the options; nil when absent
	Others              int    // further options; in an echo 1 for any number
}

// UnmarshalJSON reads the output of the program.
func (r *Request) UnmarshalJSON(b []byte) error {
	type plain Request // without this method
	printed := struct {
		*plain
		Data string
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(b, &printed); err != nil {
		return err
	}
	data, err := hex.DecodeString(printed.Data)
	r.Data = data
	return err
}

// Bits of an echo's fourth byte.
const (
	echoRqSA   = 0x01
	echoHostID = 0x02
	echoOthers = 0x80
)

var errShortEcho = errors.New("hostd: echo shorter than 12 bytes")

// DecodeEcho reads the data of the answer to CommandEcho:
//
//	0 netFn   1 LUN   2 command   3 options: bit 0 rqSA, bit 1 hostId, bit 7 others
//	4 rqSA, 8 hostId: four bytes each, LSB first, 0 when absent   12 the request's data
func DecodeEcho(b []byte) (Request, error) {
	if len(b) < 12 {
		return Request{}, fmt.Errorf("%w: % X", errShortEcho, b)
	}
	r := Request{NetFn: b[0], LUN: b[1], Command: b[2], Data: b[12:]}
	if b[3]&echoRqSA != 0 {
		r.RqSA = new(int32(binary.LittleEndian.Uint32(b[4:])))
	}
	if b[3]&echoHostID != 0 {
		r.HostID = new(int32(binary.LittleEndian.Uint32(b[8:])))
	}
	if b[3]&echoOthers != 0 {
		r.Others = 1
	}
	return r, nil
}
