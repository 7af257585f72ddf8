package dbuswire

import "encoding/binary"

// Header is the header of a message to be sent. Empty fields are left out.
type Header struct {
	Type, Flags         byte
	Serial, ReplySerial uint32

	Path, Interface, Member string
	ErrorName               string
	Destination, Signature  string
}

// Begin makes a message without its body, in memory with room for a body of room bytes. The caller
// appends the body and calls Finish.
func (h *Header) Begin(room int) []byte {
	const fields = 7 * 16 // bytes, at most, without their texts
	texts := len(h.Path) + len(h.Interface) + len(h.Member) + len(h.ErrorName) + len(h.Destination) + len(h.Signature)
	return h.BeginIn(make([]byte, 0, fixed+fields+texts+room))
}

// BeginIn is Begin in memory that the caller has.
func (h *Header) BeginIn(b []byte) []byte {
	b = append(b[:0], byte(littleEndian), h.Type, h.Flags, version, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[8:], h.Serial)
	if h.ReplySerial != 0 {
		b = append(b, fieldReplySerial, 1, fieldTypes[fieldReplySerial], 0)
		b = AppendUint32(b, h.ReplySerial)
	}
	b = appendField(b, fieldPath, h.Path)
	b = appendField(b, fieldInterface, h.Interface)
	b = appendField(b, fieldMember, h.Member)
	b = appendField(b, fieldErrorName, h.ErrorName)
	b = appendField(b, fieldDestination, h.Destination)
	b = appendField(b, fieldSignature, h.Signature)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-fixed))
	return AppendPadding(b, 8)
}

// Finish sets the length of the body in a message that is complete.
func Finish(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-int(bodyOffset(b))))
	return b
}

// appendField adds a header field that is a text.
func appendField(b []byte, code byte, text string) []byte {
	if text == "" {
		return b
	}
	b = AppendPadding(b, 8)
	kind := fieldTypes[code]
	b = append(b, code, 1, kind, 0)
	if kind == 'g' {
		return AppendSignature(b, text)
	}
	return AppendString(b, text)
}

// AppendSignature adds a g.
func AppendSignature(b []byte, s string) []byte {
	b = append(b, byte(len(s)))
	b = append(b, s...)
	return append(b, 0)
}

// AppendString adds an s or an o.
func AppendString(b []byte, s string) []byte {
	b = AppendUint32(b, uint32(len(s)))
	b = append(b, s...)
	return append(b, 0)
}

// AppendUint16 adds a q.
func AppendUint16(b []byte, n uint16) []byte {
	return binary.LittleEndian.AppendUint16(AppendPadding(b, 2), n)
}

// AppendUint32 adds a u, or a value of another type of that size.
func AppendUint32(b []byte, n uint32) []byte {
	return binary.LittleEndian.AppendUint32(AppendPadding(b, 4), n)
}

// AppendUint64 adds a t, or a value of another type of that size.
func AppendUint64(b []byte, n uint64) []byte {
	return binary.LittleEndian.AppendUint64(AppendPadding(b, 8), n)
}

// AppendBytes adds an ay.
func AppendBytes(b, bytes []byte) []byte {
	b = AppendUint32(b, uint32(len(bytes)))
	return append(b, bytes...)
}

// AppendKey begins an entry of a dictionary a{sv}. The caller appends the value.
func AppendKey(b []byte, key, signature string) []byte {
	return AppendSignature(AppendString(AppendPadding(b, 8), key), signature)
}

// BeginArray begins an array of structs or dictionary entries, each of which begins at a
// multiple of 8 bytes. EndArray needs at.
func BeginArray(b []byte) (_ []byte, at int) {
	b = AppendUint32(b, 0)
	return AppendPadding(b, 8), len(b)
}

// EndArray sets the length of an array that BeginArray began.
func EndArray(b []byte, at int) []byte {
	binary.LittleEndian.PutUint32(b[at-4:], uint32(len(b)-alignUp(at, 8)))
	return b
}

// AppendPadding adds zeros up to a multiple of n bytes.
func AppendPadding(b []byte, n int) []byte {
	for len(b)%n != 0 {
		b = append(b, 0)
	}
	return b
}
