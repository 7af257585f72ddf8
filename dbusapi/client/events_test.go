package client

import (
	"context"
	"errors"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
	"ipmbd/xml"
)

// hearEvents has a client subscribe, and returns when it has. What it shows
// comes over the channel.
func (r *rig) hearEvents(t *testing.T) (*following, chan ipmi.Event) {
	t.Helper()
	client := openClient(t, r.bus.Address)
	shown := make(chan ipmi.Event, 1000)
	f := follow(t, func(ctx context.Context, tell func(Notice)) error {
		return client.Events(ctx, func(e ipmi.Event) error {
			shown <- e
			return nil
		}, tell)
	})
	f.tells(t, ServiceStarted)
	return f, shown
}

func TestClientHearsOfEvents(t *testing.T) {
	r := newRig(t)
	r.happen(0, 1, 2, 3, 4) // before anybody hears
	f, shown := r.hearEvents(t)
	r.happen(5)
	for n := range uint16(6) {
		if diff := cmp.Diff(numberedEvent(n), <-shown); diff != "" {
			t.Error(diff)
		}
	}
	f.stop()
	if err := <-f.ended; err != nil {
		t.Errorf("Events = %v", err)
	}
}

func TestClientHearsOfEventsAfterARestart(t *testing.T) {
	r := newRig(t)
	f, shown := r.hearEvents(t)
	_ = r.server.Close()
	f.tells(t, ServiceStopped)
	r.successor(t, nil).PlatformEvent(numberedEvent(1))
	if got := <-shown; got.Generator != 1 {
		t.Errorf("%+v", got)
	}
	f.tells(t, ServiceStarted)
}

func TestEventsEndWhenShowFails(t *testing.T) {
	r := newRig(t)
	r.happen(1)
	full := errors.New("disk full")
	err := openClient(t, r.bus.Address).Events(t.Context(), func(ipmi.Event) error { return full }, func(Notice) {})
	if !errors.Is(err, full) {
		t.Errorf("Events = %v", err)
	}
}

func TestEventsEndWithTheMessageBus(t *testing.T) {
	r := newRig(t)
	f, _ := r.hearEvents(t)
	r.bus.Stop()
	if err := <-f.ended; !errors.Is(err, ErrDisconnected) {
		t.Errorf("Events = %v", err)
	}
}

// Another program can send the signal too.
func TestEventsOfOthersAreNotHeard(t *testing.T) {
	r := newRig(t)
	_, shown := r.hearEvents(t)
	body := []any{byte(7), "bus4", uint16(1), make([]byte, 7)}
	names, err := r.program.CallBus(t.Context(), "ListNames")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[0].([]string) {
		r.program.Conn.Send(&dbus.Message{
			Type: dbus.TypeSignal,
			Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldDestination: dbus.MakeVariant(name),
				dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath(xml.BasePath)),
				dbus.FieldInterface:   dbus.MakeVariant(xml.RouterInterface),
				dbus.FieldMember:      dbus.MakeVariant("PlatformEvent"),
				dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(body...)),
			},
			Body: body,
		}, nil)
	}
	r.roundTrip(t)
	r.happen(2)
	if got := <-shown; got.Generator != 2 {
		t.Errorf("%+v", got)
	}
}

func TestSignalsThatAreNoEvents(t *testing.T) {
	for name, body := range map[string][]any{
		"nothing":           nil,
		"message too short": {byte(7), "bus4", uint16(1), make([]byte, 6)},
		"message too long":  {byte(7), "bus4", uint16(1), make([]byte, 8)},
		"other types":       {byte(7), uint16(1), "bus4", make([]byte, 7)},
	} {
		if e, ok := parseEvent(&dbus.Signal{Name: xml.RouterInterface + ".PlatformEvent", Body: body}); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestEventsThatComeTooFastAreCounted(t *testing.T) {
	var shown, lost int
	f := newFollower(func(ipmi.Event) error { shown++; return nil }, func(n Notice) { lost += n.Lost })
	f.service.Store(new(":1.5"))
	for range maxEvents + 2 {
		f.receiveSignal(&dbus.Signal{Sender: ":1.5", Name: xml.RouterInterface + ".PlatformEvent", Body: []any{byte(7), "bus4", uint16(1), make([]byte, 7)}})
	}
	for range maxEvents {
		_ = f.showEvent(<-f.events)
	}
	if shown != maxEvents || lost != 2 {
		t.Errorf("%d shown, %d lost", shown, lost)
	}
}
