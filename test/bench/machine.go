package main

import (
	"bytes"
	"fmt"
	"slices"
)

// Special bytes of the VM protocol (OpenIPMI lanserv/README.vm): the ends of a message and of a
// command, and the escape before one of these three in a unit.
const (
	vmEndOfMessage = 0xA0
	vmEndOfCommand = 0xA1
	vmEscape       = 0xAA
	vmEscapeBit    = 0x10
)

// vmGreeting is QEMU's: protocol version 1, and all that it can do.
var vmGreeting = []byte{0xFF, 0x01, vmEndOfCommand, 0x08, 0x3F, vmEndOfCommand}

// machine is a link whose requests are a virtual machine's, as QEMU's
// ipmi-bmc-extern sends them: Get Device ID, one at a time.
type machine struct {
	stream
	uncounted
	sequence uint8  // of the request in flight
	unit     []byte // the last one, without escapes
}

// newMachine greets at the other end of a connection.
func newMachine(conn connection) (*machine, error) {
	return &machine{stream: newStream(conn, 512)}, write(conn.fd, vmGreeting)
}

// ask implements link.
func (m *machine) ask(int) {
	m.sequence++
	request := []byte{m.sequence, 6 << 2, 1}
	request = append(request, -byteSum(request))
	for _, c := range request {
		if c == vmEndOfMessage || c == vmEndOfCommand || c == vmEscape {
			m.out = append(m.out, vmEscape)
			c |= vmEscapeBit
		}
		m.out = append(m.out, c)
	}
	m.out = append(m.out, vmEndOfMessage)
}

var onlySlot = []int{0}

// answers implements link.
func (m *machine) answers() ([]int, error) {
	for {
		end := slices.IndexFunc(m.in, func(c byte) bool { return c == vmEndOfMessage || c == vmEndOfCommand })
		if end >= 0 {
			isMessage := m.in[end] == vmEndOfMessage
			m.unit = appendUnescaped(m.unit[:0], m.in[:end])
			m.in = m.in[:copy(m.in, m.in[end+1:])]
			if isMessage {
				return onlySlot, m.check(m.unit)
			}
			continue
		}
		if err := m.fill(); err != nil {
			return nil, err
		}
	}
}

// check looks whether a message is the device ID that was asked for last.
func (m *machine) check(b []byte) error {
	const shortest = 4 + 11 + 1 // head, Get Device ID's least, checksum
	if len(b) < shortest || byteSum(b) != 0 || !bytes.Equal(b[:4], []byte{m.sequence, 7 << 2, 1, 0}) {
		return fmt.Errorf("not the device ID with number %02X: % X", m.sequence, b)
	}
	return nil
}

func appendUnescaped(to, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		if b[i] == vmEscape && i+1 < len(b) {
			i++
			to = append(to, b[i]&^vmEscapeBit)
			continue
		}
		to = append(to, b[i])
	}
	return to
}

func byteSum(b []byte) (sum uint8) {
	for _, c := range b {
		sum += c
	}
	return sum
}
