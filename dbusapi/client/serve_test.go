package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// following is a call of the client that goes on until it is stopped.
type following struct {
	told  chan Notice
	ended chan error
	stop  context.CancelFunc
}

// follow starts a call.
func follow(t *testing.T, call func(ctx context.Context, tell func(Notice)) error) *following {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	f := &following{told: make(chan Notice, 100), ended: make(chan error, 1), stop: stop}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ended <- call(ctx, func(e Notice) { f.told <- e })
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return f
}

// tells waits for the notices of the call.
func (f *following) tells(t *testing.T, kinds ...NoticeKind) {
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

// serve makes a client serve a command, and returns when it is registered.
func (r *rig) serve(t *testing.T, cmd ipmi.Command, h ipmi.Handler) *following {
	t.Helper()
	f := r.startServing(t, cmd, h)
	f.tells(t, ServiceStarted)
	return f
}

func (r *rig) startServing(t *testing.T, cmd ipmi.Command, h ipmi.Handler) *following {
	t.Helper()
	client := openClient(t, r.bus.Address)
	return follow(t, func(ctx context.Context, tell func(Notice)) error {
		return client.Serve(ctx, []ipmi.Pattern{appPattern(cmd)}, h, tell)
	})
}

func answers(code ipmi.CompletionCode, data ...byte) ipmi.Handler {
	return ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{Code: code, Data: data}, nil
	})
}

func TestServedRequestIsWhole(t *testing.T) {
	r := newRig(t)
	got := make(chan ipmi.Request, 1)
	r.serve(t, 1, ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
		got <- *req
		return ipmi.Response{Code: 0x81, Data: []byte{7, 8}}, nil
	}))
	req := fromME(1, 2, 3)
	req.Channel = 7
	response, err := answerOf(r.mux, req)
	if diff := cmp.Diff(ipmi.Response{Code: 0x81, Data: []byte{7, 8}}, response); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if diff := cmp.Diff(*req, <-got); diff != "" {
		t.Error(diff)
	}
}

// executeCall is a call of execute with these options.
func executeCall(t testing.TB, options map[string]dbus.Variant) []byte {
	t.Helper()
	msg := &dbus.Message{Type: dbus.TypeMethodCall, Body: []any{byte(6), byte(2), byte(1), []byte{9}, options},
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:      dbus.MakeVariant(servedPath),
			dbus.FieldMember:    dbus.MakeVariant(xml.ExecuteMember),
			dbus.FieldSignature: dbus.MakeVariant(dbus.ParseSignatureMust(xml.ExecuteIn)),
		}}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// executeWith is the request in the arguments of a call of execute, whose options are these.
func executeWith(t *testing.T, options map[string]dbus.Variant) (ipmi.Request, bool) {
	t.Helper()
	m, ok := dbuswire.Parse(executeCall(t, options))
	if !ok {
		t.Fatal("it is no message")
	}
	var req ipmi.Request
	ok = parseExecute(&m, &req)
	return req, ok
}

func TestRequestWithTheOptionsOfTheHostDaemonOnly(t *testing.T) {
	options := map[string]dbus.Variant{"rqSA": dbus.MakeVariant(int32(0x44)), "hostId": dbus.MakeVariant(int32(3))}
	want := ipmi.Request{Host: 3, Requester: 0x88, NetFn: 6, LUN: 2, Command: 1, Data: []byte{9}}
	got, ok := executeWith(t, options)
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Error(diff)
	}
	// Address 0 is a system interface, with any rqSA.
	options["requester"] = dbus.MakeVariant(byte(0))
	if got, ok := executeWith(t, options); got.Requester != 0 || !ok {
		t.Errorf("requester %v", got.Requester)
	}
}

// Options of other types are ignored if the types are basic.
func TestRequestWithUnknownOptions(t *testing.T) {
	for _, value := range []any{byte(1), true, int16(1), uint16(1), int32(1), uint32(1), int64(1), uint64(1), 1.5, "text",
		dbus.ObjectPath("/a"), dbus.ParseSignatureMust("ay")} {
		options := map[string]dbus.Variant{"a": dbus.MakeVariant(value), "hostId": dbus.MakeVariant(int32(-3)), "zz": dbus.MakeVariant(value)}
		if got, ok := executeWith(t, options); !ok || got.Host != -3 {
			t.Errorf("%T: %+v, %v", value, got, ok)
		}
	}
	if _, ok := executeWith(t, map[string]dbus.Variant{"a": dbus.MakeVariant([]byte{1})}); ok {
		t.Error("an array has been read")
	}
}

func FuzzExecute(f *testing.F) {
	f.Add(executeCall(f, map[string]dbus.Variant{"rqSA": dbus.MakeVariant(int32(0x16)), "hostId": dbus.MakeVariant(int32(3)),
		"channel": dbus.MakeVariant(byte(7)), "interface": dbus.MakeVariant("bus4"), "requester": dbus.MakeVariant(byte(0x2C))}))
	f.Add(executeCall(f, map[string]dbus.Variant{}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if m, ok := dbuswire.Parse(b); ok {
			parseExecute(&m, new(ipmi.Request))
		}
	})
}

func TestServedErrorIsACompletionCode(t *testing.T) {
	r := newRig(t)
	r.serve(t, 1, ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return ipmi.Response{}, ipmi.ErrNoSpace }))
	if got, err := answerOf(r.mux, fromME()); err != nil || got.Code != ipmi.CodeOutOfSpace || len(got.Data) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefusedToServe(t *testing.T) {
	r := newRig(t)
	register(t, r.program, "/handler", appCommand(1))
	err := <-r.startServing(t, 1, answers(0)).ended
	var service *ServiceError
	if !errors.As(err, &service) || !errors.Is(err, ErrNotAllowed) || !strings.Contains(service.Text, r.program.Name()) {
		t.Errorf("error = %v", err)
	}
}

func TestServesNobodyButIPMBD(t *testing.T) {
	r := newRig(t)
	r.serve(t, 1, answers(0, 7))
	handlers, err := openClient(t, r.bus.Address).Handlers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	served := dbuswire.Method{Destination: handlers[0].Owner, Path: handlers[0].Path, Interface: xml.ExecuteInterface, Member: xml.ExecuteMember}
	for name, tt := range map[string]struct {
		args []any
		want string
	}{
		"another program": {[]any{byte(6), byte(0), byte(1), []byte{}, map[string]dbus.Variant{}}, "org.freedesktop.DBus.Error.AccessDenied"},
		"other arguments": {[]any{byte(6)}, "org.freedesktop.DBus.Error.InvalidArgs"},
	} {
		if _, err := r.program.Call(t.Context(), served, tt.args...); errorName(err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A request in progress at the end gets its response, and later requests are not served.
func TestServingEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	began := make(chan ipmi.Reply, 1)
	f := r.serve(t, 1, ipmi.HandlerFunc(func(_ *ipmi.Request, reply ipmi.Reply) { began <- reply }))
	done := serve(r.mux, fromME())
	reply := <-began
	f.stop()
	if !reply.Answer(ipmi.Response{Data: []byte{7}}, nil) || reply.Answer(ipmi.Response{}, nil) {
		t.Error("it is not answered once")
	}
	if got := <-done; got.err != nil || !cmp.Equal(got.res.Data, []byte{7}) {
		t.Errorf("in progress: %+v", got)
	}
	if err := <-f.ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := answerOf(r.mux, fromME()); !errors.Is(err, ipmi.ErrNoHandler) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestServingHasABound(t *testing.T) {
	s := newExecuteServer(answers(0), nil)
	for range maxServed {
		if !s.startRequest() {
			t.Fatal("there is no room")
		}
	}
	if s.startRequest() {
		t.Error("there is room over the bound")
	}
	s.endRequest()
	if !s.startRequest() {
		t.Error("there is no room afterwards")
	}
	for range maxServed {
		s.endRequest()
	}
	if s.drain(); s.startRequest() {
		t.Error("there is room when it is closed")
	}
}

// A burst of requests reaches the program in order, and the responses come in order.
func TestServedRequestsAreInOrder(t *testing.T) {
	r := newRig(t)
	var got []byte
	r.serve(t, 1, ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
		got = append(got, req.Data[0])
		return ipmi.Response{}, nil
	}))
	var want, answered []byte
	var done sync.WaitGroup
	for i := range byte(200) {
		want = append(want, i)
		done.Add(1)
		r.mux.ServeIPMI(fromME(i), ipmi.ReplyFunc(func(_ ipmi.Response, err error) bool {
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			answered = append(answered, i)
			done.Done()
			return true
		}))
	}
	done.Wait()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, answered); diff != "" {
		t.Error(diff)
	}
}

func TestServesAgainAfterARestart(t *testing.T) {
	r := newRig(t)
	f := r.serve(t, 1, answers(0, 7))
	_ = r.server.Close()
	f.tells(t, ServiceStopped)
	mux := new(ipmi.Mux)
	r.successor(t, mux)
	f.tells(t, ServiceStarted)
	if got, err := answerOf(mux, fromME()); err != nil || !cmp.Equal(got.Data, []byte{7}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRestartLetsAnotherServe(t *testing.T) {
	r := newRig(t)
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

// An ipmbd that has lost its name for a moment still knows the registered programs.
func TestServesOnWhenTheNameIsBack(t *testing.T) {
	r := newRig(t)
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
	if got, err := answerOf(r.mux, fromME()); err != nil || !cmp.Equal(got.Data, []byte{7}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestServingEndsWithTheMessageBus(t *testing.T) {
	r := newRig(t)
	f := r.serve(t, 1, answers(0))
	r.bus.Stop()
	if err := <-f.ended; !errors.Is(err, ErrDisconnected) {
		t.Errorf("Serve = %v", err)
	}
}

func TestNobodyToServeFor(t *testing.T) {
	client := openClient(t, bustest.Start(t).Address)
	tell := func(Notice) { t.Error("told") }
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
		f := newFollower(nil, func(Notice) { t.Errorf("%v: told", err) })
		f.register = func(string) error { return &ServiceError{Err: err} }
		got := f.keepRegistered(":1.5")
		if (got == nil) != want || f.isService(":1.5") {
			t.Errorf("%v: %v", err, got)
		}
	}
}
