package client

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipmbd/dbusapi"
	"ipmbd/internal/bustest"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// watchRig is a rig with a monitor.
type watchRig struct {
	*rig
	whole   bool
	notices chan Notice
	ended   chan error
	stop    context.CancelFunc
}

// watchBus starts a monitor, and returns when it watches.
func watchBus(t *testing.T, r *rig) *watchRig {
	t.Helper()
	client := openClient(t, r.bus.Address)
	w := &watchRig{rig: r, notices: make(chan Notice, 1000), ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	go func() {
		w.ended <- client.Monitor(ctx, func(n Notice) error {
			w.notices <- n
			return nil
		})
		close(w.notices)
	}()
	t.Cleanup(func() {
		stop()
		for range w.notices { // until Monitor has returned
		}
	})
	first := <-w.notices
	if first.Kind != MonitorStarted {
		t.Fatalf("first notice %+v, %v", first, <-w.ended)
	}
	w.whole = first.Whole
	return w
}

// next compares the next event, but for its times and programs.
func (w *watchRig) next(t *testing.T, want Notice) Notice {
	t.Helper()
	got := <-w.notices
	if diff := cmp.Diff(want, got, ignoreVarying()); diff != "" {
		t.Error(diff)
	}
	if got.Time.IsZero() || got.Kind != RequestSeen && isMessage(got) && got.Took <= 0 {
		t.Errorf("times of %+v", got)
	}
	return got
}

// ignoreVarying leaves out the values that differ from run to run.
func ignoreVarying() cmp.Option { return cmpopts.IgnoreFields(Notice{}, "Time", "Took", "Program") }

func isMessage(e Notice) bool { return e.Kind <= FailureSeen }

func TestMonitorShowsARequestAndItsResponse(t *testing.T) {
	w := watchBus(t, newRig(t))
	if !w.whole {
		t.Fatal("the monitor sees signals only")
	}
	client := openClient(t, w.bus.Address)
	if _, err := client.Send(t.Context(), "bus4", ipmb.Request{NetFn: 6, LUN: 1, Command: 1, Data: []byte{7}}); err != nil {
		t.Fatal(err)
	}
	message := Notice{Bus: "bus4", Node: 0x2C, NetFn: 6, LUN: 1, Command: 1}
	request, answer := message, message
	request.Kind, request.Data = RequestSeen, []byte{7}
	answer.Kind, answer.Data = ResponseSeen, deviceID
	if got := w.next(t, request); got.Program != client.conn.Name() {
		t.Errorf("Program = %q", got.Program)
	}
	w.next(t, answer)
}

func TestMonitorShowsAFailure(t *testing.T) {
	r := newRig(t)
	w := watchBus(t, r)
	r.fake.fail(map[ipmi.Command]error{1: ipmb.ErrTimeout})
	_, err := openClient(t, r.bus.Address).Send(t.Context(), "bus4", ipmb.Request{
		Responder: 0x72, NetFn: 6, Command: 1, RetryPolicy: ipmb.RetryPolicy{Tries: 1}})
	if !errors.Is(err, ipmb.ErrTimeout) {
		t.Fatal(err)
	}
	message := Notice{Bus: "bus4", Node: 0x72, NetFn: 6, Command: 1}
	request, failure := message, message
	request.Data = []byte{}
	failure.Kind, failure.Reason = FailureSeen, err.Error()
	w.next(t, request)
	w.next(t, failure)
}

func TestMonitorShowsTheLegacyInterface(t *testing.T) {
	r := newRig(t)
	w := watchBus(t, r)
	r.legacy(t, 0, 6, 2, 1, 5)
	r.legacy(t, 77, 6, 0, 1)
	message := Notice{Bus: "bus4", Node: 0x2C, NetFn: 6, Command: 1}
	request, answer := message, message
	request.Data = []byte{5}
	answer.Kind, answer.Data = ResponseSeen, deviceID
	w.next(t, request)
	w.next(t, answer)
	w.next(t, Notice{NetFn: 6, Command: 1, Data: []byte{}})
	w.next(t, Notice{Kind: FailureSeen, NetFn: 6, Command: 1, Reason: "status 2, bad argument or unknown channel"})
}

func TestMonitorShowsABroadcast(t *testing.T) {
	r := newRig(t)
	w := watchBus(t, r)
	r.call(t, bus4, xml.BusInterface, "sendBroadcast", byte(6), byte(0), byte(0x42), []byte{1})
	r.legacy(t, 0, 6, 0, 1)
	w.next(t, Notice{Bus: "bus4", NetFn: 6, Command: 0x42, Data: []byte{1}})
	w.next(t, Notice{Bus: "bus4", Node: 0x2C, NetFn: 6, Command: 1, Data: []byte{}})
}

// The message bus would end a monitor that replied to a call which is longer than the connection
// reads.
func TestMonitorRepliesToNoCall(t *testing.T) {
	r := newRig(t)
	w := watchBus(t, r)
	call := r.program.Object(xml.ServiceName, bus4).CallWithContext(t.Context(), xml.BusInterface+".sendRequest", 0,
		byte(0x2C), byte(6), byte(0), byte(1), make([]byte, 257<<10))
	if errorName(call.Err) != xml.ErrorLimits {
		t.Fatal(call.Err)
	}
	r.legacy(t, 0, 6, 0, 1)
	w.next(t, Notice{Bus: "bus4", Node: 0x2C, NetFn: 6, Command: 1, Data: []byte{}})
}

// incoming is a request from a node, as the handler of a bus gets it.
func incoming() *ipmi.Request {
	return &ipmi.Request{Interface: "bus4", Host: 0, Requester: 0x2C, NetFn: 6, LUN: 2, Command: 1, Data: []byte{3}}
}

func TestMonitorShowsWhatTheHostDaemonAnswers(t *testing.T) {
	r := newRig(t)
	host, err := r.server.HostDaemon(t.Context(), "Ipmb")
	if err != nil {
		t.Fatal(err)
	}
	startHost(t, r.bus)
	w := watchBus(t, r)
	if _, err := answerOf(r.object.Announce(host), incoming()); err != nil {
		t.Fatal(err)
	}
	// The signal and the call to the host daemon do not wait for each other.
	got := map[NoticeKind]Notice{}
	for range 2 {
		event := <-w.notices
		got[event.Kind] = event
	}
	request := Notice{Incoming: true, Bus: "bus4", Node: 0x2C, NetFn: 6, LUN: 2, Command: 1, Data: []byte{3}}
	answer := request
	answer.Kind = ResponseSeen
	want := map[NoticeKind]Notice{RequestSeen: request, ResponseSeen: answer}
	if diff := cmp.Diff(want, got, ignoreVarying()); diff != "" {
		t.Error(diff)
	}
}

func TestMonitorShowsAnAbsentHostDaemon(t *testing.T) {
	r := newRig(t)
	host, err := r.server.HostDaemon(t.Context(), "Ipmb")
	if err != nil {
		t.Fatal(err)
	}
	w := watchBus(t, r)
	if _, err := answerOf(host, incoming()); !errors.Is(err, ipmi.ErrNotPresent) {
		t.Fatal(err)
	}
	got := <-w.notices
	if got.Kind != FailureSeen || got.Bus != "bus4" || !got.Incoming || got.Node != 0x2C || got.Reason == "" {
		t.Errorf("event = %+v", got)
	}
}

func TestMonitorShowsSendResponse(t *testing.T) {
	r := newRig(t)
	handler := r.object.SignalHandler()
	r.roundTrip(t)
	if err := r.program.AddMatch(t.Context(), "type='signal',sender='"+xml.ServiceName+"'"); err != nil {
		t.Fatal(err)
	}
	w := watchBus(t, r)
	served := make(chan error, 1)
	go func() {
		_, err := answerOf(handler, incoming())
		served <- err
	}()
	id := (<-r.heard).Body[0].(uint64)
	r.call(t, bus4, xml.BusInterface, "sendResponse", id, byte(0xC9), []byte{1, 2})
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	message := Notice{Incoming: true, Bus: "bus4", Node: 0x2C, NetFn: 6, LUN: 2, Command: 1}
	request, answer := message, message
	request.Data = []byte{3}
	answer.Kind, answer.Code, answer.Data = ResponseSeen, 0xC9, []byte{1, 2}
	w.next(t, request)
	if got := w.next(t, answer); got.Program != r.program.Name() {
		t.Errorf("Program = %q", got.Program)
	}
}

func TestMonitorKeepsSecrets(t *testing.T) {
	r := newRig(t)
	w := watchBus(t, r)
	client := openClient(t, r.bus.Address)
	for _, p := range ipmi.SecretPatterns() {
		data := append([]byte{byte(p.Group)}, "secret"...)
		if !ipmi.CarriesSecret(p.NetFn, p.Command, data) {
			continue // It depends on a message inside.
		}
		r.fake.answer(p.Command, data)
		if _, err := client.Send(t.Context(), "bus4", ipmb.Request{NetFn: p.NetFn, Command: p.Command, Data: data}); err != nil {
			t.Fatal(err)
		}
		message := Notice{Bus: "bus4", Node: 0x2C, NetFn: p.NetFn, Command: p.Command, Secret: true}
		w.next(t, message)
		message.Kind = ResponseSeen
		w.next(t, message)
	}
}

func TestMonitorSaysWhenTheServiceStopsAndStarts(t *testing.T) {
	r := newRig(t)
	w := watchBus(t, r)
	_ = r.server.Close()
	w.next(t, Notice{Kind: ServiceStopped})

	next := openServer(t, r.bus, dbusapi.Config{})
	fake := newFakeBus("bus9", 8)
	addBus(t, next, fake)
	if err := next.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.next(t, Notice{Kind: ServiceStarted})
	r.legacy(t, 8, 6, 0, 1)
	w.next(t, Notice{Bus: "bus9", Node: 0x2C, NetFn: 6, Command: 1, Data: []byte{}})
}

// A message bus that forbids monitoring leaves the signals.
func TestMonitorThatMaySeeSignalsOnly(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "deny.conf")
	text := `<busconfig><policy context="default"><deny send_interface="org.freedesktop.DBus.Monitoring"/></policy></busconfig>`
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRigOn(t, bustest.StartConfig(t, bustest.Config{Policies: []string{policy}}))
	w := watchBus(t, r)
	if w.whole {
		t.Fatal("the monitor sees everything")
	}
	r.legacy(t, 0, 6, 0, 1)
	nobody := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{}, ipmi.ErrNoHandler
	})
	_, _ = answerOf(r.object.Announce(nobody), incoming())
	w.next(t, Notice{Incoming: true, Bus: "bus4", Node: 0x2C, NetFn: 6, LUN: 2, Command: 1, Data: []byte{3}})
}

func TestMonitorEndsWithItsContext(t *testing.T) {
	w := watchBus(t, newRig(t))
	w.stop()
	if err := <-w.ended; err != nil {
		t.Errorf("Monitor = %v", err)
	}
}

func TestMonitorEndsWithTheMessageBus(t *testing.T) {
	w := watchBus(t, newRig(t))
	w.bus.Stop()
	if err := <-w.ended; !errors.Is(err, ErrDisconnected) {
		t.Errorf("Monitor = %v", err)
	}
}

func TestMonitorEndsWhenShowFails(t *testing.T) {
	r := newRig(t)
	full := errors.New("disk full")
	err := openClient(t, r.bus.Address).Monitor(t.Context(), func(n Notice) error {
		if n.Kind == MonitorStarted {
			r.legacy(t, 0, 6, 0, 1)
			return nil
		}
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("Monitor = %v", err)
	}
}

func TestMonitorCountsLostMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resume := make(chan struct{})
		var lost, shown int
		m := &monitor{tap: make(chan *dbus.Message), tracer: newTracer(nil), show: func(n Notice) error {
			<-resume
			lost += n.Lost
			shown++
			return nil
		}}
		ended := make(chan error, 1)
		go func() { ended <- m.showMessages(t.Context()) }()
		const over = 100
		m.tap <- broadcastCall()
		synctest.Wait() // It is being shown.
		for range maxQueued + over {
			m.tap <- broadcastCall()
		}
		synctest.Wait()
		close(m.tap)
		close(resume)
		if err := <-ended; !errors.Is(err, ErrDisconnected) {
			t.Errorf("showMessages = %v", err)
		}
		if lost != over || shown != 1+1+maxQueued {
			t.Errorf("%d lost, %d shown", lost, shown)
		}
	})
}

// broadcastCall is a message that makes an event.
func broadcastCall() *dbus.Message {
	return &dbus.Message{
		Type:  dbus.TypeMethodCall,
		Flags: dbus.FlagNoReplyExpected,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:      dbus.MakeVariant(bus4),
			dbus.FieldInterface: dbus.MakeVariant(xml.BusInterface),
			dbus.FieldMember:    dbus.MakeVariant("sendBroadcast"),
		},
		Body: []any{byte(6), byte(0), byte(1), []byte{}},
	}
}
