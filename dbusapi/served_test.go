package dbusapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

func TestCallThatIsTooLongIsRefused(t *testing.T) {
	r := newRig(t, Config{})
	call := func(length int) error {
		return r.client.Object(xml.ServiceName, BasePath).Call("org.freedesktop.DBus.Properties.Get", 0, xml.LegacyInterface, strings.Repeat("x", length)).Err
	}
	for length, want := range map[int]string{
		128 << 10: "org.freedesktop.DBus.Error.UnknownProperty",
		256 << 10: xml.ErrorLimits,
		4 << 20:   xml.ErrorLimits,
		1:         "org.freedesktop.DBus.Error.UnknownProperty",
	} {
		var failed dbus.Error
		if err := call(length); !errors.As(err, &failed) || failed.Name != want {
			t.Errorf("%d bytes: %.200v, want %s", length, err, want)
		}
	}
}
func TestCallInBigEndianIsServed(t *testing.T) {
	r := newRig(t, Config{})
	message := encodeCall(t, binary.BigEndian, "", byte(0), byte(6), byte(0), byte(cmdBlock), []byte{})
	if err := r.client.Send(message, nil); err != nil {
		t.Fatal(err)
	}
	<-r.fake.began
}

func TestCallThatWantsNoReplyGetsNone(t *testing.T) {
	r := newRig(t, Config{})
	raw := make(chan *dbus.Message, 100)
	r.client.Eavesdrop(raw)
	message := encodeCall(t, binary.LittleEndian, "", byte(0), byte(6), byte(0), byte(1), []byte{})
	for _, flags := range []byte{dbuswire.FlagNoReply, 0} {
		message[2] = flags
		message[8]++
		if err := r.client.Send(bytes.Clone(message), nil); err != nil {
			t.Fatal(err)
		}
	}
	for msg := range raw {
		if msg.Type != dbus.TypeMethodReply {
			continue
		}
		if got := msg.Headers[dbus.FieldReplySerial].Value(); got != uint32(message[8]) {
			t.Errorf("reply to %v", got)
		}
		return
	}
}
