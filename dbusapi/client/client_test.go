package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

func TestClientListsBusesInOrder(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"me-0", "bus10", "bus2"} {
		addBus(t, r.server, newFakeBus(name, 4))
	}
	buses, err := openClient(t, r.bus.Address).Buses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, bus := range buses {
		got = append(got, bus.Name+" "+string(bus.Path[len(xml.BasePath):]))
	}
	want := []string{"bus2 /bus2", "bus4 /bus4", "bus10 /bus10", "me-0 /me_0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestClientShowsABusAsItIs(t *testing.T) {
	r := newRig(t)
	r.fake.change(func(p *bus.Properties) {
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
	if got.Path != bus4 {
		t.Errorf("Path = %s", got.Path)
	}
}

func TestClientSends(t *testing.T) {
	r := newRig(t)
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
	r := newRig(t)
	response, err := openClient(t, r.bus.Address).Send(t.Context(), "bus4", ipmb.Request{NetFn: 6, Command: 0x99})
	if err != nil || response.Code != ipmi.CodeInvalidCommand {
		t.Fatalf("Send = %v, %v", response, err)
	}
}

func TestClientUnknownBusNamesTheKnown(t *testing.T) {
	r := newRig(t)
	client := openClient(t, r.bus.Address)
	for _, name := range []string{"bus5", "", "no/bus", "bus4/more", "bus 4"} {
		_, infoErr := client.Bus(t.Context(), name)
		_, sendErr := client.Send(t.Context(), name, ipmb.Request{NetFn: 6, Command: 1})
		for _, err := range []error{infoErr, sendErr} {
			var unknown *NotFoundError
			if !errors.As(err, &unknown) || unknown.Name != name || !slices.Equal(unknown.Known, []string{"bus4"}) {
				t.Errorf("bus %q: error = %#v", name, err)
			}
		}
	}
}

// What each error of a bus is at the client.
func TestClientErrorsOfABus(t *testing.T) {
	r := newRig(t)
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
		err := serviceError(dbus.Error{Name: name, Body: []any{"a text"}})
		if got := errors.Unwrap(err); got != want || err.Error() != "a text" {
			t.Errorf("%s: %v, meaning %v", name, err, got)
		}
	}
}

func TestClientWithoutAMessageBus(t *testing.T) {
	if _, err := Open(t.Context(), "unix:path=/nonexistent"); !errors.Is(err, ErrNoMessageBus) {
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
	if err := client.Monitor(t.Context(), func(Notice) error { return nil }); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Monitor: %v", err)
	}
}

func TestClientOfAnotherService(t *testing.T) {
	bus := bustest.Start(t)
	if _, err := dial(t, bus, dbuswire.Config{}).RequestName(xml.ServiceName, dbus.NameFlagDoNotQueue); err != nil {
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
	text := `<busconfig><policy context="default"><deny send_interface="` + xml.BusInterface + `"/></policy></busconfig>`
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	bus := bustest.StartConfig(t, bustest.Config{Policies: []string{policy}})
	server := openServer(t, bus, dbusapi.Config{})
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
	bus := bustest.Start(t)
	service := dial(t, bus, dbuswire.Config{Objects: bustest.NewSilence(t)})
	if _, err := service.RequestName(xml.ServiceName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	client := openClient(t, bus.Address)
	ended := make(chan error, 1)
	go func() {
		_, err := client.Send(t.Context(), "bus4", ipmb.Request{NetFn: 6, Command: 1})
		ended <- err
	}()
	_ = service.Close()
	if err := <-ended; !errors.Is(err, ErrLeft) && !errors.Is(err, ErrNotRunning) {
		t.Fatalf("error = %v", err)
	}
}

// A service that stops gives up its name before it ends the calls in progress. So a name without
// an owner is that of a service that stops, if the service has been there, and else that of one
// which is being started.
func TestNameWithoutAnOwner(t *testing.T) {
	for want, seen := range map[error]bool{ErrLeft: true, ErrNotStarted: false} {
		t.Run(want.Error(), func(t *testing.T) {
			t.Parallel()
			client := openClient(t, bustest.Start(t).Address)
			client.seen.Store(seen)
			if err := askUntilSilent(t.Context(), client.conn, &client.seen, xml.ServiceName); !errors.Is(err, want) {
				t.Errorf("error = %v", err)
			}
		})
	}
	client := openClient(t, newRig(t).bus.Address)
	if _, err := client.Buses(t.Context()); err != nil || !client.seen.Load() {
		t.Errorf("after a call: seen %v, %v", client.seen.Load(), err)
	}
}

func TestClientsCallEndsWithTheMessageBus(t *testing.T) {
	r := newRig(t)
	ended := sendBlocked(t, t.Context(), r)
	r.bus.Stop()
	if err := <-ended; !errors.Is(err, ErrDisconnected) {
		t.Fatalf("error = %v", err)
	}
}

func TestClientsCallEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := sendBlocked(t, ctx, r)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
}

// sendBlocked makes a client send a request that gets no response, and returns when the bus has
// it.
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
	r := newRig(t)
	addBus(t, r.server, newFakeBus("me-0", 4))
	fake := r.addKCS(t)
	client := openClient(t, r.bus.Address)
	members, err := client.Endpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range members {
		got = append(got, m.Name+" "+m.Device)
	}
	if diff := cmp.Diff([]string{"bus4 /dev/ipmb-4", "ipmi-kcs3 /dev/ipmi-kcs3", "me-0 /dev/ipmb-4"}, got); diff != "" {
		t.Error(diff)
	}
	fake.change(func(p *dbusapi.HostProperties) { p.State, p.Reason = Down, "gone" })
	m, err := client.Endpoint(t.Context(), "ipmi-kcs3")
	if err != nil {
		t.Fatal(err)
	}
	want := Endpoint{Name: "ipmi-kcs3", Device: "/dev/ipmi-kcs3", Host: &Host{
		Name: "ipmi-kcs3", Type: "kcs", Path: "/dev/ipmi-kcs3", Channel: 15, Handler: "host", State: Down, Reason: "gone",
		Object: bus4[:len(bus4)-4] + "ipmi_kcs3",
	}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]map[string]uint64{
		"bus4":      {"calls-answered": 7, "dbus-calls-refused": 0, "dbus-signals-dropped": 0, "refused-over-limit": 0},
		"ipmi-kcs3": {"requests-received": 3, "dbus-signals-dropped": 0},
	} {
		e, err := client.Endpoint(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Statistics(t.Context(), e)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("statistics of %s: %v, %s", name, err, diff)
		}
	}
	var unknown *NotFoundError
	if _, err := client.Endpoint(t.Context(), "me-1"); !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"bus4", "ipmi-kcs3", "me-0"}) {
		t.Errorf("error = %#v", err)
	}
}

func TestClientBindsAndUnbinds(t *testing.T) {
	r := newRig(t)
	client := openClient(t, r.bus.Address)
	if err := client.Unbind(t.Context(), "bus4"); err != nil || r.fake.Properties().State != Down {
		t.Errorf("unbind: %v, %+v", err, r.fake.Properties())
	}
	if err := client.Bind(t.Context(), "bus4"); err != nil || r.fake.Properties().State != Up {
		t.Errorf("bind: %v, %+v", err, r.fake.Properties())
	}
	for _, name := range []string{"bus5", "", "no/bus"} {
		if err := client.Bind(t.Context(), name); !errors.As(err, new(*NotFoundError)) {
			t.Errorf("bus %q: %v", name, err)
		}
	}
	for _, tt := range []struct{ err, want error }{
		{bus.ErrNoAdapter, ErrNoAdapter},
		{bus.ErrInUse, ErrNotAllowed},
		{bus.ErrFixed, ipmb.ErrUnsupported},
		{bus.ErrDevice, ErrUnavailable},
	} {
		r.fake.failDevice(fmt.Errorf("%w: what to do", tt.err))
		err := client.Bind(t.Context(), "bus4")
		if !errors.Is(err, tt.want) || err.Error() != tt.err.Error()+": what to do" {
			t.Errorf("%v: %v", tt.err, err)
		}
	}
}

func TestClientSeesTheSwitches(t *testing.T) {
	r := newRig(t)
	r.fake.change(func(p *bus.Properties) { p.IgnoreNACK, p.VerifyChecksum = true, true })
	b, err := openClient(t, r.bus.Address).Bus(t.Context(), "bus4")
	if err != nil || !b.IgnoreNACK || !b.VerifyChecksum {
		t.Errorf("%+v, %v", b.Properties, err)
	}
}

// ipmbd answers others while a request waits for its responder.
func TestCallGoesOnWhileIpmbdAnswers(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*(askAfter+answerTime))
	defer cancel()
	if err := <-sendBlocked(t, ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error = %v", err)
	}
}
