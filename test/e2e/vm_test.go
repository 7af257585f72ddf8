package e2e

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ipmbd/internal/bustest"
)

// machine is the far end of a VM's socket: QEMU with a guest.
type machine struct {
	t    testing.TB
	conn net.Conn
	seq  byte
}

// vm is a host in a configuration, and where its machine connects.
func vm(t testing.TB, name string, keys object) (config object, path string) {
	t.Helper()
	path = filepath.Join(socketDir(t), name)
	config = object{"type": "vm", "name": name, "path": "unix:" + path}
	for key, value := range keys {
		config[key] = value
	}
	return config, path
}

// boot connects a machine, which greets as QEMU does, and hears the greeting.
func boot(t testing.TB, network, address, greeting string) *machine {
	t.Helper()
	var conn net.Conn
	eventually(t, "a connection to "+address, func() (ok bool) {
		var err error
		conn, err = net.Dial(network, address)
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, conn: conn}
	m.says("FF 01 A1 08 3F A1")
	m.hears(greeting)
	return m
}

// noAttention is the greeting to a machine for which nothing waits.
const noAttention = "FF 01 A1 00 A1"

func (m *machine) says(text string) {
	m.t.Helper()
	if _, err := m.conn.Write(unhex(m.t, text)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) hears(text string) {
	m.t.Helper()
	want := unhex(m.t, text)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(m.conn, got); err != nil || !bytes.Equal(got, want) {
		m.t.Fatalf("heard % X, %v; want %s", got[:n], err, text)
	}
}

// sends sends a request to LUN 0.
func (m *machine) sends(netFn, cmd byte, data ...byte) {
	m.t.Helper()
	m.seq++
	b := append([]byte{m.seq, netFn << 2, cmd}, data...)
	if _, err := m.conn.Write(escape(b)); err != nil {
		m.t.Fatal(err)
	}
}

// hearsAnswer checks that the answer to the last request comes next: completion
// code and data.
func (m *machine) hearsAnswer(netFn, cmd byte, want string) {
	m.t.Helper()
	b := escape(append([]byte{m.seq, (netFn | 1) << 2, cmd}, unhex(m.t, want)...))
	got := make([]byte, len(b))
	if n, err := io.ReadFull(m.conn, got); err != nil || !bytes.Equal(got, b) {
		m.t.Fatalf("%02Xh/%02Xh: heard % X, %v; want % X", netFn, cmd, got[:n], err, b)
	}
}

// hearsAnswerAnd checks that the answer to the last request and something else come
// next, in any order.
func (m *machine) hearsAnswerAnd(netFn, cmd byte, want, other string) {
	m.t.Helper()
	answer := escape(append([]byte{m.seq, (netFn | 1) << 2, cmd}, unhex(m.t, want)...))
	also := unhex(m.t, other)
	got := make([]byte, len(answer)+len(also))
	n, err := io.ReadFull(m.conn, got)
	if err != nil || !bytes.Equal(got, slices.Concat(answer, also)) && !bytes.Equal(got, slices.Concat(also, answer)) {
		m.t.Fatalf("heard % X, %v; want % X and %s", got[:n], err, answer, other)
	}
}

// asks is sends and hearsAnswer.
func (m *machine) asks(netFn, cmd byte, data, want string) {
	m.t.Helper()
	m.sends(netFn, cmd, unhex(m.t, data)...)
	m.hearsAnswer(netFn, cmd, want)
}

// answer sends a request and returns the next answer: completion code and data.
func (m *machine) answer(netFn, cmd byte, data ...byte) []byte {
	m.t.Helper()
	m.sends(netFn, cmd, data...)
	_, answer := m.response()
	return answer
}

// nextAnswer reads the next message of the VM protocol, without escapes. It passes over
// commands.
func nextAnswer(conn net.Conn) (unit []byte, err error) {
	for c, escaped := []byte{0}, false; ; {
		if _, err := io.ReadFull(conn, c); err != nil {
			return unit, err
		}
		switch {
		case c[0] == 0xA0:
			return unit, nil
		case c[0] == 0xA1: // a command
			unit = nil
		case c[0] == 0xAA:
			escaped = true
		case escaped:
			unit, escaped = append(unit, c[0]&^0x10), false
		default:
			unit = append(unit, c[0])
		}
	}
}

// escape makes a message of the VM protocol.
func escape(b []byte) []byte {
	var sum byte
	for _, c := range b {
		sum += c
	}
	var out []byte
	for _, c := range append(b, -sum) {
		if c == 0xA0 || c == 0xA1 || c == 0xAA {
			out = append(out, 0xAA, c|0x10)
			continue
		}
		out = append(out, c)
	}
	return append(out, 0xA0)
}

// hostState waits until a host interface is in a state.
func (c client) hostState(t testing.TB, name, state string) {
	t.Helper()
	eventually(t, name+" "+state, func() bool {
		value, err := c.Object(service, busPath(name)).GetProperty(objectIface + ".Host.State")
		return err == nil && value.Value() == state
	})
}

// hosts is a configuration of channels and hosts.
func hosts(list []object, buses ...object) object {
	config := channels(buses...)
	if len(buses) == 0 {
		config["channels"] = []object{}
	}
	config["hosts"] = list
	return config
}

func TestAMessageFromAMachineToASatelliteAndBack(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, deviceID)
	config, path := vm(t, "host0", nil)
	start(t, bus.Address, hosts([]object{config}, channel(n, object{"handler": "none", "ipmi-channel": 0})))
	m := boot(t, "unix", path, noAttention)

	m.sends(6, setEnables, 0x0F)
	m.hears("05 A1 00 A1") // interrupts on; nothing waits
	m.hearsAnswer(6, setEnables, "00")
	m.sends(6, sendMessage, unhex(t, "00 2C 18 BC 20 16 01 C9")...)
	m.hearsAnswerAnd(6, sendMessage, "00", "02 A1") // attention, with an interrupt
	m.asks(6, getFlags, "", "00 01")
	m.sends(6, getMessage)
	m.hears("00 A1") // before the answer: no endless Get Message Flags
	m.hearsAnswer(6, getMessage, "00 00 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
	m.asks(6, getFlags, "", "00 00")
	m.asks(6, getMessage, "", "80")
}

// Events, messages and settings end with the machine, also the events that come while there is
// none. The next machine enables its own.
func TestMachineFindsNothingOfTheOneBefore(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	config, path := vm(t, "host0", nil)
	start(t, bus.Address, hosts([]object{config}, channel(n, object{"handler": "none", "ipmi-channel": 0})))
	c := connect(t, bus.Address)
	m := boot(t, "unix", path, noAttention)
	c.hostState(t, "host0", "Up")
	m.sends(6, setEnables, 0x0F)
	m.hears("05 A1 00 A1")
	m.hearsAnswer(6, setEnables, "00")
	event := func(sequence byte) {
		t.Helper()
		if code := n.code(t, fan(sequence, 0x30)); code != 0 {
			t.Fatalf("%02Xh", code)
		}
	}
	event(0)
	m.hears("02 A1") // attention, with an interrupt
	for sequence := byte(1); sequence < 16; sequence++ {
		event(sequence)
	}
	m.says("02 18 01") // and dies in the middle of a message
	m.conn.Close()
	c.hostState(t, "host0", "Waiting")
	event(16)
	m = boot(t, "unix", path, noAttention)
	m.asks(6, 0x2F, "", "00 08")
	m.asks(6, getFlags, "", "00 00")
	m.asks(6, 0x35, "", "80")
}

// A machine that was killed, or reset itself, leaves no watchdog that would reset the next
// software.
func TestWatchdogOfWhatRunsNoMore(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	config, path := vm(t, "host0", nil)
	start(t, bus.Address, hosts([]object{config}))
	c := connect(t, bus.Address)
	m := boot(t, "unix", path, noAttention)
	runs := func() {
		t.Helper()
		m.asks(6, 0x24, "04 01 00 00 FFFF", "00")
		m.asks(6, 0x22, "", "00")
		if state := m.answer(6, 0x25); state[1] != 0x44 {
			t.Fatalf("the watchdog does not run: % X", state)
		}
	}
	const stopped = "00 04 01 00 00 FFFF FFFF"

	runs()
	m.says("04 A1")
	m.asks(6, 0x25, "", stopped)

	runs()
	m.conn.Close()
	c.hostState(t, "host0", "Waiting")
	m = boot(t, "unix", path, noAttention)
	m.asks(6, 0x25, "", stopped)
}

func TestEachMachineIsAnInterfaceOfItsOwn(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, deviceID)
	first, firstPath := vm(t, "host0", nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	second, _ := vm(t, "host1", object{"path": "tcp:" + address, "devIndex": 1, "ipmi-channel": 15})
	d := start(t, bus.Address, hosts([]object{first, second}, channel(n, object{"handler": "none", "ipmi-channel": 0})))
	const warning = "has no authentication"
	d.logged(t, warning)
	a, b := boot(t, "unix", firstPath, noAttention), boot(t, "tcp", address, noAttention)
	a.asks(6, setEnables, "08", "00")
	b.sends(6, sendMessage, unhex(t, "00 2C 18 BC 20 16 01 C9")...)
	b.hearsAnswerAnd(6, sendMessage, "00", "01 A1")
	b.asks(6, getFlags, "", "00 01")
	a.asks(6, getFlags, "", "00 00")
	a.asks(6, getMessage, "", "80")
	if n := strings.Count(d.stderr.text(), warning); n != 1 {
		t.Errorf("%d warnings about TCP, want 1", n)
	}
}

func TestGarbageFromAMachine(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	config, path := vm(t, "host0", nil)
	start(t, bus.Address, hosts([]object{config}))
	m := boot(t, "unix", path, noAttention)
	m.says("00 00 A0 AA AA AA A1 77 A1 01 18 01 E7 A0 01 1C 01 E2 A0")
	m.says(strings.Repeat("55 ", 10_000) + "A0")
	m.asks(6, 0x01, "", "00 20 01 00 00 02 D7 00 00 00 00 00")
	m.asks(6, 0x01, "00", "C7")
}

// TestSocketOfSystemd: the daemon serves a socket that it has not made.
func TestSocketOfSystemd(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	config, path := vm(t, "host0", nil)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	defer socket.Close()
	if err := chmodSocket(path); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	// LISTEN_PID must be the daemon's own.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh",
		program, "--bus", bus.Address, "--config", configFile(t, hosts([]object{config})))
	cmd.ExtraFiles = []*os.File{socket}
	d := launchCommand(t, cmd)
	d.ready(t)
	boot(t, "unix", path, noAttention).asks(6, 0x31, "", "00 00")
	c := connect(t, bus.Address)
	c.removed(t, "RemoveHost", "host0")
	early, err := net.Dial("unix", path) // and is disconnected
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	if err := early.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := early.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("without a host: %v", err)
	}
	c.added(t, "AddHost", config)
	boot(t, "unix", path, noAttention).asks(6, 0x31, "", "00 00")
	d.stopped(t)
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("systemd's socket is gone or another one: %v", err)
	}
}
