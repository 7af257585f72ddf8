package dbusapi

import "encoding/binary"

// wireHeader is the header of a message to be sent. What is empty is left out.
type wireHeader struct {
	kind, flags         byte
	serial, replySerial uint32

	path, iface, member    string
	errorName              string
	destination, signature string
}

// marshal makes a message that has no body yet, with room for one of so many
// bytes. It is to be appended, and told by finish.
func (h *wireHeader) marshal(room int) []byte {
	const fields = 7 * 16 // bytes, at most, without their texts
	texts := len(h.path) + len(h.iface) + len(h.member) + len(h.errorName) + len(h.destination) + len(h.signature)
	return h.marshalIn(make([]byte, 0, wireFixed+fields+texts+room))
}

// marshalIn is marshal in memory that is there already.
func (h *wireHeader) marshalIn(b []byte) []byte {
	b = append(b[:0], byte(littleEndian), h.kind, h.flags, wireVersion, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[8:], h.serial)
	if h.replySerial != 0 {
		b = append(b, fieldReplySerial, 1, fieldTypes[fieldReplySerial], 0)
		b = appendUint32(b, h.replySerial)
	}
	b = appendField(b, fieldPath, h.path)
	b = appendField(b, fieldInterface, h.iface)
	b = appendField(b, fieldMember, h.member)
	b = appendField(b, fieldErrorName, h.errorName)
	b = appendField(b, fieldDestination, h.destination)
	b = appendField(b, fieldSignature, h.signature)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-wireFixed))
	return appendPadding(b, 8)
}

// finish tells the length of a message's body.
func finish(b []byte) []byte { return setLength(b, len(b)-wireBody(b)) }

// setLength tells the length of the body that a header has.
func setLength(b []byte, body int) []byte {
	binary.LittleEndian.PutUint32(b[4:], uint32(body))
	return b
}

// appendField adds a header field that is a text.
func appendField(b []byte, code byte, text string) []byte {
	if text == "" {
		return b
	}
	b = appendPadding(b, 8)
	kind := fieldTypes[code]
	b = append(b, code, 1, kind, 0)
	if kind == 'g' {
		return appendSignature(b, text)
	}
	return appendString(b, text)
}

func appendSignature(b []byte, s string) []byte {
	b = append(b, byte(len(s)))
	b = append(b, s...)
	return append(b, 0)
}

func appendString(b []byte, s string) []byte {
	b = appendUint32(b, uint32(len(s)))
	b = append(b, s...)
	return append(b, 0)
}

func appendUint32(b []byte, n uint32) []byte {
	return binary.LittleEndian.AppendUint32(appendPadding(b, 4), n)
}

func appendBytes(b, bytes []byte) []byte {
	b = appendUint32(b, uint32(len(bytes)))
	return append(b, bytes...)
}

func appendUint64(b []byte, n uint64) []byte {
	return binary.LittleEndian.AppendUint64(appendPadding(b, 8), n)
}

// appendPadding adds zeros up to a multiple of n bytes.
func appendPadding(b []byte, n int) []byte {
	for len(b)%n != 0 {
		b = append(b, 0)
	}
	return b
}
