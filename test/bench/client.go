package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// client is a link whose requests are calls of a sendRequest.
type client struct {
	stream
	order        // the number of a call is in its serial
	call  []byte // marshalled; its serial is put in
	want  []byte // the body of the first answer, without the arrival behind it

	begin int // where the first message in it begins that was not looked at
	slots []int
}

const (
	serialOffset = 8 // D-Bus specification, "Message Format"
	slotBits     = 6 // of a serial; above them is the number of the call
)

// method is a sendRequest: its arguments are a byte of its own, netFn, LUN, command
// and data.
type method struct {
	destination string
	path        dbus.ObjectPath
	iface       string
	first       uint8 // the index of a channel, or the address of a responder
	data        []byte
}

// sendRequest is org.openbmc.Ipmb's, of a service, on the channel with an index.
func sendRequest(service string, index uint8) method {
	return method{service, objectPath, ipmbIface, index, nil}
}

// busSendRequest is sendRequest of the bus with a name, to its responder.
func busSendRequest(name string) method {
	return method{ipmbdName, objectPath + "/" + dbus.ObjectPath(name), ipmbdName, 0, nil}
}

// dialService connects to the message bus and prepares calls of a method: Get
// Device ID.
func (s *stage) dialService(m method) (*client, error) {
	call, err := m.call()
	if err != nil {
		return nil, err
	}
	conn, err := s.dial(unix.SOCK_STREAM, s.at("bus"))
	if err != nil {
		return nil, err
	}
	c := &client{stream: newStream(conn, 64<<10), call: call}
	return c, c.introduce()
}

func (m method) call() ([]byte, error) {
	return marshalCall(m.destination, m.path, m.iface, "sendRequest", m.first, uint8(6), uint8(0), uint8(1), m.data)
}

func marshalCall(destination string, path dbus.ObjectPath, iface, member string, arguments ...any) ([]byte, error) {
	headers := map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(destination),
		dbus.FieldPath:        dbus.MakeVariant(path),
		dbus.FieldInterface:   dbus.MakeVariant(iface),
		dbus.FieldMember:      dbus.MakeVariant(member),
	}
	if len(arguments) > 0 {
		headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(arguments...))
	}
	return marshal(&dbus.Message{Type: dbus.TypeMethodCall, Headers: headers, Body: arguments})
}

func marshal(m *dbus.Message) ([]byte, error) {
	var b bytes.Buffer
	err := m.EncodeTo(&b, binary.LittleEndian)
	return b.Bytes(), err
}

// introduce authenticates and says Hello (D-Bus specification, "Authentication
// Protocol").
func (c *client) introduce() error {
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Getuid())))
	if err := write(c.fd, []byte("\x00AUTH EXTERNAL "+uid+"\r\n")); err != nil {
		return err
	}
	line := make([]byte, 256)
	n, err := read(c.fd, line)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line[:n], []byte("OK ")) {
		return fmt.Errorf("message bus: %q", line[:n])
	}
	hello, err := marshalCall("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(hello[serialOffset:], 1)
	return write(c.fd, append([]byte("BEGIN\r\n"), hello...))
}

// ask implements link. A call's serial has its number, from 1 on, and in the low bits its slot;
// the Hello's serial has the number 0.
func (c *client) ask(slot int) {
	number := c.number()
	at := len(c.out)
	c.out = append(c.out, c.call...)
	binary.LittleEndian.PutUint32(c.out[at+serialOffset:], number<<slotBits|uint32(slot))
}

// answers implements link.
func (c *client) answers() ([]int, error) {
	c.slots = c.slots[:0]
	for len(c.slots) == 0 {
		c.in, c.begin = c.in[:copy(c.in, c.in[c.begin:])], 0
		if err := c.fill(); err != nil {
			return nil, fmt.Errorf("message bus: %w", err)
		}
		for {
			m, body, size := cutMessage(c.in[c.begin:])
			if size == 0 {
				break
			}
			c.begin += size
			if err := c.take(m, body); err != nil {
				return nil, err
			}
		}
	}
	return c.slots, nil
}

// take checks an answer. What concerns the Hello is passed over.
func (c *client) take(m message, body []byte) error {
	if m.replyTo < 1<<slotBits {
		return nil
	}
	answer, at, ok := cutArrival(body)
	if c.want == nil && bytes.HasSuffix(answer, deviceID) {
		c.want = bytes.Clone(answer)
	}
	if m.kind != dbus.TypeMethodReply || !ok || !bytes.Equal(answer, c.want) {
		return fmt.Errorf("sendRequest: message type %v, body % X in place of % X", m.kind, body, c.want)
	}
	c.answered(m.replyTo>>slotBits, at)
	c.slots = append(c.slots, int(m.replyTo&(1<<slotBits-1)))
	return nil
}

// message is what the client needs to know of one.
type message struct {
	kind    dbus.Type
	replyTo uint32 // serial of the call it answers, 0 for none
}

// cutMessage looks at the first message in b, its body and its size in bytes; the size is 0 while
// the message is incomplete. dbus-daemon does not change the byte order, so all messages are in
// our own, LSB first.
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

// replySerial finds that header field. A field is a structure of its code and a variant, at a
// multiple of 8: code, length of the signature, one letter, zero, and the value.
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
