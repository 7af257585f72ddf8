package dbusapi

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func openClient(t *testing.T, address string) *Client {
	t.Helper()
	client, err := OpenClient(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestClientListsBusesInOrder(t *testing.T) {
	r := newRig(t, Config{})
	for _, name := range []string{"me-0", "bus10", "bus2"} {
		addBus(t, r.server, newFakeBus(name, 4))
	}
	buses, err := openClient(t, r.bus.Address).Buses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, bus := range buses {
		got = append(got, bus.Name+" "+string(bus.Path[len(BasePath):]))
	}
	want := []string{"bus2 /bus2", "bus4 /bus4", "bus10 /bus10", "me-0 /me_0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestClientShowsABusAsItIs(t *testing.T) {
	r := newRig(t, Config{})
	r.fake.change(func(p *Properties) {
		p.Channel, p.State, p.Reason = 3, Degraded, "half of it works"
		p.Policy = ipmb.RetryPolicy{Tries: 2, Timeout: 40 * time.Millisecond}
	})
	got, err := openClient(t, r.bus.Address).Bus(t.Context(), "bus4")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.fake.Properties(), got.Properties); diff != "" {
		t.Error(diff)
	}
	if got.Path != bus4 || got.Statistics["calls-answered"] != 7 {
		t.Errorf("Path = %s, Statistics = %v", got.Path, got.Statistics)
	}
}

func TestClientSends(t *testing.T) {
	r := newRig(t, Config{})
	client := openClient(t, r.bus.Address)
	whole := ipmb.Request{
		Responder: 0x72, NetFn: 6, LUN: 1, RequesterLUN: 2, Command: 1, Data: []byte{1, 2, 3},
		RetryPolicy: ipmb.RetryPolicy{Tries: 3, Timeout: 70 * time.Millisecond}, FailFast: true, GeneralCall: true,
	}
	for name, request := range map[string]ipmb.Request{
		"no options":  {Responder: 0x2C, NetFn: 6, LUN: 3, Command: 1, Data: []byte{9}},
		"all options": whole,
		"no data":     {NetFn: 6, Command: 1, Data: []byte{}},
	} {
		response, err := client.Send(t.Context(), "bus4", request)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(ipmi.Response{Data: deviceID}, response); diff != "" {
			t.Errorf("%s: response: %s", name, diff)
		}
		if request.Responder == 0 {
			request.Responder = 0x2C
		}
		if diff := cmp.Diff(request, r.fake.lastRequest()); diff != "" {
			t.Errorf("%s: request: %s", name, diff)
		}
	}
}

func TestClientsCompletionCodeIsAResult(t *testing.T) {
	r := newRig(t, Config{})
	response, err := openClient(t, r.bus.Address).Send(t.Context(), "bus4", ipmb.Request{NetFn: 6, Command: 0x99})
	if err != nil || response.Code != ipmi.CodeInvalidCommand {
		t.Fatalf("Send = %v, %v", response, err)
	}
}

func TestClientUnknownBusNamesTheKnown(t *testing.T) {
	r := newRig(t, Config{})
	client := openClient(t, r.bus.Address)
	for _, name := range []string{"bus5", "", "no/bus", "bus4/more", "bus 4"} {
		_, infoErr := client.Bus(t.Context(), name)
		_, sendErr := client.Send(t.Context(), name, ipmb.Request{NetFn: 6, Command: 1})
		for _, err := range []error{infoErr, sendErr} {
			var unknown *UnknownBusError
			if !errors.As(err, &unknown) || unknown.Name != name || !slices.Equal(unknown.Known, []string{"bus4"}) {
				t.Errorf("bus %q: error = %#v", name, err)
			}
		}
	}
}

// What each error of a bus is at the client.
func TestClientErrorsOfABus(t *testing.T) {
	r := newRig(t, Config{})
	client := openClient(t, r.bus.Address)
	for _, tt := range []struct{ err, want error }{
		{ipmb.ErrTimeout, ipmb.ErrTimeout},
		{ipmb.ErrNotAcknowledged, ErrUnavailable},
		{ipmb.ErrClosed, ErrUnavailable},
		{ipmb.ErrArbitrationLost, ErrWriteFailure},
		{ipmb.ErrStuck, ErrWriteFailure},
		{ipmb.ErrTooLong, ipmb.ErrInvalid},
		{ipmb.ErrInvalid, ipmb.ErrInvalid},
		{ipmb.ErrBusy, ipmb.ErrBusy},
		{ipmb.ErrUnsupported, ipmb.ErrUnsupported},
	} {
		r.fake.fail(map[ipmi.Command]error{1: tt.err})
		_, err := client.Send(t.Context(), "bus4", ipmb.Request{NetFn: 6, Command: 1})
		var service *ServiceError
		if !errors.Is(err, tt.want) || !errors.As(err, &service) || service.Text == "" {
			t.Errorf("%v: error = %#v", tt.err, err)
		}
	}
}

// Each name that the server gives an error has a meaning at the client, but for
// InternalFailure, of which the client can know no more.
func TestClientKnowsTheServersErrors(t *testing.T) {
	for _, row := range errorNames {
		err := clientError(dbus.Error{Name: row.name})
		if errors.Unwrap(err) == nil && row.name != errorInternal {
			t.Errorf("%s has no meaning", row.name)
		}
	}
}

func TestDocumentNamesTheErrors(t *testing.T) {
	const document = "../docs/dbus.md"
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range errorNames {
		if !strings.Contains(string(text), "`"+row.name+"`") {
			t.Errorf("%s is not in %s", row.name, document)
		}
	}
}

func TestClientErrorsOfTheMessageBus(t *testing.T) {
	for name, want := range map[string]error{
		"org.freedesktop.DBus.Error.ServiceUnknown":        ErrNotRunning,
		"org.freedesktop.DBus.Error.Spawn.ExecFailed":      ErrNotStarted,
		"org.freedesktop.DBus.Error.Spawn.ChildExited":     ErrNotStarted,
		"org.freedesktop.systemd1.UnitMasked":              ErrNotStarted,
		"org.freedesktop.DBus.Error.NoReply":               ErrLeft,
		"org.freedesktop.DBus.Error.AccessDenied":          ErrAccessDenied,
		"org.freedesktop.DBus.Error.AccessDenied.And.More": nil,
		"org.freedesktop.DBus.Error.LimitsExceeded":        nil,
	} {
		err := clientError(dbus.Error{Name: name, Body: []any{"a text"}})
		if got := errors.Unwrap(err); got != want || err.Error() != "a text" {
			t.Errorf("%s: %v, meaning %v", name, err, got)
		}
	}
}

func TestClientWithoutAMessageBus(t *testing.T) {
	if _, err := OpenClient(t.Context(), "unix:path=/nonexistent"); !errors.Is(err, ErrNoMessageBus) {
		t.Fatalf("error = %v", err)
	}
}

func TestClientWithoutAService(t *testing.T) {
	client := openClient(t, bustest.Start(t).Address)
	if _, err := client.Buses(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Buses: %v", err)
	}
	if _, err := client.Send(t.Context(), "bus4", ipmb.Request{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Send: %v", err)
	}
	if _, err := client.OpenMonitor(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("OpenMonitor: %v", err)
	}
}

func TestClientOfAnotherService(t *testing.T) {
	bus := bustest.Start(t)
	if _, err := dial(t, bus, ConnConfig{}).RequestName(ServiceName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	client := openClient(t, bus.Address)
	if _, err := client.Buses(t.Context()); !errors.Is(err, ErrOtherService) {
		t.Errorf("Buses: %v", err)
	}
	if _, err := client.Bus(t.Context(), "bus4"); !errors.Is(err, ErrOtherService) {
		t.Errorf("Bus: %v", err)
	}
}

func TestClientThatMayNotSend(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "deny.conf")
	text := `<busconfig><policy context="default"><deny send_interface="` + busObjectInterface + `"/></policy></busconfig>`
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	bus := bustest.StartConfig(t, bustest.Config{Policies: []string{policy}})
	server := openServer(t, bus, Config{})
	addBus(t, server, newFakeBus("bus4", 0))
	if err := server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := openClient(t, bus.Address).Send(t.Context(), "bus4", ipmb.Request{NetFn: 6, Command: 1})
	if !errors.Is(err, ErrAccessDenied) {
		t.Fatalf("error = %v", err)
	}
}

func TestClientsCallEndsWithTheService(t *testing.T) {
	r := newStoppedRig(t, Config{})
	ended := sendBlocked(t, t.Context(), r)
	_ = r.server.conn.Close()
	if err := <-ended; !errors.Is(err, ErrLeft) {
		t.Fatalf("error = %v", err)
	}
}

func TestClientsCallEndsWithTheMessageBus(t *testing.T) {
	r := newStoppedRig(t, Config{})
	ended := sendBlocked(t, t.Context(), r)
	r.bus.Stop()
	if err := <-ended; !errors.Is(err, ErrDisconnected) {
		t.Fatalf("error = %v", err)
	}
}

func TestClientsCallEndsWithItsContext(t *testing.T) {
	r := newRig(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := sendBlocked(t, ctx, r)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
}

// sendBlocked has a client send what is never answered, and returns when the
// bus has it.
func sendBlocked(t *testing.T, ctx context.Context, r *rig) <-chan error {
	t.Helper()
	client := openClient(t, r.bus.Address)
	ended := make(chan error, 1)
	go func() {
		_, err := client.Send(ctx, "bus4", ipmb.Request{NetFn: 6, Command: cmdBlock})
		ended <- err
	}()
	<-r.fake.began
	return ended
}

func TestClientListsBusesAndHostInterfaces(t *testing.T) {
	r := newRig(t, Config{})
	addBus(t, r.server, newFakeBus("me-0", 4))
	_, fake := r.addKCS(t, nil)
	client := openClient(t, r.bus.Address)
	members, err := client.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range members {
		got = append(got, m.Name()+" "+m.Device())
	}
	if diff := cmp.Diff([]string{"bus4 /dev/ipmb-4", "ipmi-kcs3 /dev/ipmi-kcs3", "me-0 /dev/ipmb-4"}, got); diff != "" {
		t.Error(diff)
	}
	fake.change(func(p *HostProperties) { p.State, p.Reason = Down, "gone" })
	m, err := client.Member(t.Context(), "ipmi-kcs3")
	if err != nil {
		t.Fatal(err)
	}
	want := Member{Host: &HostInfo{fake.Properties(), kcs3, map[string]uint64{"requests-received": 3, "dbus-signals-dropped": 0}}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	var unknown *UnknownMemberError
	if _, err := client.Member(t.Context(), "me-1"); !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"bus4", "ipmi-kcs3", "me-0"}) {
		t.Errorf("error = %#v", err)
	}
}
