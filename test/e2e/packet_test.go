package e2e

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// packet is an IPMB frame. data of a response begins with the completion code.
type packet struct {
	to, netFn, toLUN           byte
	from, number, fromLUN, cmd byte
	data                       []byte
}

// bytes is the frame on the bus (IPMB v1.0, section 2.11).
func (p packet) bytes() []byte {
	b := []byte{p.to, p.netFn<<2 | p.toLUN, 0, p.from, p.number<<2 | p.fromLUN, p.cmd}
	b[2] = -(b[0] + b[1])
	b = append(b, p.data...)
	var sum byte
	for _, c := range b[3:] {
		sum += c
	}
	return append(b, -sum)
}

// answer is the response to a request.
func (p packet) answer(code byte, data ...byte) packet {
	return packet{
		to: p.from, netFn: p.netFn | 1, toLUN: p.fromLUN,
		from: p.to, number: p.number, fromLUN: p.toLUN, cmd: p.cmd,
		data: append([]byte{code}, data...),
	}
}

// isResponse reports whether p is none to be answered.
func (p packet) isResponse() bool { return p.netFn&1 == 1 }

// unpack decodes a frame; ok reports that it is one and both checksums are right.
func unpack(b []byte) (p packet, ok bool) {
	if len(b) < 7 {
		return packet{}, false
	}
	p = packet{
		to: b[0], netFn: b[1] >> 2, toLUN: b[1] & 3,
		from: b[3], number: b[4] >> 2, fromLUN: b[4] & 3, cmd: b[5],
		data: bytes.Clone(b[6 : len(b)-1]),
	}
	return p, bytes.Equal(p.bytes(), b)
}

// mustUnpack unpacks bytes that must be a frame.
func mustUnpack(t testing.TB, b []byte) packet {
	t.Helper()
	p, ok := unpack(b)
	if !ok {
		t.Fatalf("no frame: % X", b)
	}
	return p
}

// unhex is the bytes of a text such as "2C 18 BC".
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Get Device ID, as asked and answered in all that speaks IPMB.
const (
	askDeviceID    = "2C 18 BC 20 04 01 DB"
	answerDeviceID = "20 1C C4 2C 04 01 00 50 01 04 00 02 21 57 01 00 0B 0B E9"
)

func TestPacketsAreFrames(t *testing.T) {
	t.Parallel()
	ask := packet{to: 0x2C, netFn: 6, from: 0x20, number: 1, cmd: 1}
	if got := ask.bytes(); !bytes.Equal(got, unhex(t, askDeviceID)) {
		t.Errorf("request: % X", got)
	}
	answer := ask.answer(0, 0x50, 0x01, 0x04, 0x00, 0x02, 0x21, 0x57, 0x01, 0x00, 0x0B, 0x0B)
	if got := answer.bytes(); !bytes.Equal(got, unhex(t, answerDeviceID)) {
		t.Errorf("response: % X", got)
	}
	// Different LUNs on the two sides change places.
	asked := packet{to: 0x58, netFn: 0x2E, toLUN: 1, from: 0x20, number: 63, fromLUN: 2, cmd: 0x40}
	want := packet{to: 0x20, netFn: 0x2F, toLUN: 2, from: 0x58, number: 63, fromLUN: 1, cmd: 0x40, data: []byte{0xC1}}
	if got := asked.answer(0xC1).bytes(); !bytes.Equal(got, want.bytes()) {
		t.Errorf("response from LUN 1 to LUN 2: % X", got)
	}
}
