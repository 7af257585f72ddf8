package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// fan is an event of the node 2Ch about sensor n.
func fan(number, n byte) packet {
	return packet{to: 0x20, netFn: 4, from: 0x2C, number: number, cmd: 2, data: []byte{4, 1, n, 1, 0x57, 0x60, 0x5F}}
}

// subscribe makes a client a subscriber of events.
func (c client) subscribe(t testing.TB) <-chan *dbus.Signal {
	t.Helper()
	heard, wanted := make(chan *dbus.Signal, maxInbox), make(chan *dbus.Signal, maxInbox)
	c.Signal(heard)
	go func() {
		for s := range heard {
			if strings.HasSuffix(s.Name, ".PlatformEvent") {
				wanted <- s
			}
		}
	}()
	if err := end(t, c.call(basePath, router+".Subscribe")).Err; err != nil {
		t.Fatal(err)
	}
	return wanted
}

func TestEventsGoToTheLogAndToSubscribers(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	log := serveEventLog(t, bus.Address)
	start(t, bus.Address, channels(channel(n, object{"handler": "none", "ipmi-channel": 6})))
	c := connect(t, bus.Address)
	heard := c.subscribe(t)
	bystander := connect(t, bus.Address)
	overheard := bystander.signals(t, "PlatformEvent")

	for range 3 { // a repeat is answered again and logged once
		if code := n.code(t, fan(1, 0x30)); code != 0 {
			t.Fatalf("%02Xh", code)
		}
	}
	n.code(t, fan(2, 0x31))
	for _, sensor := range []byte{0x30, 0x31} {
		s := receive(t, "the event", heard)
		want := []any{byte(6), "bus5", uint16(0x602C), []byte{4, 1, sensor, 1, 0x57, 0x60, 0x5F}}
		if len(s.Body) != 4 || s.Body[0] != want[0] || s.Body[1] != want[1] || s.Body[2] != want[2] || !slices.Equal(s.Body[3].([]byte), want[3].([]byte)) {
			t.Errorf("heard %v, want %v", s.Body, want)
		}
	}
	logged := log.events()
	if len(logged) != 2 || logged[0].generator != 0x602C || !logged[0].assert || !slices.Equal(logged[0].data, []byte{0x57, 0x60, 0x5F}) ||
		!strings.Contains(logged[0].message, "number 30h") {
		t.Errorf("logged %+v", logged)
	}
	bystander.property(t, "bus5", "State") // earlier messages have come
	if len(overheard) > 0 {
		t.Error("a bystander hears events")
	}
}

func TestTheFirstSubscriberGetsTheBacklog(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "bmc"})))
	for i := range byte(30) {
		if code := n.code(t, fan(i, i)); code != 0 {
			t.Fatalf("event %d: %02Xh", i, code)
		}
	}
	first, second := connect(t, bus.Address), connect(t, bus.Address)
	heard := first.subscribe(t)
	later := second.subscribe(t)
	n.code(t, fan(40, 99))
	for i := range byte(25) {
		if s := receive(t, "an event", heard); s.Body[3].([]byte)[2] != i {
			t.Fatalf("event %d is % X", i, s.Body[3])
		}
	}
	for _, from := range []<-chan *dbus.Signal{heard, later} {
		if s := receive(t, "the last event", from); s.Body[3].([]byte)[2] != 99 {
			t.Errorf("got % X", s.Body[3])
		}
	}
	if got := first.routerStatistics(t)["events-not-kept"]; got != 5 {
		t.Errorf("%d not kept", got)
	}
	// The log has all of them.
	info := n.ask(t, packet{to: 0x20, netFn: 0x0A, from: 0x2C, number: 41, cmd: 0x40})
	if len(info.data) != 15 || info.data[2] != 31 {
		t.Errorf("SEL info: % X", info.data)
	}
}

func TestEventsOfAHostsChannelAreTheHostDaemons(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	log := serveEventLog(t, bus.Address)
	start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	heard := c.subscribe(t)
	// Without a host daemon, and with one that does not know events, ipmbd handles them.
	n.code(t, fan(1, 0x30))
	receive(t, "the event", heard)
	hostd.Start(t, bus.Address)
	if code := n.code(t, fan(2, 0x31)); code != 0 {
		t.Errorf("%02Xh", code)
	}
	receive(t, "the event", heard)
	if got := log.events(); len(got) != 2 {
		t.Errorf("logged %+v", got)
	}
	// A handler that acknowledges an event has to log it; clients get it anyway.
	newProgram(t, bus.Address, func(x execution) (executed, *dbus.Error) { return x.answer(0) }).mustRegister(t, command(4, 2))
	n.code(t, fan(3, 0x32))
	if s := receive(t, "the event", heard); s.Body[3].([]byte)[2] != 0x32 {
		t.Errorf("heard % X", s.Body[3])
	}
	if got := log.events(); len(got) != 2 {
		t.Errorf("logged %+v", got)
	}
}
