package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// rawConn is a connection to the message bus that reads as much as the test says, at the time that
// it says, and sees every reply.
type rawConn struct {
	conn   net.Conn
	in     *bufio.Reader
	serial uint32 // of the last message sent
}

// dialRaw connects to the message bus.
func dialRaw(address string) (*rawConn, error) {
	path, _, _ := strings.Cut(strings.TrimPrefix(address, "unix:path="), ",")
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c := &rawConn{conn: conn, in: bufio.NewReader(conn)}
	user := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if _, err := fmt.Fprintf(conn, "\x00AUTH EXTERNAL %s\r\n", user); err != nil {
		return nil, err
	}
	if line, err := c.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "OK") {
		return nil, fmt.Errorf("the message bus said %q, %v", line, err)
	}
	if _, err := io.WriteString(conn, "BEGIN\r\n"); err != nil {
		return nil, err
	}
	const messageBus = "org.freedesktop.DBus"
	if _, err := c.send(messageBus, 0, "/org/freedesktop/DBus", messageBus+".Hello"); err != nil {
		return nil, err
	}
	_, err = c.reply(c.serial)
	return c, err
}

// send sends a call and returns its serial number. A method without a dot names no interface.
func (c *rawConn) send(to string, flags dbus.Flags, path dbus.ObjectPath, method string, args ...any) (uint32, error) {
	dot := strings.LastIndexByte(method, '.')
	m := &dbus.Message{
		Type: dbus.TypeMethodCall, Flags: flags, Body: args,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(to),
			dbus.FieldPath:        dbus.MakeVariant(path),
			dbus.FieldMember:      dbus.MakeVariant(method[dot+1:]),
		},
	}
	if dot > 0 {
		m.Headers[dbus.FieldInterface] = dbus.MakeVariant(method[:dot])
	}
	if len(args) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(args...))
	}
	return c.write(m)
}

// write sends a message and returns its serial number.
func (c *rawConn) write(m *dbus.Message) (uint32, error) {
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		return 0, err
	}
	c.serial++
	const at = 8 // of the serial number in a message's header
	binary.LittleEndian.PutUint32(b.Bytes()[at:], c.serial)
	_, err := c.conn.Write(b.Bytes())
	return c.serial, err
}

// next is the serial number of the call that the next reply is to, and the message.
func (c *rawConn) next() (uint32, *dbus.Message, error) {
	for {
		m, err := dbus.DecodeMessage(c.in)
		if err != nil {
			return 0, nil, err
		}
		if to, ok := m.Headers[dbus.FieldReplySerial].Value().(uint32); ok {
			return to, m, nil
		}
	}
}

// reply is the reply to a call; replies to others are passed over.
func (c *rawConn) reply(serial uint32) (*dbus.Message, error) {
	for {
		if to, m, err := c.next(); err != nil || to == serial {
			return m, err
		}
	}
}

// skipReplies reads until some replies have come. It does not decode them.
func (c *rawConn) skipReplies(n int) error {
	const fixed = 16 // bytes of a header before its fields
	for n > 0 {
		head, err := c.in.Peek(fixed)
		if err != nil {
			return err
		}
		order := binary.ByteOrder(binary.LittleEndian)
		if head[0] == 'B' {
			order = binary.BigEndian
		}
		if kind := dbus.Type(head[1]); kind == dbus.TypeMethodReply || kind == dbus.TypeError {
			n--
		}
		body, fields := int(order.Uint32(head[4:])), int(order.Uint32(head[12:]))
		if _, err := c.in.Discard(fixed + (fields+7)/8*8 + body); err != nil {
			return err
		}
	}
	return nil
}
