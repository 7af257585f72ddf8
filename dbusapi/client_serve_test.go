package dbusapi

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
)

// following is a call of the client that goes on until it is stopped.
type following struct {
	told  chan Event
	ended chan error
	stop  context.CancelFunc
}

// follow starts a call.
func follow(t *testing.T, call func(ctx context.Context, tell func(Event)) error) *following {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	f := &following{told: make(chan Event, 100), ended: make(chan error, 1), stop: stop}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ended <- call(ctx, func(e Event) { f.told <- e })
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return f
}

// tells waits for what the call tells.
func (f *following) tells(t *testing.T, kinds ...EventKind) {
	t.Helper()
	for _, want := range kinds {
		if got := <-f.told; got.Kind != want || got.Time.IsZero() || want == ServiceStarted && got.Program == "" {
			t.Fatalf("told %+v, want kind %d", got, want)
		}
	}
}

// appPattern is a command of netFn 06h on all channels.
func appPattern(cmd ipmi.Command) ipmi.Pattern {
	return ipmi.Pattern{NetFn: 6, Command: cmd, Group: ipmi.AnyGroup, Channels: ipmi.AllChannels}
}

// serve has a client answer a command, and returns when it is registered.
func (r *rig) serve(t *testing.T, cmd ipmi.Command, h ipmi.HandlerFunc) *following {
	t.Helper()
	f := r.startServing(t, cmd, h)
	f.tells(t, ServiceStarted)
	return f
}

func (r *rig) startServing(t *testing.T, cmd ipmi.Command, h ipmi.HandlerFunc) *following {
	t.Helper()
	client := openClient(t, r.bus.Address)
	return follow(t, func(ctx context.Context, tell func(Event)) error {
		return client.Serve(ctx, []ipmi.Pattern{appPattern(cmd)}, h, tell)
	})
}

func answers(code ipmi.CompletionCode, data ...byte) ipmi.HandlerFunc {
	return func(context.Context, *ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{Code: code, Data: data}, nil
	}
}

func TestServedRequestIsWhole(t *testing.T) {
	r := newRouterRig(t)
	got := make(chan ipmi.Request, 1)
	r.serve(t, 1, func(_ context.Context, req *ipmi.Request) (ipmi.Response, error) {
		got <- *req
		return ipmi.Response{Code: 0x81, Data: []byte{7, 8}}, nil
	})
	req := fromME(1, 2, 3)
	req.Channel = 7
	response, err := r.mux.ServeIPMI(t.Context(), req)
	if diff := cmp.Diff(ipmi.Response{Code: 0x81, Data: []byte{7, 8}}, response); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if diff := cmp.Diff(*req, <-got); diff != "" {
		t.Error(diff)
	}
}

func TestRequestWithTheOptionsOfTheHostDaemonOnly(t *testing.T) {
	options := map[string]dbus.Variant{"rqSA": dbus.MakeVariant(int32(0x44)), "hostId": dbus.MakeVariant(int32(3))}
	want := ipmi.Request{Host: 3, Requester: 0x88, NetFn: 6, LUN: 2, Command: 1, Data: []byte{9}}
	if diff := cmp.Diff(want, executedRequest([]any{byte(6), byte(2), byte(1), []byte{9}, options})); diff != "" {
		t.Error(diff)
	}
	// Address 0 is a system interface, whatever rqSA is.
	options["requester"] = dbus.MakeVariant(byte(0))
	if got := executedRequest([]any{byte(6), byte(2), byte(1), []byte{9}, options}); got.Requester != 0 {
		t.Errorf("requester %v", got.Requester)
	}
}

func TestServedErrorIsACompletionCode(t *testing.T) {
	r := newRouterRig(t)
	r.serve(t, 1, func(context.Context, *ipmi.Request) (ipmi.Response, error) { return ipmi.Response{}, ipmi.ErrNoSpace })
	if got, err := r.mux.ServeIPMI(t.Context(), fromME()); err != nil || got.Code != ipmi.CodeOutOfSpace || len(got.Data) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefusedToServe(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, answerOK)
	p.mustRegister(t, "/handler", appCommand(1))
	err := <-r.startServing(t, 1, answers(0)).ended
	var service *ServiceError
	if !errors.As(err, &service) || !errors.Is(err, ErrNotAllowed) || !strings.Contains(service.Text, p.conn.Name()) {
		t.Errorf("error = %v", err)
	}
}

func TestServesNobodyButIPMBD(t *testing.T) {
	r := newRouterRig(t)
	r.serve(t, 1, answers(0, 7))
	handlers, err := openClient(t, r.bus.Address).Handlers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	served := Method{Destination: handlers[0].Owner, Path: handlers[0].Path, Interface: executeInterface, Member: executeMember}
	for name, tt := range map[string]struct {
		args []any
		want string
	}{
		"another program": {[]any{byte(6), byte(0), byte(1), []byte{}, map[string]dbus.Variant{}}, "org.freedesktop.DBus.Error.AccessDenied"},
		"other arguments": {[]any{byte(6)}, "org.freedesktop.DBus.Error.InvalidArgs"},
	} {
		if _, err := r.client.Call(t.Context(), served, tt.args...); errorName(err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is in progress at the end is answered, and nobody serves what comes
// later.
func TestServingEndsWithItsContext(t *testing.T) {
	r := newRouterRig(t)
	began := make(chan struct{})
	f := r.serve(t, 1, func(ctx context.Context, _ *ipmi.Request) (ipmi.Response, error) {
		close(began)
		<-ctx.Done()
		return ipmi.Response{Data: []byte{7}}, nil
	})
	done := serve(t.Context(), r.mux, fromME())
	<-began
	f.stop()
	if got := <-done; got.err != nil || !cmp.Equal(got.res.Data, []byte{7}) {
		t.Errorf("in progress: %+v", got)
	}
	if err := <-f.ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := r.mux.ServeIPMI(t.Context(), fromME()); !errors.Is(err, ipmi.ErrNoHandler) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestServingHasABound(t *testing.T) {
	ctx := t.Context()
	slots := make(slots, 1)
	inside := func(context.Context, *ipmi.Request) (ipmi.Response, error) {
		return slots.serve(ctx, answers(0), fromME()), nil
	}
	if got := slots.serve(ctx, ipmi.HandlerFunc(inside), fromME()); got.Code != ipmi.CodeNodeBusy {
		t.Errorf("over the bound: %v", got.Code)
	}
	if got := slots.serve(ctx, answers(0), fromME()); got.Code != ipmi.CodeOK {
		t.Errorf("afterwards: %v", got.Code)
	}
	slots.close()
	if got := slots.serve(ctx, answers(0), fromME()); got.Code != ipmi.CodeNodeBusy {
		t.Errorf("closed: %v", got.Code)
	}
}

// successor starts the next ipmbd on a message bus.
func (r *rig) successor(t *testing.T, mux *ipmi.Mux) *Server {
	t.Helper()
	server := openServer(t, r.bus, Config{Mux: mux})
	if err := server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, server)
	return server
}

func TestServesAgainAfterARestart(t *testing.T) {
	r := newStoppedRig(t, Config{})
	f := r.serve(t, 1, answers(0, 7))
	_ = r.server.Close()
	f.tells(t, ServiceStopped)
	mux := new(ipmi.Mux)
	r.successor(t, mux)
	f.tells(t, ServiceStarted)
	if got, err := mux.ServeIPMI(t.Context(), fromME()); err != nil || !cmp.Equal(got.Data, []byte{7}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRestartLetsAnotherServe(t *testing.T) {
	r := newStoppedRig(t, Config{})
	f := r.serve(t, 1, answers(0))
	_ = r.server.Close()
	f.tells(t, ServiceStopped)
	mux := new(ipmi.Mux)
	if _, err := mux.Register("another", answers(0), appPattern(1)); err != nil {
		t.Fatal(err)
	}
	r.successor(t, mux)
	if err := <-f.ended; !errors.Is(err, ErrNotAllowed) {
		t.Errorf("Serve = %v", err)
	}
}

// An ipmbd that has lost its name for a moment still knows who is registered.
func TestServesOnWhenTheNameIsBack(t *testing.T) {
	r := newRouterRig(t)
	f := r.serve(t, 1, answers(0, 7))
	for range 3 {
		if err := r.server.ReleaseNames(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.tells(t, ServiceStopped)
		if err := r.server.TakeNames(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.tells(t, ServiceStarted)
	}
	if got := r.ask(t, func(*ipmi.Request) {}); got != 7 {
		t.Errorf("answered by %d", got)
	}
}

func TestServingEndsWithTheMessageBus(t *testing.T) {
	r := newStoppedRig(t, Config{})
	f := r.serve(t, 1, answers(0))
	r.bus.Stop()
	if err := <-f.ended; !errors.Is(err, ErrDisconnected) {
		t.Errorf("Serve = %v", err)
	}
}

func TestNobodyToServeFor(t *testing.T) {
	client := openClient(t, bustest.Start(t).Address)
	tell := func(Event) { t.Error("told") }
	if err := client.Serve(t.Context(), []ipmi.Pattern{appPattern(1)}, answers(0), tell); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Serve: %v", err)
	}
	show := func(ipmi.Event) error { return nil }
	if err := client.Events(t.Context(), show, tell); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Events: %v", err)
	}
}

// What a registration meets of an ipmbd that stops is no error.
func TestRegistrationWithOneWhoStops(t *testing.T) {
	for err, want := range map[error]bool{ErrNotRunning: true, ErrLeft: true, ErrUnavailable: true, ErrNotAllowed: false, ErrDisconnected: false} {
		f := newFollower(func(Event) { t.Errorf("%v: told", err) })
		f.owner = ":1.5"
		got := f.keep(func(string) error { return &ServiceError{Err: err} })
		if (got == nil) != want || f.isService(":1.5") {
			t.Errorf("%v: %v", err, got)
		}
	}
}
