package dbusapi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

func TestExecuteCallsAreWhatTheLibraryReads(t *testing.T) {
	for length := range 20 {
		req := fromME(bytes.Repeat([]byte{0xEE}, length)...)
		msg := decode(t, hostDaemon.marshal(5, req))
		want := []any{byte(6), byte(2), byte(1), append([]byte{}, req.Data...), map[string]dbus.Variant{
			"rqSA": dbus.MakeVariant(int32(0x16)), "hostId": dbus.MakeVariant(int32(3)),
		}}
		if diff := cmp.Diff(want, msg.Body, cmp.Comparer(sameVariant)); diff != "" {
			t.Error(diff)
		}
		wantHeader := dbuswire.Header{Type: dbuswire.TypeCall, Flags: dbuswire.FlagNoAutoStart, Serial: 5, Path: xml.HostDaemonPath,
			Interface: xml.ExecuteInterface, Member: xml.ExecuteMember, Destination: xml.HostDaemonName, Signature: xml.ExecuteIn}
		if diff := cmp.Diff(wantHeader, headerOf(msg)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRegisteredHandlersGetMoreOptions(t *testing.T) {
	for length := range 20 {
		req := fromME(bytes.Repeat([]byte{0xEE}, length)...)
		req.Interface, req.Channel = strings.Repeat("b", length), 7
		msg := decode(t, (&target{destination: ":1.7", path: "/a/b", wide: true}).marshal(5, req))
		want := map[string]dbus.Variant{
			"rqSA": dbus.MakeVariant(int32(0x16)), "hostId": dbus.MakeVariant(int32(3)), "channel": dbus.MakeVariant(byte(7)),
			"interface": dbus.MakeVariant(req.Interface), "requester": dbus.MakeVariant(byte(0x2C)),
		}
		if diff := cmp.Diff(want, msg.Body[4], cmp.Comparer(sameVariant)); diff != "" {
			t.Error(diff)
		}
		if h := headerOf(msg); h.Destination != ":1.7" || h.Path != "/a/b" {
			t.Errorf("header %+v", h)
		}
	}
}

func TestExecuteRepliesThatAreNotAsTheyShouldBe(t *testing.T) {
	good := encodeReturn(t, binary.LittleEndian, 99, hostResult{7, 0, 1, 0, []byte{1, 2, 3}})
	long := bytes.Clone(good)
	long[len(long)-7]++ // the data is longer than the body
	for name, b := range map[string][]byte{
		"data too long": long,
		"cut off":       good[:len(good)-1],
		"nothing":       encodeReturn(t, binary.LittleEndian, 99),
		"short struct":  encodeReturn(t, binary.LittleEndian, 99, struct{ A, B byte }{7, 0}),
	} {
		m, ok := dbuswire.Parse(b)
		if !ok {
			t.Errorf("%s is no message", name)
		}
		if _, _, _, err := parseExecuted(&m); !errors.Is(err, dbuswire.ErrReply) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
