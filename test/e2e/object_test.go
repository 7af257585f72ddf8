package e2e

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
)

func TestIntrospectShowsTheObjectOfABus(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	start(t, bus.Address, channels(channel(listen(t, "ipmb-5"), nil)))
	got := members(t, bus.Address, basePath+"/bus5")
	for _, want := range []string{
		".sendRequest method yyyyay",
		".sendRequestWithOptions method yyyyaya{sv}",
		".sendTracedRequest method yyyyaya{sv}",
		".sendBroadcast method yyyay",
		".sendResponse method tyay",
		".ReceivedMessage signal tyyyyay",
		".State property s",
		".GetStatistics method -",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, strings.Join(got, "\n"))
		}
	}
	text, err := busctl(t, bus.Address, "introspect", service, basePath+"/bus5")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) > 120 || err != nil {
			t.Errorf("%v, %d columns: %s", err, len(line), line)
		}
	}
	tree, err := busctl(t, bus.Address, "tree", "--list", service)
	if err != nil || !strings.Contains(tree, basePath+"/bus5") {
		t.Errorf("tree: %v\n%s", err, tree)
	}
}

func TestManagedObjectsAreTheBuses(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"devIndex": 2, "remote-addr": 0x40, "bmc-addr": "0x22"})))
	c := connect(t, bus.Address)
	for _, path := range []dbus.ObjectPath{"/", basePath} {
		var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
		call := end(t, c.call(path, "org.freedesktop.DBus.ObjectManager.GetManagedObjects"))
		if err := call.Store(&objects); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]any)
		for name, value := range objects[busPath("bus5")][objectIface] {
			got[name] = value.Value()
		}
		want := map[string]any{
			"Bus": "bus5", "Device": n.path, "Transport": "seqpacket", "Channel": byte(1), "Index": byte(9),
			"OwnAddress": byte(0x22), "RemoteAddress": byte(0x40),
			"State": "Up", "StateReason": "", "TimeoutMs": uint32(250), "Tries": uint32(6),
			"IgnoreNack": false, "VerifyHeaderChecksum": false, "Handler": "host",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func TestOwnAddressOfASocketCanBeWritten(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(echo)
	n.respond(0x2C, respond)
	start(t, bus.Address, channels(channel(n, object{"handler": "none"})))
	c := connect(t, bus.Address)
	for _, own := range []byte{0x22, 0x20} {
		set := "org.freedesktop.DBus.Properties.Set"
		if err := end(t, c.call(busPath("bus5"), set, objectIface, "OwnAddress", dbus.MakeVariant(own))).Err; err != nil {
			t.Fatal(err)
		}
		if got := c.property(t, "bus5", "OwnAddress"); got != own {
			t.Errorf("OwnAddress %v", got)
		}
		if code, _ := answered(t, c.send("bus5", 0, 0x30, 0, 1)); code != 0 {
			t.Errorf("a call: %02Xh", code)
		}
		if got := receive(t, "the request", asked); got.from != own {
			t.Errorf("it came from %02Xh", got.from)
		}
	}
}

func TestSocketIsNotBound(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	for _, member := range []string{"bind", "unbind"} {
		if got := errorName(end(t, c.call(busPath("bus5"), objectIface+"."+member)).Err); got != commonError+"UnsupportedRequest" {
			t.Errorf("%s: %s", member, got)
		}
	}
	c.state(t, "bus5", "Up")
}

func TestObjectsLUNIsTheResponders(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(echo)
	n.respond(0x2C, respond)
	n.respond(0x42, respond)
	start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)

	for _, responder := range []byte{0, 0x42} {
		code, data := answered(t, c.send("bus5", responder, 0x30, 2, 0x10, 1, 2, 3))
		if code != 0 || !bytes.Equal(data, []byte{1, 2, 3}) {
			t.Errorf("got %02Xh % X", code, data)
		}
	}
	for _, to := range []byte{0x2C, 0x42} { // 0 is the configured remote
		got := receive(t, "the request", asked)
		want := packet{to: to, netFn: 0x30, toLUN: 2, from: 0x20, number: got.number, cmd: 0x10, data: []byte{1, 2, 3}}
		if !bytes.Equal(got.bytes(), want.bytes()) {
			t.Errorf("on the bus: % X, want % X", got.bytes(), want.bytes())
		}
	}
}

func TestOptionsOfARequest(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	n.respond(0x42, echo)
	start(t, bus.Address, channels(channel(n, unhurried)))
	c := connect(t, bus.Address)

	begin := time.Now()
	// Long enough that a busy machine does not sleep through one.
	const slot, tries = 1500 * time.Millisecond, 3
	o := options{"timeout-ms": uint32(slot.Milliseconds()), "tries": uint32(tries), "requester-lun": byte(2)}
	failed := end(t, c.sendWith("bus5", o, 0x2C, 6, 1)).Err
	if took := time.Since(begin); took < tries*slot || took > tries*slot+atOnce {
		t.Errorf("%d tries of %v took %v", tries, slot, took)
	}
	if got := errorName(failed); got != commonError+"Timeout" {
		t.Errorf("ended with %s", got)
	}
	for range tries {
		if request := receive(t, "a transmission", asked); request.fromLUN != 2 {
			t.Errorf("requester LUN %d", request.fromLUN)
		}
	}
	code, data := answered(t, c.sendWith("bus5", o, 0x42, 0x30, 7, 0xEE))
	if code != 0 || !bytes.Equal(data, []byte{0xEE}) || len(asked) > 0 {
		t.Errorf("an answer to requester LUN 2: %02Xh % X; %d more transmissions", code, data, len(asked))
	}
}

func TestGeneralCallReachesAndIsAnswered(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, unhurried)))
	c := connect(t, bus.Address)
	call := c.sendWith("bus5", options{"broadcast": true}, 0x2C, 6, 1)
	got := n.next(t)
	inner := mustUnpack(t, got[1:])
	want := append([]byte{0}, packet{to: 0x2C, netFn: 6, from: 0x20, number: inner.number, cmd: 1}.bytes()...)
	if !bytes.Equal(got, want) {
		t.Errorf("on the bus: % X, want % X", got, want)
	}
	n.send(t, inner.answer(0, 0x50).bytes())
	if code, data := answered(t, call); code != 0 || !bytes.Equal(data, []byte{0x50}) {
		t.Errorf("answered %02Xh % X", code, data)
	}
}

func TestBroadcastIsIpmbbridgesFrame(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, nil)))
	call := end(t, connect(t, bus.Address).call(busPath("bus5"), objectIface+".sendBroadcast", byte(6), byte(0), byte(1), []byte{}))
	if call.Err != nil {
		t.Fatal(call.Err)
	}
	if got, want := n.next(t), unhex(t, "00 18 E8 20 00 01 DF"); !bytes.Equal(got, want) {
		t.Errorf("on the bus: % X, want % X", got, want)
	}
}

func TestErrorsHaveNames(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, silent)
	start(t, bus.Address, channels(
		channel(n, object{"timeout-ms": 50, "tries": 1, "max-frame": 64}),
		channel(newNode(t, "ipmb-6"), object{"devIndex": 1})))
	c := connect(t, bus.Address)
	tests := []struct {
		name string
		call *dbus.Call
		want string
	}{
		{"silence", c.send("bus5", 0, 6, 0, 1), commonError + "Timeout"},
		{"a bus that is down", c.send("bus6", 0, 6, 0, 1), commonError + "Unavailable"},
		{"odd responder address", c.send("bus5", 0x2D, 6, 0, 1), commonError + "InvalidArgument"},
		{"netFn of a response", c.send("bus5", 0, 7, 0, 1), commonError + "InvalidArgument"},
		{"LUN beyond two bits", c.send("bus5", 0, 6, 4, 1), commonError + "InvalidArgument"},
		{"too long", c.send("bus5", 0, 6, 0, 1, make([]byte, 58)...), commonError + "InvalidArgument"},
		{"unknown option", c.sendWith("bus5", options{"colour": "red"}, 0, 6, 1), commonError + "InvalidArgument"},
		{"option of a wrong type", c.sendWith("bus5", options{"tries": "3"}, 0, 6, 1), commonError + "InvalidArgument"},
		{"answer where signals do not ask", c.call(busPath("bus5"), objectIface+".sendResponse", uint64(1), byte(0), []byte{}),
			commonError + "NotAllowed"},
		{"arguments of wrong types", c.call(busPath("bus5"), objectIface+".sendRequest", "x"), "org.freedesktop.DBus.Error.InvalidArgs"},
		{"a method that is not there", c.call(busPath("bus5"), objectIface+".sendMoney"), "org.freedesktop.DBus.Error.UnknownMethod"},
	}
	for _, test := range tests {
		if got := errorName(end(t, test.call).Err); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestPolicyIsAProperty(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	start(t, bus.Address, channels(channel(n, unhurried)))
	c := connect(t, bus.Address)
	changes := c.signals(t, "PropertiesChanged")
	for name, value := range map[string]uint32{"TimeoutMs": 700, "Tries": 2} {
		if err := c.Object(service, busPath("bus5")).SetProperty(objectIface+"."+name, dbus.MakeVariant(value)); err != nil {
			t.Fatal(err)
		}
		changed := receive(t, "PropertiesChanged", changes)
		want := []any{objectIface, map[string]dbus.Variant{name: dbus.MakeVariant(value)}, []string{}}
		if diff := cmp.Diff(want, changed.Body, cmp.Comparer(sameVariant)); diff != "" || changed.Path != busPath("bus5") {
			t.Errorf("%s: %s", changed.Path, diff)
		}
	}
	if got := c.legacy(t, 1, 6, 0, 1); got.Status != 4 {
		t.Errorf("got %+v", got)
	}
	if len(asked) != 2 {
		t.Errorf("%d transmissions, want 2", len(asked))
	}
	if err := c.Object(service, busPath("bus5")).SetProperty(objectIface+".State", dbus.MakeVariant("Up")); err == nil {
		t.Error("State could be set")
	}
}

func sameVariant(a, b dbus.Variant) bool { return a.String() == b.String() }

// message has the arguments of ReceivedMessage.
type message struct {
	ID                         uint64
	Requester, NetFn, LUN, Cmd byte
	Data                       []byte
}

func readMessage(t testing.TB, signal *dbus.Signal) message {
	t.Helper()
	var m message
	if err := dbus.Store(signal.Body, &m.ID, &m.Requester, &m.NetFn, &m.LUN, &m.Cmd, &m.Data); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSignalHandlerTakesTheFirstAnswer(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	config := channels(channel(n, object{"handler": "signal"}))
	d := start(t, bus.Address, config)
	c := connect(t, bus.Address)
	received := c.signals(t, "ReceivedMessage")
	respond := func(id uint64, code byte, data ...byte) error {
		return end(t, c.call(busPath("bus5"), objectIface+".sendResponse", id, code, data)).Err
	}

	request := packet{to: 0x20, netFn: 0x30, toLUN: 1, from: 0x2C, number: 9, fromLUN: 2, cmd: 0x77, data: []byte{1, 2}}
	n.send(t, request.bytes())
	got := readMessage(t, receive(t, "ReceivedMessage", received))
	if diff := cmp.Diff(message{got.ID, 0x2C, 0x30, 1, 0x77, []byte{1, 2}}, got); diff != "" {
		t.Error(diff)
	}
	if err := respond(got.ID, 0xD5, 3, 4); err != nil {
		t.Fatal(err)
	}
	if answer, want := n.next(t), request.answer(0xD5, 3, 4).bytes(); !bytes.Equal(answer, want) {
		t.Errorf("on the bus: % X, want % X", answer, want)
	}
	for name, id := range map[string]uint64{"second": got.ID, "unasked": got.ID + 1} {
		if err := respond(id, 0, 9); errorName(err) != commonError+"InvalidArgument" {
			t.Errorf("%s answer: %v", name, err)
		}
	}

	// A password is shown to no client, so no client serves it.
	if answer := n.ask(t, packet{to: 0x20, netFn: 6, from: 0x2C, number: 10, cmd: 0x47, data: []byte{2, 2}}); answer.data[0] != 0xC1 {
		t.Errorf("Set User Password: %02Xh", answer.data[0])
	}

	d.stopped(t)
	start(t, bus.Address, config)
	n.send(t, request.bytes())
	if again := readMessage(t, receive(t, "ReceivedMessage", received)); again.ID <= got.ID {
		t.Errorf("id %d after a restart, %d before", again.ID, got.ID)
	}
}

func TestLateAnswerByASignalsClientIsRefused(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "signal", "handler-timeout-ms": 50})))
	c := connect(t, bus.Address)
	received := c.signals(t, "ReceivedMessage")
	n.askAtDeadline(t, c, "bus5", packet{to: 0x20, netFn: 0x30, from: 0x2C, number: 1, cmd: 1})
	late := readMessage(t, receive(t, "ReceivedMessage", received))
	// An answer at the very end of the time may be taken, and reaches no requester.
	eventually(t, "a late answer to be refused", func() bool {
		err := end(t, c.call(busPath("bus5"), objectIface+".sendResponse", late.ID, byte(0), []byte{0x99})).Err
		return errorName(err) == commonError+"InvalidArgument"
	})
	if answer, _ := n.askAtDeadline(t, c, "bus5", packet{to: 0x20, netFn: 0x30, from: 0x2C, number: 2, cmd: 2}); answer.data[0] != 0xC3 {
		t.Errorf("the next request: % X", answer.data)
	}
}
