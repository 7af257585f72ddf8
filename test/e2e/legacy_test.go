package e2e

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
)

// unhurried is a long time-out: a call that ends sooner did not wait for a responder.
var unhurried = object{"timeout-ms": 20000, "tries": 1}

// members are the lines of busctl introspect without their values.
func members(t *testing.T, address, path string) []string {
	t.Helper()
	out, err := busctl(t, address, "introspect", service, path)
	if err != nil {
		t.Fatal(out, err)
	}
	var lines []string
	for _, line := range strings.Split(out, "\n")[1:] {
		lines = append(lines, strings.Join(strings.Fields(line)[:3], " "))
	}
	return lines
}

func TestIntrospectShowsTheInterfaceOfIpmbbridge(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	start(t, bus.Address, channels(channel(listen(t, "ipmb-5"), nil)))
	got := strings.Join(members(t, bus.Address, basePath), "\n")
	for _, want := range []string{
		"org.openbmc.Ipmb interface -",
		".sendRequest method yyyyay", // and the result, below
		".receiveBroadcast signal yyay",
		"org.freedesktop.DBus.ObjectManager interface -",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	out, _ := busctl(t, bus.Address, "introspect", service, basePath, legacy)
	if !strings.Contains(strings.Join(strings.Fields(out), " "), ".sendRequest method yyyyay (iyyyyay) -") {
		t.Errorf("sendRequest is not as ipmbbridge has it:\n%s", out)
	}
}

func TestBusctlPrintsWhatIpmbbridgesClientsRead(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(deviceID)
	n.respond(0x2C, respond)
	start(t, bus.Address, channels(channel(n, nil)))
	out, err := busctl(t, bus.Address, "call", service, basePath, legacy, "sendRequest", "yyyyay", "1", "6", "0", "1", "0")
	if want := "(iyyyyay) 0 7 0 1 0 11 80 1 4 0 2 33 87 1 0 11 11"; out != want || err != nil {
		t.Errorf("got  %s %v\nwant %s", out, err, want)
	}
	request := receive(t, "the request", asked)
	want := packet{to: 0x2C, netFn: 6, from: 0x20, number: request.number, cmd: 1}
	if !bytes.Equal(want.bytes(), request.bytes()) {
		t.Errorf("on the bus: % X, want % X", request.bytes(), want.bytes())
	}
}

func TestLegacyLUNIsTheRequesters(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(echo)
	n.respond(0x2C, respond)
	start(t, bus.Address, channels(channel(n, nil)))
	for lun := range byte(4) {
		got := connect(t, bus.Address).legacy(t, 1, 0x30, lun, 0xF0, 0xAA, lun)
		if diff := cmp.Diff(legacyAnswer{0, 0x31, 0, 0xF0, 0, []byte{0xAA, lun}}, got); diff != "" {
			t.Error(diff)
		}
		if request := receive(t, "the request", asked); request.fromLUN != lun || request.toLUN != 0 {
			t.Errorf("LUN %d: on the bus from %d to %d", lun, request.fromLUN, request.toLUN)
		}
	}
}

func TestLegacyCompletionCodeIsNoFailure(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, func(asked packet, send func(packet)) { send(asked.answer(0xC1)) })
	start(t, bus.Address, channels(channel(n, nil)))
	got := connect(t, bus.Address).legacy(t, 1, 0x2E, 0, 0x40)
	if diff := cmp.Diff(legacyAnswer{0, 0x2F, 0, 0x40, 0xC1, []byte{}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLegacyRefusesAtOnce(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, unhurried)))
	c := connect(t, bus.Address)
	tests := []struct {
		name                string
		channel, netFn, lun byte
		size                int
		want                int32
	}{
		{"unknown channel", 9, 6, 0, 0, 2},
		{"channel of the other type", 0, 6, 0, 0, 2},
		{"netFn of a response", 1, 7, 0, 0, 2},
		{"netFn beyond six bits", 1, 0x40, 0, 0, 2},
		{"LUN beyond two bits", 1, 6, 4, 0, 2},
		{"longer than ipmbbridge's longest frame", 1, 6, 0, 258, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			begin := time.Now()
			got := c.legacy(t, test.channel, test.netFn, test.lun, 1, make([]byte, test.size)...)
			if diff := cmp.Diff(legacyAnswer{Status: test.want, Data: []byte{}}, got); diff != "" {
				t.Error(diff)
			}
			if took := time.Since(begin); took > atOnce {
				t.Errorf("took %v", took)
			}
		})
	}
	// Nothing of it went to the bus: this is the first frame that arrives.
	n.respond(0x2C, echo)
	c.legacy(t, 1, 6, 0, 0x55)
	if len(n.inbox) > 0 {
		t.Errorf("on the bus: % X", <-n.inbox)
	}
}

func TestLegacyLongestRequestIsIpmbbridges(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, func(asked packet, send func(packet)) { send(asked.answer(0, asked.data[:250]...)) })
	start(t, bus.Address, channels(channel(n, nil)))
	data := bytes.Repeat([]byte{0xA5, 0x5A}, 124)
	got := connect(t, bus.Address).legacy(t, 1, 0x30, 0, 1, append(data, 1, 2)...)
	if want := append(data, 1, 2); got.Status != 0 || !bytes.Equal(got.Data, want) {
		t.Errorf("status %d, % X", got.Status, got.Data)
	}
}

func TestLegacyDeadResponderIsATimeout(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	begin := time.Now()
	got := c.legacy(t, 1, 6, 0, 1)
	took := time.Since(begin)
	if diff := cmp.Diff(legacyAnswer{Status: 4, Data: []byte{}}, got); diff != "" {
		t.Error(diff)
	}
	if took < 1400*time.Millisecond || took > 1500*time.Millisecond+atOnce {
		t.Errorf("took %v, not about 1.5 s", took)
	}
	first := receive(t, "a transmission", asked)
	// A machine that stands still for the length of a slot leaves one out.
	if again := len(asked); again < 2 || again > 5 {
		t.Errorf("transmitted again %d times, not 5", again)
	}
	for len(asked) > 0 {
		if again := <-asked; !bytes.Equal(again.bytes(), first.bytes()) {
			t.Errorf("transmitted % X, first % X", again.bytes(), first.bytes())
		}
	}
}

func TestLegacy65thInFlightIsBusy(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	var held []func()
	full := make(chan []func(), 1)
	n.respond(0x2C, func(asked packet, send func(packet)) {
		held = append(held, func() { send(asked.answer(0, asked.data...)) })
		if len(held) == 64 {
			full <- held
		}
	})
	start(t, bus.Address, channels(channel(n, unhurried)))
	c := connect(t, bus.Address)
	var calls []*dbus.Call
	for i := range byte(64) {
		calls = append(calls, c.sendLegacy(1, 0x30, 0, i%5, i))
	}
	release := receive(t, "64 requests on the bus", full)
	begin := time.Now()
	if got := c.legacy(t, 1, 0x30, 0, 99); got.Status != 3 {
		t.Errorf("the 65th: %+v", got)
	}
	if took := time.Since(begin); took > atOnce {
		t.Errorf("the 65th took %v", took)
	}
	for _, answer := range release {
		answer()
	}
	for i, call := range calls {
		want := legacyAnswer{0, 0x31, 0, byte(i % 5), 0, []byte{byte(i)}}
		if diff := cmp.Diff(want, legacyEnd(t, call)); diff != "" {
			t.Errorf("call %d: %s", i, diff)
		}
	}
}

func TestReceiveBroadcastShowsTheFramesOfIpmbChannels(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	me, slot := listen(t, "ipmb-1"), listen(t, "ipmb-2")
	me.respond(0x2C, echo)
	slot.respond(0x40, echo)
	start(t, bus.Address, channels(
		channel(me, object{"handler": "none"}),
		channel(slot, object{"type": "ipmb", "remote-addr": 0x40, "handler": "none"})))
	c := connect(t, bus.Address)
	seen := c.signals(t, "receiveBroadcast")

	c.legacy(t, 1, 0x30, 0, 0x01, 9) // on the channel of type me
	c.legacy(t, 0, 0x30, 0, 0x02, 8, 7)
	password := packet{to: 0x20, netFn: 6, from: 0x40, number: 1, cmd: 0x47, data: []byte("\x01\x02secret")}
	slot.ask(t, password)
	slot.ask(t, packet{to: 0x20, netFn: 4, from: 0x40, number: 2, cmd: 0x02, data: []byte{4, 1, 0x30}})

	want := [][]any{
		{byte(0x31), byte(0x02), []byte{0, 8, 7}}, // the response, its completion code first
		{byte(0x04), byte(0x02), []byte{4, 1, 0x30}},
	}
	for _, body := range want {
		got := receive(t, "receiveBroadcast", seen)
		if diff := cmp.Diff(body, got.Body); diff != "" || got.Path != basePath || got.Name != legacy+".receiveBroadcast" {
			t.Errorf("%s %s: %s", got.Path, got.Name, diff)
		}
	}
}
