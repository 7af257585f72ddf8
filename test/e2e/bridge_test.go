package e2e

import (
	"bytes"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
)

// app is a request of the node 2Ch for the App network function.
func app(number, cmd byte, data ...byte) packet {
	return packet{to: 0x20, netFn: 6, from: 0x2C, number: number, cmd: cmd, data: data}
}

// Commands between channels.
const (
	setEnables  = 0x2E
	getFlags    = 0x31
	getMessage  = 0x33
	sendMessage = 0x34
)

// bridgedBuses is a configuration with a bus that bridges, on channel 6, and its destination, on
// channel 0.
func bridgedBuses(from, to *node) object {
	return channels(
		channel(from, object{"handler": "none", "bridge": true, "ipmi-channel": 6}),
		channel(to, object{"handler": "none", "type": "ipmb", "ipmi-channel": 0}))
}

func TestSendMessageToAnotherBus(t *testing.T) {
	t.Parallel()
	bus, from, to := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	start(t, bus.Address, bridgedBuses(from, to))
	respond, asked := recorder(deviceID)
	to.respond(0x2C, respond)
	to.respond(0x42, silent)

	ask := func(number, cmd byte, data ...byte) []byte {
		t.Helper()
		return from.ask(t, app(number, cmd, data...)).data
	}
	is := func(what string, got []byte, want string) {
		t.Helper()
		if !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: % X, want %s", what, got, want)
		}
	}
	fetch := func(number byte) []byte {
		t.Helper()
		connect := connect(t, bus.Address)
		eventually(t, "a message", func() bool {
			s := connect.statistics(t, "bus5")
			return s["messages-queued"] > s["messages-fetched"]
		})
		return ask(number, getMessage)
	}

	is("Send Message", ask(1, sendMessage, unhex(t, "00 2C 18 BC 20 16 01 C9")...), "00")
	is("Get Message", fetch(2), "00 00 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
	is("Get Message", ask(3, getMessage), "80")
	if got := receive(t, "the request", asked); got.fromLUN != 2 || got.cmd != 1 {
		t.Errorf("on the bus % X", got.bytes())
	}

	is("tracked", ask(4, sendMessage, unhex(t, "40 2C 18 BC 20 16 01 C9")...),
		"00 20 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
	is("to a channel that is unknown", ask(5, sendMessage, unhex(t, "07 2C 18 BC 20 16 01 C9")...), "CC")

	for number := range byte(20) {
		silence := packet{to: 0x42, netFn: 6, from: 0x20, number: number, fromLUN: 2, cmd: number}
		is("to a silent one", ask(6+number, sendMessage, append([]byte{0}, silence.bytes()...)...), "00")
	}
	is("with a full queue", ask(30, sendMessage, unhex(t, "00 2C 18 BC 20 16 01 C9")...), "C0")
	c := connect(t, bus.Address)
	c.counted(t, "bus5", "bridged-unanswered", 20)
	is("with room again", ask(31, sendMessage, unhex(t, "00 2C 18 BC 20 16 01 C9")...), "00")
	is("Get Message", fetch(32), "00 00 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
	is("flags", ask(33, getFlags), "00 00")

	to.stop()
	c.state(t, "bus6", "Down")
	is("to a bus that is down", ask(34, sendMessage, unhex(t, "00 2C 18 BC 20 16 01 C9")...), "D3")
}

func TestBroadcastGetDeviceIDToAnotherBus(t *testing.T) {
	t.Parallel()
	bus, from, to := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	start(t, bus.Address, bridgedBuses(from, to))
	if got := from.ask(t, app(1, sendMessage, unhex(t, "00 00 2C 18 BC 20 16 01 C9")...)); got.data[0] != 0 {
		t.Fatalf("Send Message: % X", got.data)
	}
	got := to.next(t)
	if len(got) != 8 || got[0] != 0 {
		t.Fatalf("on the bus % X", got)
	}
	deviceID(mustUnpack(t, got[1:]), func(answer packet) { to.send(t, answer.bytes()) })
	c := connect(t, bus.Address)
	c.counted(t, "bus5", "messages-queued", 1)
	want := unhex(t, "00 00 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
	if got := from.ask(t, app(2, getMessage)); !bytes.Equal(got.data, want) {
		t.Errorf("Get Message: % X", got.data)
	}
}

func TestOtherChannelsPassTheCommandsOn(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "none"})))
	newProgram(t, bus.Address, says(7)).mustRegister(t, command(6, sendMessage), command(6, getMessage))
	for lun := range byte(4) {
		for _, cmd := range []byte{sendMessage, getMessage} {
			request := app(lun<<1|cmd&1, cmd, 1, 2, 3)
			request.toLUN = lun
			if got := n.ask(t, request); !bytes.Equal(got.data, []byte{0, 7}) {
				t.Errorf("LUN %d %02Xh: % X", lun, cmd, got.data)
			}
		}
	}
}

func TestCommandsOfTheBridgeAreNotRegistered(t *testing.T) {
	t.Parallel()
	bus, from, to := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	start(t, bus.Address, bridgedBuses(from, to))
	p := newProgram(t, bus.Address, says(7))
	if err := p.register(command(6, sendMessage)); errorName(err) != commonError+"NotAllowed" {
		t.Errorf("on all channels: %v", err)
	}
	if err := p.register(commands{6, all, anyGroup, 1 << 0}); err != nil {
		t.Errorf("on a channel that is not bridged: %v", err)
	}
}

func TestHostSoftwareAnswersWhatComesToLUN2(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "none", "bridge": true, "ipmi-channel": 0})))
	request := packet{to: 0x20, netFn: 0x30, toLUN: 2, from: 0x42, number: 9, cmd: 0x11, data: []byte{1}}
	n.send(t, request.bytes())
	c := connect(t, bus.Address)
	c.counted(t, "bus5", "messages-queued", 1)
	got := n.ask(t, app(1, getMessage))
	if want := append([]byte{0, 0}, request.bytes()[1:]...); !bytes.Equal(got.data, want) {
		t.Fatalf("Get Message: % X, want % X", got.data, want)
	}
	answer := request.answer(0, 0xAB).bytes()
	n.send(t, app(2, sendMessage, append([]byte{0}, answer...)...).bytes())
	for range 2 { // in any order: the answer, and the answer to Send Message
		switch got := n.next(t); string(got) {
		case string(answer), string(app(2, sendMessage).answer(0).bytes()):
		default:
			t.Errorf("on the bus % X", got)
		}
	}
}

func TestPolicyDeniesBeforeAnyHandler(t *testing.T) {
	t.Parallel()
	bus, n, other := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	config := channels(channel(n, object{"handler": "none"}), channel(other, object{"handler": "none", "devIndex": 1}))
	config["policy"] = []object{
		{"channels": []string{"bus5"}, "deny": []string{"chassis", "app cold-reset"}},
		{"allow": []string{"app", "chassis"}},
	}
	start(t, bus.Address, config)
	asked := make(chan execution, 16)
	newProgram(t, bus.Address, func(x execution) (executed, *dbus.Error) {
		asked <- x
		return x.answer(0)
	}).mustRegister(t, command(0x00, all), command(0x06, all), command(0x30, all))
	c := connect(t, bus.Address)
	announced := c.signals(t, "ReceivedMessage")
	for number, test := range []struct {
		from       *node
		netFn, cmd byte
		want       byte
	}{
		{n, 0x00, 0x02, 0xD4},
		{n, 0x06, 0x02, 0xD4},
		{n, 0x30, 0x01, 0xD4},
		{other, 0x30, 0x01, 0xD4},
		{n, 0x06, 0x01, 0x00},
		{other, 0x00, 0x02, 0x00},
		{other, 0x06, 0x02, 0x00},
	} {
		request := packet{to: 0x20, netFn: test.netFn, from: 0x2C, number: byte(number), cmd: test.cmd}
		if code := test.from.code(t, request); code != test.want {
			t.Errorf("%s %02Xh/%02Xh: %02Xh, want %02Xh", test.from.path, test.netFn, test.cmd, code, test.want)
		}
		if test.want == 0 {
			if x := receive(t, "the request", asked); x.netFn != test.netFn || x.cmd != test.cmd {
				t.Errorf("asked %+v", x)
			}
			if s := receive(t, "the signal", announced); s.Body[2] != test.netFn || s.Body[4] != test.cmd {
				t.Errorf("signalled %v", s.Body)
			}
		}
	}
	if got := c.statistics(t, "bus5")["requests-denied"]; got != 3 || len(asked) > 0 || len(announced) > 0 {
		t.Errorf("%d denied; %d more were served, %d announced", got, len(asked), len(announced))
	}
}

// TestSignalThatNobodyAnswers: ipmbd knows a client that answers signals after its first answer.
func TestSignalThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "signal", "handler-timeout-ms": 1000})))
	number := byte(0)
	next := func() packet {
		number++
		return toHost(number&63, 0x11, number)
	}
	// On a machine that is too busy the deadline comes first.
	eventually(t, "C1h, as nobody has ever answered", func() bool { return n.code(t, next()) == 0xC1 })

	c := connect(t, bus.Address)
	received := c.signals(t, "ReceivedMessage")
	request := next()
	n.send(t, request.bytes())
	id := receive(t, "the request", received).Body[0].(uint64)
	if err := end(t, c.call(busPath("bus5"), objectIface+".sendResponse", id, byte(0), []byte{5})).Err; err != nil {
		t.Fatal(err)
	}
	if got := n.answerTo(t, request); !bytes.Equal(got.data, []byte{0, 5}) {
		t.Errorf("answered % X", got.data)
	}
	if got, _ := n.askAtDeadline(t, c, "bus5", next()); got.data[0] != 0xC3 {
		t.Errorf("a client is there and does not answer: % X", got.data)
	}
	c.Close()
	eventually(t, "C1h again", func() bool { return n.code(t, next()) == 0xC1 })
}
