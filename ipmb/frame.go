package ipmb

import (
	"errors"

	"ipmbd/ipmi"
)

// Sizes of frames in bytes, the destination address included.
const (
	// MinRequest: addresses, netFn/LUN, sequence/LUN, command, two checksums (IPMB v1.0, 2.11).
	MinRequest = 7
	// MinResponse: the fields of a request, and the completion code.
	MinResponse = 8
)

// SequenceNumbers is how many values the six-bit sequence field has.
const SequenceNumbers = 64

// Why bytes are not a frame.
var (
	ErrShortFrame     = errors.New("ipmb: frame shorter than its kind allows")
	ErrHeaderChecksum = errors.New("ipmb: header checksum wrong")
	ErrBodyChecksum   = errors.New("ipmb: body checksum wrong")
)

// Frame is an IPMB message, its fields named by direction so that a request
// and its response read alike: Destination and DestinationLUN are the
// responder's in a request and the requester's in a response.
//
//	0 destination address   1 netFn<<2 | destination LUN   2 checksum of 0 and 1
//	3 source address        4 sequence<<2 | source LUN     5 command
//	6 completion code (responses only), then data          last: checksum from 3 on
type Frame struct {
	Destination    ipmi.Address
	NetFn          ipmi.NetFn
	DestinationLUN ipmi.LUN
	Source         ipmi.Address
	Sequence       uint8
	SourceLUN      ipmi.LUN
	Command        ipmi.Command
	Code           ipmi.CompletionCode // of a response
	Data           []byte
}

// Decode reads a whole frame, the destination address first. Data is a view into b.
func Decode(b []byte) (Frame, error) {
	if len(b) < MinRequest {
		return Frame{}, ErrShortFrame
	}
	if b[0]+b[1]+b[2] != 0 {
		return Frame{}, ErrHeaderChecksum
	}
	f := Frame{
		Destination: ipmi.Address(b[0]), NetFn: ipmi.NetFn(b[1] >> 2), DestinationLUN: ipmi.LUN(b[1] & 3),
		Source: ipmi.Address(b[3]), Sequence: b[4] >> 2, SourceLUN: ipmi.LUN(b[4] & 3), Command: ipmi.Command(b[5]),
	}
	data := 6
	if f.NetFn.IsResponse() {
		if len(b) < MinResponse {
			return Frame{}, ErrShortFrame
		}
		f.Code = ipmi.CompletionCode(b[6])
		data = 7
	}
	if sum(b[3:]) != 0 {
		return Frame{}, ErrBodyChecksum
	}
	f.Data = b[data : len(b)-1]
	return f, nil
}

// Len is the length of the encoded frame in bytes.
func (f Frame) Len() int {
	if f.NetFn.IsResponse() {
		return MinResponse + len(f.Data)
	}
	return MinRequest + len(f.Data)
}

// Append appends the encoded frame to b.
func (f Frame) Append(b []byte) []byte {
	netFnLUN := uint8(f.NetFn)<<2 | uint8(f.DestinationLUN&3)
	b = append(b, uint8(f.Destination), netFnLUN, -(uint8(f.Destination) + netFnLUN))
	body := len(b)
	b = append(b, uint8(f.Source), f.Sequence<<2|uint8(f.SourceLUN&3), uint8(f.Command))
	if f.NetFn.IsResponse() {
		b = append(b, uint8(f.Code))
	}
	b = append(b, f.Data...)
	return append(b, -sum(b[body:]))
}

// Response is the response frame to the request frame f. Data is not copied.
func (f Frame) Response(code ipmi.CompletionCode, data []byte) Frame {
	return Frame{
		Destination: f.Source, DestinationLUN: f.SourceLUN, Source: f.Destination, SourceLUN: f.DestinationLUN,
		NetFn: f.NetFn.Response(), Sequence: f.Sequence, Command: f.Command, Code: code, Data: data,
	}
}

// sum is the checksum arithmetic of IPMB: bytes added modulo 256.
func sum(b []byte) uint8 {
	var s uint8
	for _, c := range b {
		s += c
	}
	return s
}
