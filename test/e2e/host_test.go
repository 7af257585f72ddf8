package e2e

import (
	"bytes"
	"strings"
	"testing"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// toHost is a request of a management engine for the host daemon.
func toHost(number, cmd byte, data ...byte) packet {
	return packet{to: 0x20, netFn: hostd.NetFn, from: 0x2C, number: number, cmd: cmd, data: data}
}

// delayed is a request that the host daemon answers with data after some
// milliseconds.
func delayed(number byte, ms int, data ...byte) packet {
	return toHost(number, hostd.CommandDelay, append([]byte{byte(ms), byte(ms >> 8)}, data...)...)
}

// code asks for the completion code of an answer.
func (n *node) code(t testing.TB, request packet) byte {
	t.Helper()
	return n.ask(t, request).data[0]
}

func TestHostDaemonThatComesAndGoes(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, nil)))

	if code := n.code(t, toHost(1, hostd.CommandEcho)); code != 0xCE {
		t.Errorf("absent: %02Xh", code)
	}
	host := hostd.Start(t, bus.Address, hostd.Print)
	if code := n.code(t, toHost(1, hostd.CommandEcho)); code != 0 {
		t.Errorf("the same request, now that it is there: %02Xh", code)
	}
	host.Next(t)

	waiting := toHost(2, hostd.CommandSilence)
	n.send(t, waiting.bytes())
	host.Next(t)
	host.Kill()
	if code := n.answerTo(t, waiting).data[0]; code != 0xCE {
		t.Errorf("killed in mid-request: %02Xh", code)
	}
	if code := n.code(t, toHost(3, hostd.CommandEcho)); code != 0xCE {
		t.Errorf("killed: %02Xh", code)
	}
	hostd.Start(t, bus.Address)
	if code := n.code(t, toHost(4, hostd.CommandEcho)); code != 0 {
		t.Errorf("back again: %02Xh", code)
	}
}

func TestHostDaemonThatEndsByItself(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	hostd.Start(t, bus.Address)
	start(t, bus.Address, channels(channel(n, nil)))
	if code := n.code(t, toHost(1, hostd.CommandExit)); code != 0xCE {
		t.Errorf("%02Xh", code)
	}
}

func TestHostDaemonThatMisbehaves(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	hostd.Start(t, bus.Address)
	start(t, bus.Address, channels(channel(n, nil)))
	for number, test := range []struct {
		name    string
		request packet
		want    byte
	}{
		{"D-Bus error", toHost(0, hostd.CommandDBusError), 0xFF},
		{"even netFn", toHost(1, hostd.CommandEvenNetFn), 0xFF},
		{"more than a frame holds", toHost(2, hostd.CommandLong, 300&0xFF, 300>>8), 0xCE},
		{"a completion code of its own", toHost(3, hostd.CommandCode, 0xD4), 0xD4},
	} {
		if code := n.code(t, test.request); code != test.want {
			t.Errorf("%d %s: %02Xh, want %02Xh", number, test.name, code, test.want)
		}
	}
	long := toHost(9, hostd.CommandLong, 250, 0)
	if got := n.ask(t, long); len(got.data) != 251 || got.data[0] != 0 || got.data[250] != 249 {
		t.Errorf("250 bytes: % X", got.data)
	}
}

func TestHostDaemonWithAWrongSignature(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	hostd.Start(t, bus.Address, hostd.WrongSignature)
	start(t, bus.Address, channels(channel(n, nil)))
	if code := n.code(t, toHost(1, hostd.CommandEcho)); code != 0xFF {
		t.Errorf("%02Xh", code)
	}
}

// TestLateAnswerOfTheHostReachesNobody: the first request is answered C3h, and
// the host daemon answers it while the second, with the same number and
// command, waits for its own answer. The daemon's delays make that order sure.
func TestLateAnswerOfTheHostReachesNobody(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(n, object{"handler-timeout-ms": 2000})))

	first, second := delayed(5, 2600, 0xAA), delayed(5, 1000, 0xBB)
	if got := n.ask(t, first); !bytes.Equal(got.data, []byte{0xC3}) {
		t.Fatalf("too slow: % X", got.data)
	}
	if got := n.ask(t, second); !bytes.Equal(got.data, []byte{0, 0xBB}) {
		t.Errorf("the next request with the number: % X", got.data)
	}
	// Nothing came after that either, and the host was asked three times.
	if got := n.ask(t, delayed(5, 0, 0xCC)); !bytes.Equal(got.data, []byte{0, 0xCC}) {
		t.Errorf("the one after that: % X", got.data)
	}
	for _, want := range []byte{0xAA, 0xBB, 0xCC} {
		if got := host.Next(t); got.Data[2] != want {
			t.Errorf("the host was asked % X, want %02X", got.Data, want)
		}
	}
}

func TestHostDaemonRefusesOtherUsers(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	hostd.Start(t, bus.Address)

	execute := []string{"call", "xyz.openbmc_project.Ipmi.Host", "/xyz/openbmc_project/Ipmi",
		"xyz.openbmc_project.Ipmi.Server", "execute", "yyyaya{sv}", "6", "0", "1", "0", "0"}
	out, err := busctlAsNobody(t, bus.Address, execute...)
	if err == nil || !strings.Contains(out, "ccess denied") {
		t.Errorf("nobody: %s %v", out, err)
	}
	out, err = busctl(t, bus.Address, execute...)
	if want := "(yyyyay) 7 0 1 0 11 80 1 4 0 2 33 87 1 0 11 11"; out != want || err != nil {
		t.Errorf("root: %s %v", out, err)
	}

	// So ipmbd must be root, as its unit makes it, and otherwise says what is wrong.
	config := channels(channel(n, nil))
	path := configFile(t, config)
	if err := chmodSocket(n.path); err != nil {
		t.Fatal(err)
	}
	d := launchAs(t, nobody, "--bus", bus.Address, "--config", path)
	d.ready(t)
	request := packet{to: 0x20, netFn: 6, from: 0x2C, number: 1, cmd: 1}
	if code := n.code(t, request); code != 0xFF {
		t.Errorf("ipmbd as nobody: %02Xh", code)
	}
	d.logged(t, "AccessDenied")
	d.stopped(t)
	start(t, bus.Address, config)
	if code := n.code(t, request); code != 0 {
		t.Errorf("ipmbd as root: %02Xh", code)
	}
}
