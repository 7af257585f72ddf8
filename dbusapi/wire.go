package dbusapi

import "encoding/binary"

// Numbers of the wire format (D-Bus specification, "Message Format").
const (
	wireCall          = 1
	wireReply         = 2
	wireNoReply       = 1 // flag of a call: it wants no reply
	wireVersion       = 1
	wireHeader        = 16 // bytes, with the length of the fields
	wireMaxLength     = 1 << 27
	fieldPath         = 1
	fieldInterface    = 2
	fieldMember       = 3
	fieldReplySerial  = 5
	fieldDestination  = 6
	fieldSender       = 7
	fieldSignature    = 8
	wireLittleEndian  = 'l'
	wireBigEndian     = 'B'
	wireFieldsAlign   = 8
	requestSignature  = "yyyyay"
	responseSignature = "(iyyyyay)"
)

// wireMessage is a method call as it is on the wire. Its slices are views.
//
//	0 'l'   1 type   2 flags   3 version   4 length of the body   8 serial
//	12 length of the fields   16 fields, a(yv), padded to 8   then the body
type wireMessage struct {
	flags                                  byte
	serial                                 uint32
	path, iface, member, sender, signature []byte
	body                                   []byte
}

// wireLength is the length of the message that begins with b, wireHeader bytes
// of it; false if there is none of a length that D-Bus allows.
func wireLength(b []byte) (int, bool) {
	var order binary.ByteOrder = binary.LittleEndian
	if b[0] == wireBigEndian {
		order = binary.BigEndian
	}
	body, fields := uint64(order.Uint32(b[4:])), uint64(order.Uint32(b[12:]))
	length := wireHeader + (fields+7)&^7 + body
	return int(length), length <= wireMaxLength
}

// parseCall reads a whole little-endian method call. What it does not know, or
// finds wrong, it leaves to the library: false.
func parseCall(b []byte) (wireMessage, bool) {
	if len(b) < wireHeader || b[0] != wireLittleEndian || b[1] != wireCall || b[3] != wireVersion {
		return wireMessage{}, false
	}
	length, ok := wireLength(b)
	if !ok || length != len(b) {
		return wireMessage{}, false
	}
	m := wireMessage{flags: b[2], serial: binary.LittleEndian.Uint32(b[8:])}
	end := wireHeader + int(binary.LittleEndian.Uint32(b[12:]))
	m.body = b[(end+7)&^7:]
	return m, m.parseFields(b[:end])
}

// parseFields reads the header fields, which begin at wireHeader.
func (m *wireMessage) parseFields(b []byte) bool {
	for at := wireHeader; at < len(b); {
		at = (at + 7) &^ 7
		// The code, and the signature of one basic type.
		if at+4 > len(b) || b[at+1] != 1 || b[at+3] != 0 {
			return false
		}
		code, kind := b[at], b[at+2]
		value, next, ok := wireText(b, at+4, kind)
		if !ok {
			return false
		}
		switch code {
		case fieldPath:
			m.path = value
		case fieldInterface:
			m.iface = value
		case fieldMember:
			m.member = value
		case fieldSender:
			m.sender = value
		case fieldSignature:
			m.signature = value
		case fieldDestination:
		default:
			return false
		}
		at = next
	}
	return true
}

// wireText reads a string, an object path or a signature at an offset that is a
// multiple of 4, and gives the offset behind it.
func wireText(b []byte, at int, kind byte) (value []byte, next int, ok bool) {
	var length int
	switch kind {
	case 's', 'o':
		if at+4 > len(b) {
			return nil, 0, false
		}
		length, at = int(binary.LittleEndian.Uint32(b[at:])), at+4
	case 'g':
		if at >= len(b) {
			return nil, 0, false
		}
		length, at = int(b[at]), at+1
	default:
		return nil, 0, false
	}
	// One more for the zero at the end.
	if length < 0 || length >= len(b)-at {
		return nil, 0, false
	}
	return b[at : at+length], at + length + 1, true
}

// requestArgs is the arguments of org.openbmc.Ipmb.sendRequest. data is a view.
type requestArgs struct {
	channel, netFn, lun, cmd byte
	data                     []byte
}

// parseRequest reads a body of the types yyyyay: four bytes, the length of the
// data and the data.
func parseRequest(body []byte) (requestArgs, bool) {
	if len(body) < 8 || uint64(binary.LittleEndian.Uint32(body[4:])) != uint64(len(body)-8) {
		return requestArgs{}, false
	}
	return requestArgs{body[0], body[1], body[2], body[3], body[8:]}, true
}

// appendReply adds the reply to a call of sendRequest: a message with one
// struct of the types (iyyyyay).
func appendReply(b []byte, serial, replySerial uint32, destination string, r legacyResponse) []byte {
	start := len(b)
	b = append(b, wireLittleEndian, wireReply, wireNoReply, wireVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(12+len(r.Data)))
	b = binary.LittleEndian.AppendUint32(b, serial)
	b = append(b, 0, 0, 0, 0) // length of the fields

	b = append(b, fieldReplySerial, 1, 'u', 0)
	b = binary.LittleEndian.AppendUint32(b, replySerial)
	b = append(b, fieldDestination, 1, 's', 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(destination)))
	b = append(b, destination...)
	b = append(b, 0)
	b = appendPadding(b, start)
	b = append(b, fieldSignature, 1, 'g', 0, byte(len(responseSignature)))
	b = append(b, responseSignature...)
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b[start+12:], uint32(len(b)-start-wireHeader))
	b = appendPadding(b, start)

	b = binary.LittleEndian.AppendUint32(b, uint32(r.Status))
	b = append(b, r.NetFn, r.LUN, r.Command, r.Code)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Data)))
	return append(b, r.Data...)
}

// appendPadding adds zeros up to a multiple of 8 bytes from start.
func appendPadding(b []byte, start int) []byte {
	for (len(b)-start)%wireFieldsAlign != 0 {
		b = append(b, 0)
	}
	return b
}
