package dbusapi

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

func TestRequestOfABus(t *testing.T) {
	r := newRig(t, Config{})
	got, err := r.call(t, bus4, xml.BusInterface, "sendRequest", byte(0x72), byte(6), byte(1), byte(1), []byte{0xAA})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{byte(0), deviceID}, got); diff != "" {
		t.Error(diff)
	}
	sent := ipmb.Request{Responder: 0x72, NetFn: 6, LUN: 1, Command: 1, Data: []byte{0xAA}}
	if diff := cmp.Diff(sent, r.fake.lastRequest()); diff != "" {
		t.Error(diff)
	}
}

func TestCompletionCodeIsAResult(t *testing.T) {
	r := newRig(t, Config{})
	got, err := r.call(t, bus4, xml.BusInterface, "sendRequest", byte(0), byte(6), byte(0), byte(0x99), []byte{})
	if diff := cmp.Diff([]any{byte(0xC1), []byte{}}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestOptions(t *testing.T) {
	r := newRig(t, Config{})
	_, err := r.call(t, bus4, xml.BusInterface, "sendRequestWithOptions", byte(0x72), byte(6), byte(0), byte(1), []byte{},
		map[string]any{"timeout-ms": uint32(1500), "tries": uint32(2), "requester-lun": byte(2), "fail-fast": true, "broadcast": true})
	if err != nil {
		t.Fatal(err)
	}
	want := ipmb.Request{
		Responder: 0x72, NetFn: 6, Command: 1, RequesterLUN: 2, Data: []byte{},
		RetryPolicy: ipmb.RetryPolicy{Tries: 2, Timeout: 1500 * time.Millisecond}, FailFast: true, GeneralCall: true,
	}
	if diff := cmp.Diff(want, r.fake.lastRequest()); diff != "" {
		t.Error(diff)
	}
}

func TestOptionsRefused(t *testing.T) {
	r := newRig(t, Config{})
	for name, tt := range map[string]struct {
		options map[string]any
		says    string
	}{
		"unknown key":            {map[string]any{"retries": uint32(1)}, `"retries" is not known`},
		"wrong type":             {map[string]any{"tries": byte(1)}, `"tries" is of type 'u', not 'y'`},
		"signed number":          {map[string]any{"timeout-ms": int32(100)}, `"timeout-ms" is of type 'u', not 'i'`},
		"time-out too short":     {map[string]any{"timeout-ms": uint32(9)}, "10ms"},
		"time-out too long":      {map[string]any{"timeout-ms": uint32(60001)}, "1m0s"},
		"largest number":         {map[string]any{"timeout-ms": ^uint32(0)}, "1m0s"},
		"no tries":               {map[string]any{"tries": uint32(0)}, "1 to 64"},
		"too many tries":         {map[string]any{"tries": uint32(65)}, "1 to 64"},
		"requester LUN too high": {map[string]any{"requester-lun": byte(4)}, "requester LUN 4"},
	} {
		_, err := r.call(t, bus4, xml.BusInterface, "sendRequestWithOptions", byte(0), byte(6), byte(0), byte(1), []byte{}, tt.options)
		if errorName(err) != xml.ErrorInvalidArgument || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %s: %v", name, errorName(err), err)
		}
	}
}

func TestArgumentsOutOfRangeAreNamed(t *testing.T) {
	r := newRig(t, Config{})
	for name, tt := range map[string]struct {
		args []any
		says string
	}{
		"odd responder": {[]any{byte(0x21), byte(6), byte(0), byte(1), []byte{}}, "responder address 21h"},
		"odd netFn":     {[]any{byte(0), byte(7), byte(0), byte(1), []byte{}}, "netFn 07h"},
		"large netFn":   {[]any{byte(0), byte(0x40), byte(0), byte(1), []byte{}}, "netFn 40h"},
		"large LUN":     {[]any{byte(0), byte(6), byte(4), byte(1), []byte{}}, "LUN 4"},
	} {
		_, err := r.call(t, bus4, xml.BusInterface, "sendRequest", tt.args...)
		if errorName(err) != xml.ErrorInvalidArgument || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %s: %v", name, errorName(err), err)
		}
	}
}

func TestFailuresAreErrorsByName(t *testing.T) {
	r := newRig(t, Config{})
	r.fake.fail(map[ipmi.Command]error{0x10: ipmb.ErrTimeout, 0x11: ipmb.ErrNotAcknowledged, 0x12: ipmb.ErrStuck})
	for cmd, want := range map[byte]string{0x10: xml.ErrorTimeout, 0x11: xml.ErrorUnavailable, 0x12: xml.ErrorWriteFailure} {
		if _, err := r.call(t, bus4, xml.BusInterface, "sendRequest", byte(0), byte(6), byte(0), cmd, []byte{}); errorName(err) != want {
			t.Errorf("command %02Xh: %s, want %s", cmd, errorName(err), want)
		}
	}
}

// The errors of a traced request are in its reply. No engine sends it here, so there is no frame.
func TestTracedRequest(t *testing.T) {
	r := newRig(t, Config{})
	r.fake.fail(map[ipmi.Command]error{0x10: ipmb.ErrTimeout, 0x11: ipmb.ErrNotAcknowledged})
	for name, tt := range map[string]struct {
		responder byte
		cmd       byte
		options   map[string]any
		want      []any
	}{
		"a response":        {0, 1, nil, []any{"", "", byte(0), deviceID, []byte{}, uint32(0)}},
		"a completion code": {0, 0x99, nil, []any{"", "", byte(0xC1), []byte{}, []byte{}, uint32(0)}},
		"a time-out": {0, 0x10, map[string]any{"tries": uint32(1)},
			[]any{xml.ErrorTimeout, "the responder took the request and did not answer in time", byte(0), []byte{}, []byte{}, uint32(0)}},
		"not acknowledged": {0, 0x11, nil,
			[]any{xml.ErrorUnavailable, "nobody acknowledged the request: check the address and the responder's power", byte(0), []byte{}, []byte{}, uint32(0)}},
		"a wrong option": {0, 1, map[string]any{"tries": uint32(0)},
			[]any{xml.ErrorInvalidArgument, "invalid argument: 0 tries: 1 to 64 are possible", byte(0), []byte{}, []byte{}, uint32(0)}},
		"a wrong responder": {0x21, 1, nil,
			[]any{xml.ErrorInvalidArgument, "invalid argument: responder address 21h", byte(0), []byte{}, []byte{}, uint32(0)}},
	} {
		if tt.options == nil {
			tt.options = map[string]any{}
		}
		got, err := r.call(t, bus4, xml.BusInterface, "sendTracedRequest", tt.responder, byte(6), byte(0), tt.cmd, []byte{}, tt.options)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestBroadcastOfABus(t *testing.T) {
	r := newRig(t, Config{})
	if _, err := r.call(t, bus4, xml.BusInterface, "sendBroadcast", byte(6), byte(1), byte(2), []byte{3}); err != nil {
		t.Fatal(err)
	}
	want := []ipmb.Request{{NetFn: 6, RequesterLUN: 1, Command: 2, Data: []byte{3}}}
	if diff := cmp.Diff(want, r.fake.broadcasts); diff != "" {
		t.Error(diff)
	}
	if _, err := r.call(t, bus4, xml.BusInterface, "sendBroadcast", byte(7), byte(0), byte(1), []byte{}); errorName(err) != xml.ErrorInvalidArgument {
		t.Errorf("odd netFn: %v", err)
	}
}

func TestWrongArgumentTypes(t *testing.T) {
	const invalid = "org.freedesktop.DBus.Error.InvalidArgs"
	r := newRig(t, Config{})
	deep := any("bottom")
	for range 60 {
		deep = dbus.MakeVariant(deep)
	}
	for name, tt := range map[string]struct {
		path          dbus.ObjectPath
		iface, member string
		args          []any
	}{
		"none":               {BasePath, xml.LegacyInterface, "sendRequest", nil},
		"one too few":        {BasePath, xml.LegacyInterface, "sendRequest", []any{byte(0), byte(6), byte(0), byte(1)}},
		"one too many":       {BasePath, xml.LegacyInterface, "sendRequest", []any{byte(0), byte(6), byte(0), byte(1), []byte{}, byte(0)}},
		"string for bytes":   {BasePath, xml.LegacyInterface, "sendRequest", []any{byte(0), byte(6), byte(0), byte(1), "data"}},
		"wide numbers":       {BasePath, xml.LegacyInterface, "sendRequest", []any{uint32(0), byte(6), byte(0), byte(1), []byte{}}},
		"deep variants":      {BasePath, xml.LegacyInterface, "sendRequest", []any{deep}},
		"no options":         {bus4, xml.BusInterface, "sendRequestWithOptions", []any{byte(0), byte(6), byte(0), byte(1), []byte{}}},
		"id too narrow":      {bus4, xml.BusInterface, "sendResponse", []any{uint32(1), byte(0), []byte{}}},
		"introspect with an": {bus4, xml.IntrospectableInterface, "Introspect", []any{"argument"}},
		"get with one":       {bus4, xml.PropertiesInterface, "Get", []any{xml.BusInterface}},
		"set without value":  {bus4, xml.PropertiesInterface, "Set", []any{xml.BusInterface, "Tries"}},
	} {
		if _, err := r.call(t, tt.path, tt.iface, tt.member, tt.args...); errorName(err) != invalid {
			t.Errorf("%s: %s: %v", name, errorName(err), err)
		}
	}
	if got := r.legacy(t, 0, 6, 0, 1); got[0] != int32(0) {
		t.Errorf("afterwards: %v", got)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	r := newRig(t, Config{})
	for _, tt := range []struct {
		name          string
		path          dbus.ObjectPath
		iface, member string
		want          string
	}{
		{"object", BasePath + "/bus5", xml.BusInterface, "sendRequest", "org.freedesktop.DBus.Error.NoSuchObject"},
		{"interface", bus4, xml.LegacyInterface, "sendRequest", "org.freedesktop.DBus.Error.UnknownInterface"},
		{"method", bus4, xml.BusInterface, "receiveRequest", "org.freedesktop.DBus.Error.UnknownMethod"},
	} {
		if _, err := r.call(t, tt.path, tt.iface, tt.member); errorName(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := r.client.Object(xml.ServiceName, bus4).Call("NoSuchMember", 0).Err; errorName(err) != "org.freedesktop.DBus.Error.UnknownMethod" {
		t.Errorf("member without interface: %v", err)
	}
}

func TestRequestDataOfAllLengths(t *testing.T) {
	r := newRig(t, Config{})
	for _, length := range []int{0, 64, 1 << 16} {
		data := bytes.Repeat([]byte{0xA5}, length)
		r.fake.answer(2, data)
		got, err := r.call(t, bus4, xml.BusInterface, "sendRequest", byte(0), byte(6), byte(0), byte(2), data)
		if err != nil || !bytes.Equal(got[1].([]byte), data) || !bytes.Equal(r.fake.lastRequest().Data, data) {
			t.Errorf("%d bytes went wrong: %v", length, err)
		}
	}
}
