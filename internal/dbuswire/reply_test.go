package dbuswire

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"ipmbd/internal/bustest"

	"github.com/godbus/dbus/v5"
)

func TestStreamSkipsWhatIsTooLong(t *testing.T) {
	long := make([]byte, maxMessage)
	for name, order := range bustest.ByteOrders {
		signal := encodeCall(t, order, ":1.5", long)
		signal[1] = TypeSignal
		unwanted := encodeCall(t, order, ":1.5", long)
		unwanted[2] = FlagNoReply
		s := feed(t, bytes.NewReader(bytes.Join([][]byte{
			signal,
			unwanted,
			encodeCall(t, order, "", long), // without a sender to which a refusal could go
			encodeCall(t, order, ":1."+strings.Repeat("5", maxMessage)),       // its header is too long
			encodeCall(t, order, ":1."+strings.Repeat("5", readBuffer), long), // its header does not fit the buffer
			encodeReturn(t, order, 99, long),
			encodeCall(t, order, ":1.5", byte(1)),
		}, nil)))
		for _, want := range []dbus.Type{dbus.TypeMethodReply, dbus.TypeMethodCall} {
			msg, err := dbus.DecodeMessage(s)
			if err != nil || msg.Type != want {
				t.Fatalf("%s: %v, %v, want %v", name, msg, err, want)
			}
		}
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
		if s.conn.replies.owed != 1 {
			t.Errorf("%s: %d replies are owed, want that to the last call", name, s.conn.replies.owed)
		}
	}
}

func TestRefusalIsWhatTheLibraryReads(t *testing.T) {
	to := ReplyTo{Conn: &Conn{}, serial: 77, Destination: ":1.5"}
	msg := decode(t, to.ErrorIn(nil, tooLongError(70000)))
	if msg.Type != dbus.TypeError || msg.Headers[dbus.FieldErrorName].Value() != errorLimits ||
		msg.Headers[dbus.FieldReplySerial].Value() != uint32(77) || msg.Headers[dbus.FieldDestination].Value() != ":1.5" {
		t.Errorf("%v", msg)
	}
	if text, _ := msg.Body[0].(string); !strings.Contains(text, "70000 bytes") {
		t.Errorf("%q", text)
	}
}

// An error may repeat what its caller has sent, and is a message still when that is long.
func TestTextOfAnErrorIsBounded(t *testing.T) {
	to := ReplyTo{Conn: &Conn{}, serial: 77, Destination: ":1.5"}
	for _, before := range []string{"", "x", "xx", "xxx"} { // where a character is cut
		msg := decode(t, to.ErrorIn(nil, &dbus.Error{Name: "a.b.C", Body: []any{before + strings.Repeat("\u20ac", maxMessage)}}))
		if text, _ := msg.Body[0].(string); len(text) > maxErrorText || len(text) < maxErrorText-3 || !utf8.ValidString(text) {
			t.Errorf("%d bytes", len(text))
		}
	}
}
