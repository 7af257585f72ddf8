package bustest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/godbus/dbus/v5"
)

// ByteOrders are those of D-Bus messages, by name.
var ByteOrders = map[string]binary.ByteOrder{"little endian": binary.LittleEndian, "big endian": binary.BigEndian}

// Encode makes the library encode a message with serial 77.
func Encode(t testing.TB, order binary.ByteOrder, msg *dbus.Message) []byte {
	t.Helper()
	if len(msg.Body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(msg.Body...))
	}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	order.PutUint32(b.Bytes()[8:], 77)
	return b.Bytes()
}

// Silence is an object with every method; no call of one ends before the test.
type Silence struct{ end chan struct{} }

// NewSilence makes a Silence of a test.
func NewSilence(t testing.TB) Silence {
	s := Silence{make(chan struct{})}
	t.Cleanup(func() { close(s.end) })
	return s
}

func (s Silence) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return s, true }
func (s Silence) LookupInterface(string) (dbus.Interface, bool)          { return s, true }
func (s Silence) LookupMethod(string) (dbus.Method, bool)                { return s, true }
func (s Silence) NumArguments() int                                      { return 0 }
func (s Silence) NumReturns() int                                        { return 0 }
func (s Silence) ArgumentValue(int) any                                  { return nil }
func (s Silence) ReturnValue(int) any                                    { return nil }
func (s Silence) Call(...any) ([]any, error)                             { <-s.end; return nil, nil }
