package dbusapi

import "encoding/binary"

// Numbers of the wire format (D-Bus specification, "Message Format").
const (
	wireCall   = 1
	wireReturn = 2
	wireError  = 3
	wireSignal = 4

	wireNoReply     = 1 // flag of a call: it wants no reply
	wireNoAutoStart = 2 // flag of a call: start no service for it

	wireVersion   = 1
	wireFixed     = 16 // bytes of a header before its fields
	wireMaxLength = 1 << 27
)

// Codes of the header fields.
const (
	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSender      = 7
	fieldSignature   = 8
	fieldUnixFDs     = 9
)

// fieldTypes is the type that each header field must have.
var fieldTypes = [...]byte{
	fieldPath:        'o',
	fieldInterface:   's',
	fieldMember:      's',
	fieldErrorName:   's',
	fieldReplySerial: 'u',
	fieldDestination: 's',
	fieldSender:      's',
	fieldSignature:   'g',
	fieldUnixFDs:     'u',
}

// byteOrder is the first byte of a message, the order of its numbers. We send
// little-endian ones.
type byteOrder byte

const (
	littleEndian byteOrder = 'l'
	bigEndian    byteOrder = 'B'
)

func (o byteOrder) uint32(b []byte) uint32 {
	if o == bigEndian {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// wireLength is the length of the message that begins with b, wireFixed bytes
// of it; false if there is none of a length that D-Bus allows.
func wireLength(b []byte) (int, bool) {
	order := byteOrder(b[0])
	body, fields := uint64(order.uint32(b[4:])), uint64(order.uint32(b[12:]))
	length := wireFixed + (fields+7)&^7 + body
	return int(length), length <= wireMaxLength
}

// wireBody is where the body of a message of such a length begins: behind the
// fields, which are padded.
func wireBody(b []byte) int {
	fields := int(byteOrder(b[0]).uint32(b[12:]))
	return wireFixed + (fields+7)&^7
}
