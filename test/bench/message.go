package main

import (
	"encoding/binary"

	"github.com/godbus/dbus/v5"
)

// message is what the client needs to know of one.
type message struct {
	kind    dbus.Type
	replyTo uint32 // serial of the call it answers, 0 for none
}

// cutMessage looks at the first message in b, its body and its size in bytes;
// the size is 0 when it is not all there. dbus-daemon sends what it was sent,
// so all is in our own byte order, which is LSB first.
//
//	0 'l'   1 type   4 body's length   8 serial   12 header fields' length   16 header fields
//	then, at the next multiple of 8, the body (D-Bus specification, "Message Format")
func cutMessage(b []byte) (m message, body []byte, size int) {
	if len(b) < 16 {
		return m, nil, 0
	}
	fieldsEnd := 16 + int(binary.LittleEndian.Uint32(b[12:]))
	begin := align(fieldsEnd, 8)
	end := begin + int(binary.LittleEndian.Uint32(b[4:]))
	if len(b) < end {
		return m, nil, 0
	}
	m = message{kind: dbus.Type(b[1]), replyTo: replySerial(b[:fieldsEnd])}
	return m, b[begin:end], end
}

// replySerial finds that header field. A field is a structure of its code and
// a variant, at a multiple of 8: code, length of the signature, one letter,
// zero, and the value.
func replySerial(b []byte) uint32 {
	for at := 16; at < len(b); {
		code, letter, value := dbus.HeaderField(b[at]), b[at+2], at+4
		switch {
		case code == dbus.FieldReplySerial:
			return binary.LittleEndian.Uint32(b[value:])
		case letter == 'u':
			at = value + 4
		case letter == 'g':
			at = value + 1 + int(b[value]) + 1
		default: // a string or a path
			at = value + 4 + int(binary.LittleEndian.Uint32(b[value:])) + 1
		}
		at = align(at, 8)
	}
	return 0
}

func align(n, to int) int { return (n + to - 1) &^ (to - 1) }
