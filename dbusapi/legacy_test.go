package dbusapi

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// busctl runs systemd's busctl on the test's bus.
func (r *rig) busctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("busctl", append([]string{"--address=" + r.bus.Address}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("busctl %s: %v\n%s(busctl is in the package systemd)", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestBusctlPrintsWhatItPrintedForIpmbbridge(t *testing.T) {
	r := newRig(t, Config{})
	addBus(t, r.server, newFakeBus("me", 1))
	r.fake.fail(map[ipmi.Command]error{0x77: ipmb.ErrTimeout})
	send := []string{"call", xml.ServiceName, string(BasePath), xml.LegacyInterface, "sendRequest", "yyyyay"}
	for name, tt := range map[string]struct{ args, want string }{
		"get device id":   {"1 6 0 1 0", "(iyyyyay) 0 7 0 1 0 11 80 1 4 0 2 33 87 1 0 11 11\n"},
		"error code":      {"0 6 0 2 3 1 2 3", "(iyyyyay) 0 7 0 2 193 0\n"},
		"time-out":        {"0 6 0 0x77 0", "(iyyyyay) 4 0 0 0 0 0\n"},
		"unknown channel": {"200 6 0 1 0", "(iyyyyay) 2 0 0 0 0 0\n"},
	} {
		if got := r.busctl(t, append(send, strings.Fields(tt.args)...)...); got != tt.want {
			t.Errorf("%s: busctl printed %q, want %q", name, got, tt.want)
		}
	}
}

func TestBusctlIntrospectsTheLegacyInterface(t *testing.T) {
	r := newRig(t, Config{})
	fields := strings.Fields(r.busctl(t, "introspect", xml.ServiceName, string(BasePath), xml.LegacyInterface))
	if text := strings.Join(fields, " "); !strings.Contains(text, ".sendRequest method yyyyay (iyyyyay) -") ||
		!strings.Contains(text, ".receiveBroadcast signal yyay - -") {
		t.Errorf("introspection: %s", text)
	}
}

func TestLegacyRequest(t *testing.T) {
	r := newRig(t, Config{})
	got := r.legacy(t, 0, 6, 2, 1, 0xAA)
	want := []any{int32(0), byte(7), byte(0), byte(1), byte(0), deviceID}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// The LUN is the requester's, and the call does not wait for a number.
	sent := ipmb.Request{Responder: 0x2C, NetFn: 6, RequesterLUN: 2, Command: 1, Data: []byte{0xAA}, NoWait: true}
	if diff := cmp.Diff(sent, r.fake.lastRequest()); diff != "" {
		t.Error(diff)
	}
}

func TestLegacyStatus(t *testing.T) {
	r := newRig(t, Config{})
	r.fake.fail(map[ipmi.Command]error{
		0x10: ipmb.ErrTooLong, 0x11: ipmb.ErrInvalid, 0x12: ipmb.ErrBusy, 0x13: ipmb.ErrTimeout,
		0x14: ipmb.ErrNotAcknowledged, 0x15: ipmb.ErrArbitrationLost, 0x16: ipmb.ErrStuck, 0x17: ipmb.ErrClosed,
	})
	for _, tt := range []struct {
		name                string
		channel, netFn, lun byte
		cmd                 ipmi.Command
		want                int32
	}{
		{"frame too long", 0, 6, 0, 0x10, 1},
		{"the engine finds an argument bad", 0, 6, 0, 0x11, 2},
		{"odd netFn", 0, 7, 0, 1, 2},
		{"netFn above 3Fh", 0, 0x40, 0, 1, 2},
		{"LUN above 3", 0, 6, 4, 1, 2},
		{"unknown channel", 4, 6, 0, 1, 2},
		{"no number free", 0, 6, 0, 0x12, 3},
		{"silence", 0, 6, 0, 0x13, 4},
		{"not acknowledged", 0, 6, 0, 0x14, 4},
		{"arbitration lost", 0, 6, 0, 0x15, 4},
		{"stuck", 0, 6, 0, 0x16, 4},
		{"down", 0, 6, 0, 0x17, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := []any{tt.want, byte(0), byte(0), byte(0), byte(0), []byte{}}
			if diff := cmp.Diff(want, r.legacy(t, tt.channel, tt.netFn, tt.lun, tt.cmd)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLegacyDataOfAllLengths(t *testing.T) {
	r := newRig(t, Config{})
	for _, length := range []int{0, 1, 25, 64, 248, 4096, 1 << 17} {
		data := bytes.Repeat([]byte{0x5A}, length)
		r.fake.answer(2, data)
		got := r.legacy(t, 0, 6, 0, 2, data...)
		if !bytes.Equal(got[5].([]byte), data) || !bytes.Equal(r.fake.lastRequest().Data, data) {
			t.Errorf("%d bytes went wrong", length)
		}
	}
}

func TestLegacyCallWithoutAnInterfaceName(t *testing.T) {
	r := newRig(t, Config{})
	got := r.client.Object(xml.ServiceName, BasePath).Call("sendRequest", 0, byte(0), byte(6), byte(0), byte(1), []byte{})
	if got.Err != nil || len(got.Body) != 1 {
		t.Errorf("answer = %v, %v", got.Body, got.Err)
	}
}

func TestReceiveBroadcastShowsEveryFrameOfAnIPMBChannel(t *testing.T) {
	r := newRig(t, Config{})
	me := addBus(t, r.server, newFakeBus("me", 1))
	r.listen(t)
	me.Received(ipmb.Frame{NetFn: 6, Command: 9})                                                       // not of type ipmb
	r.object.Received(ipmb.Frame{NetFn: 6, Command: 0x47, Data: []byte{1, 2, 3}})                       // a password
	r.object.Received(ipmb.Frame{NetFn: 4, Command: 2, Data: []byte{4, 1, 0x30}})                       // a request
	r.object.Received(ipmb.Frame{NetFn: 7, Command: 1, Code: 0xC1, Data: []byte{0x50}, Sequence: 0x3F}) // a response
	r.object.Received(ipmb.Frame{NetFn: 4, Command: 3})
	for _, want := range [][]any{
		{byte(4), byte(2), []byte{4, 1, 0x30}},
		{byte(7), byte(1), []byte{0xC1, 0x50}},
		{byte(4), byte(3), []byte{}},
	} {
		got := <-r.heard
		if diff := cmp.Diff(want, got.Body); diff != "" || got.Name != receiveBroadcast || got.Path != BasePath {
			t.Errorf("%s of %s: %s", got.Name, got.Path, diff)
		}
	}
}

// The text says which key of the configuration is missing; a status could not.
func TestBusWithoutARemoteAddress(t *testing.T) {
	r := newRig(t, Config{})
	fake := newFakeBus("far", 8)
	fake.SetRemoteAddress(0)
	addBus(t, r.server, fake)
	for name, call := range map[string]func() error{
		"org.openbmc.Ipmb": func() error {
			_, err := r.call(t, BasePath, xml.LegacyInterface, "sendRequest", byte(8), byte(6), byte(0), byte(1), []byte{})
			return err
		},
		"address 0": func() error {
			_, err := r.call(t, BasePath+"/far", xml.BusInterface, "sendRequest", byte(0), byte(6), byte(0), byte(1), []byte{})
			return err
		},
		"address 0 with options": func() error {
			_, err := r.call(t, BasePath+"/far", xml.BusInterface, "sendRequestWithOptions", byte(0), byte(6), byte(0), byte(1),
				[]byte{}, map[string]dbus.Variant{})
			return err
		},
	} {
		if err := call(); errorName(err) != xml.ErrorInvalidArgument || !strings.Contains(err.Error(), "remote-addr") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.call(t, BasePath+"/far", xml.BusInterface, "sendRequest", byte(0x2C), byte(6), byte(0), byte(1), []byte{}); err != nil {
		t.Errorf("an address: %v", err)
	}
}
