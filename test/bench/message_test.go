package main

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/godbus/dbus/v5"
)

// routed is a reply as dbus-daemon delivers it.
func routed(t *testing.T, serial uint32) []byte {
	t.Helper()
	b, err := marshal(&dbus.Message{
		Type: dbus.TypeMethodReply,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(":1.123"),
			dbus.FieldSender:      dbus.MakeVariant(":1.4"),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.ParseSignatureMust("(iyyyyay)")),
			dbus.FieldReplySerial: dbus.MakeVariant(serial),
		},
		Body: []any{floorAnswer{NetFn: 7, Command: 1, Data: numberedDeviceID(0)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCutMessage(t *testing.T) {
	// The library puts the fields in a random order.
	for range 50 {
		b := routed(t, 0x01020304)
		for short := range len(b) {
			if _, _, size := cutMessage(b[:short]); size != 0 {
				t.Fatalf("%d of %d bytes are a message", short, len(b))
			}
		}
		m, body, size := cutMessage(append(b, 'l'))
		if size != len(b) || !bytes.HasSuffix(body, numberedDeviceID(0)) {
			t.Fatalf("%d of %d bytes, body % X", size, len(b), body)
		}
		if m.kind != dbus.TypeMethodReply || m.replyTo != 0x01020304 {
			t.Fatalf("got %+v", m)
		}
	}
}

func TestCutMessageThatAnswersNothing(t *testing.T) {
	call, err := sendRequest(ipmbdName, indexOf(0)).call()
	if err != nil {
		t.Fatal(err)
	}
	m, _, size := cutMessage(call)
	if size != len(call) || m.kind != dbus.TypeMethodCall || m.replyTo != 0 {
		t.Errorf("got %+v, %d of %d bytes", m, size, len(call))
	}
}

func TestSerialsOfCalls(t *testing.T) {
	c := &client{call: make([]byte, 16)}
	c.ask(62)
	c.ask(0)
	for i, want := range []uint32{1<<6 | 62, 2 << 6} {
		if got := binary.LittleEndian.Uint32(c.out[16*i+serialOffset:]); got != want {
			t.Errorf("serial %d is %#x, want %#x", i, got, want)
		}
	}
}
