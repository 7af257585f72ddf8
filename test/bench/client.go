package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// client is a link whose requests are calls of a sendRequest.
type client struct {
	fd   int
	call []byte // marshalled; its serial is put in
	want []byte // the body of the right answer, but for the arrival behind it

	order order // the number of a call is in its serial
	out   []byte
	in    []byte // what was read
	begin int    // where the first message in it begins that was not looked at
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
	answer      []any // Get Device ID, numbered 0
}

// sendRequest is org.openbmc.Ipmb's, of a service, on the channel with an index.
func sendRequest(service string, index uint8) method {
	return method{service, objectPath, ipmbIface, index, nil,
		[]any{floorAnswer{NetFn: 7, Command: 1, Data: numberedDeviceID(0)}}}
}

// busSendRequest is that of the bus with a name, to its responder.
func busSendRequest(name string) method {
	return method{ipmbdName, objectPath + "/" + dbus.ObjectPath(name), ipmbdName, 0, nil,
		[]any{uint8(0), numberedDeviceID(0)}}
}

// dialService connects to the message bus and prepares calls of a method: Get
// Device ID.
func dialService(bus *messageBus, m method) (*client, error) {
	call, err := m.call()
	if err != nil {
		return nil, err
	}
	want, err := m.answerBody()
	if err != nil {
		return nil, err
	}
	fd, err := dial(unix.SOCK_STREAM, bus.socket)
	if err != nil {
		return nil, err
	}
	c := &client{fd: fd, call: call, want: want, in: make([]byte, 0, 64<<10)}
	if err := c.introduce(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) close() { unix.Close(c.fd) }

func (c *client) descriptor() int { return c.fd }

func (m method) call() ([]byte, error) {
	return marshal(&dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(m.destination),
			dbus.FieldPath:        dbus.MakeVariant(m.path),
			dbus.FieldInterface:   dbus.MakeVariant(m.iface),
			dbus.FieldMember:      dbus.MakeVariant("sendRequest"),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.ParseSignatureMust("yyyyay")),
		},
		Body: []any{m.first, uint8(6), uint8(0), uint8(1), m.data},
	})
}

// answerBody is the body of the right answer without the number of its arrival.
func (m method) answerBody() ([]byte, error) {
	message, err := marshal(&dbus.Message{
		Type: dbus.TypeMethodReply,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(uint32(1)),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(m.answer...)),
		},
		Body: m.answer,
	})
	if err != nil {
		return nil, err
	}
	_, body, _ := cutMessage(message)
	body, _, _ = cutArrival(body)
	return body, nil
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
	hello, err := marshal(&dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant("org.freedesktop.DBus"),
			dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus")),
			dbus.FieldInterface:   dbus.MakeVariant("org.freedesktop.DBus"),
			dbus.FieldMember:      dbus.MakeVariant("Hello"),
		},
	})
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(hello[serialOffset:], 1)
	return write(c.fd, append([]byte("BEGIN\r\n"), hello...))
}

// ask implements link. A call's serial is its number, from 1 on, and its slot
// in the low bits; the Hello's serial has the number 0.
func (c *client) ask(slot int) {
	number := c.order.ask()
	at := len(c.out)
	c.out = append(c.out, c.call...)
	binary.LittleEndian.PutUint32(c.out[at+serialOffset:], number<<slotBits|uint32(slot))
}

// send implements link.
func (c *client) send() error {
	err := write(c.fd, c.out)
	c.out = c.out[:0]
	return err
}

// answers implements link.
func (c *client) answers() ([]int, error) {
	c.slots = c.slots[:0]
	for len(c.slots) == 0 {
		if err := c.fill(); err != nil {
			return nil, err
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

// fill reads what there is behind what is left.
func (c *client) fill() error {
	left := copy(c.in, c.in[c.begin:])
	c.begin = 0
	n, err := read(c.fd, c.in[left:cap(c.in)])
	if err == nil && n == 0 {
		err = errors.New("the message bus hung up")
	}
	c.in = c.in[:left+max(n, 0)]
	return err
}

// take checks an answer. What concerns the Hello is passed over.
func (c *client) take(m message, body []byte) error {
	if m.replyTo < 1<<slotBits {
		return nil
	}
	answer, at, ok := cutArrival(body)
	if m.kind != dbus.TypeMethodReply || !ok || !bytes.Equal(answer, c.want) {
		return fmt.Errorf("sendRequest: message type %v, body % X in place of % X", m.kind, body, c.want)
	}
	c.order.answer(m.replyTo>>slotBits, at)
	c.slots = append(c.slots, int(m.replyTo&(1<<slotBits-1)))
	return nil
}

// tally implements tallier.
func (c *client) tally() tally { return tally{disorder: c.order.found} }
