package dbusapi

import (
	"bytes"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestResponsesAreWhatTheLibraryReads(t *testing.T) {
	for length := range 20 {
		to := new(dbuswire.Conn).ReplyTo(&dbuswire.Message{Serial: 77})
		to.Destination = ":1." + strings.Repeat("9", length+1)
		x := &busCall{to: to, request: ipmb.Request{NetFn: 6, Command: 1}}
		data := bytes.Repeat([]byte{0xEE}, length)
		msg := decode(t, x.statusReply(ipmi.Response{Code: 0xC1, Data: data}, nil))
		want := []any{[]any{int32(0), byte(7), byte(0), byte(1), byte(0xC1), data}}
		if diff := cmp.Diff(want, msg.Body); diff != "" {
			t.Error(diff)
		}
		wantHeader := dbuswire.Header{Type: dbuswire.TypeReturn, Flags: dbuswire.FlagNoReply, Serial: 1, ReplySerial: 77,
			Destination: to.Destination, Signature: responseSignature}
		if diff := cmp.Diff(wantHeader, headerOf(msg)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestArgumentsThatAreCutOff(t *testing.T) {
	options := map[string]dbus.Variant{"tries": dbus.MakeVariant(uint32(3)), "fail-fast": dbus.MakeVariant(true), "requester-lun": dbus.MakeVariant(byte(2))}
	for name, tt := range map[string]struct {
		parse func(*busCall, *dbuswire.Message) error
		args  []any
	}{
		"legacy":       {parseLegacy, []any{byte(0), byte(6), byte(0), byte(1), []byte{1, 2, 3}}},
		"request":      {parseRequest, []any{byte(0x2C), byte(6), byte(0), byte(1), []byte{1, 2, 3}}},
		"with options": {parseRequest, []any{byte(0x2C), byte(6), byte(0), byte(1), []byte{1, 2, 3}, options}},
		"broadcast":    {parseBroadcast, []any{byte(6), byte(0), byte(1), []byte{1, 2, 3}}},
	} {
		for orderName, order := range bustest.ByteOrders {
			s := &Server{objects: newObjects()}
			s.objects.channels.Add(new(BusObject))
			b := encodeCall(t, order, ":1.5", tt.args...)
			m, _ := dbuswire.Parse(b)
			whole := m.Body
			if err := tt.parse(&busCall{server: s}, &m); err != nil {
				t.Errorf("%s, %s: %v", name, orderName, err)
			}
			for length := range whole {
				m.Body = whole[:length]
				if err := tt.parse(&busCall{server: s}, &m); err == nil {
					t.Errorf("%s, %s: %d of %d bytes were read", name, orderName, length, len(whole))
				}
			}
			m.Body = append(whole[:len(whole):len(whole)], 0)
			if err := tt.parse(&busCall{server: s}, &m); err == nil {
				t.Errorf("%s, %s: a byte more was read", name, orderName)
			}
		}
	}
}
