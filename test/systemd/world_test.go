package systemd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"ipmbd/internal/bustest"
)

const (
	service = "ipmbd.service"
	name    = "xyz.openbmc_project.Ipmi.Channel.Ipmb"
	base    = dbus.ObjectPath("/xyz/openbmc_project/Ipmi/Channel/Ipmb")
	bus0    = base + "/bus0"
	// hostIPMI is a name and an interface.
	hostIPMI = "org.openbmc.HostIpmi"

	// The simulated bus, the machine's socket and the configuration.
	nodePath   = "/run/lab/bus0"
	vmPath     = "/run/ipmbd/host0.sock"
	vmSocket   = "ipmbd-vm@host0.socket"
	configPath = "/etc/ipmbd/ipmbd.json"

	// The frame socket.
	framePath   = "/run/ipmbd/ipmb.sock"
	frameSocket = "ipmbd.socket"
)

// config has one bus and the machine.
var config = configOf(channel(0, ""))

// configOf is a configuration of some buses, and the machine.
func configOf(channels ...string) string {
	return `{"channels": [` + strings.Join(channels, ", ") + `],
 "hosts": [{"type": "vm", "name": "host0", "path": "unix:` + vmPath + `"}],
 "bmc": {"folder": "/var/lib/ipmbd"}}
`
}

// channel is a bus of a configuration, busN at /run/lab/busN, with further keys.
func channel(number int, keys string) string {
	return fmt.Sprintf(`{"type": "me", "devIndex": %[1]d, "name": "bus%[1]d", "transport": "seqpacket", "slave-path": "/run/lab/bus%[1]d", "remote-addr": "0x2C"%[2]s}`, number, keys)
}

// The service's status lines while no machine is connected, and bus0 is up or down.
const (
	allUp    = "1 bus, 1 host interface, waiting for a machine: host0"
	bus0Down = "1 bus, 1 host interface, not up: bus0 Down, waiting for a machine: host0"
)

// startBoard is a lab whose configuration has a bus with a controller on it and a
// virtual machine.
func startBoard(t testing.TB, more ...files) *lab {
	t.Helper()
	l := start(t, append([]files{{configPath: config}}, more...)...)
	l.node = l.controller(nodePath)
	return l
}

// send sends a request to the controller with busctl, and returns the output.
func (l *lab) send() string {
	l.t.Helper()
	return l.sendOn(bus0)
}

// sendOn sends to the controller on a bus.
func (l *lab) sendOn(bus dbus.ObjectPath) string {
	l.t.Helper()
	said, _ := l.try("busctl", "call", name, string(bus), name, "sendRequest", "yyyyay", "0x2c", "6", "0", "1", "0")
	return said
}

// answered is busctl's output for the controller's answer.
const answered = "yay 0 0"

// anyones is the path of a socket in the lab for any user: only root may go
// through the lab's folder of /proc.
func (l *lab) anyones(path string) string {
	l.t.Helper()
	socket, err := os.OpenFile(l.path(path), unix.O_PATH, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { socket.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), socket.Fd())
}

const systemBus = "/run/dbus/system_bus_socket"

// dial connects to the message bus as a user of the lab.
func (l *lab) dial(user string) *dbus.Conn {
	l.t.Helper()
	uid, gid := l.ids(user)
	return bustest.DialAs(l.t, "unix:path="+l.anyones(systemBus), uid, gid)
}

// ids are the numbers of a user of the lab and of its group.
func (l *lab) ids(user string) (uid, gid int) {
	l.t.Helper()
	if _, err := fmt.Sscanf(l.run("id", "-u", user)+" "+l.run("id", "-g", user), "%d %d", &uid, &gid); err != nil {
		l.t.Fatal(err)
	}
	return uid, gid
}

// machine is QEMU with a guest, at the far end of a virtual machine's socket.
type machine struct {
	t    testing.TB
	conn net.Conn
}

// boot connects a machine to a socket. It greets as QEMU does; the first message that it gets
// shows that the service is there.
func (l *lab) boot(path string) *machine {
	l.t.Helper()
	return greet(l.t, l.knock(path))
}

// knock connects to a socket, which must be listened on.
func (l *lab) knock(path string) net.Conn {
	l.t.Helper()
	conn, err := net.Dial("unix", l.path(path))
	if err != nil {
		l.t.Fatal(err)
	}
	return conn
}

func greet(t testing.TB, conn net.Conn) *machine {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	m := &machine{t, conn}
	// Version 1, and what it can do.
	m.says(0xFF, 0x01, 0xA1, 0x08, 0x3F, 0xA1)
	m.hears(0xFF, 0x01, 0xA1)
	return m
}

// comesAgain is a machine that has lost its connection: it is never refused, and tries until it
// gets an answer, since the service that answers first may be about to end.
func (l *lab) comesAgain(path string) {
	l.t.Helper()
	eventually(l.t, "a machine that comes again is answered", func() bool {
		conn := l.knock(path)
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
			l.t.Fatal(err)
		}
		_, err := conn.Write([]byte{0xFF, 0x01, 0xA1, 0x08, 0x3F, 0xA1})
		return err == nil && hear(conn, 0xFF, 0x01, 0xA1) == nil
	})
}

// asks asks for the device ID: the built-in BMC answers.
func (m *machine) asks() {
	m.t.Helper()
	m.says(0x01, 0x18, 0x01, 0xE6, 0xA0)
	m.hears(0x01, 0x1C, 0x01, 0x00)
}

func (m *machine) says(b ...byte) {
	m.t.Helper()
	// The peer answers in time.
	if err := m.conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.conn.Write(b); err != nil {
		m.t.Fatal(err)
	}
}

// hears waits until the service has said something.
func (m *machine) hears(want ...byte) {
	m.t.Helper()
	if err := hear(m.conn, want...); err != nil {
		m.t.Fatal(err)
	}
}

func hear(conn net.Conn, want ...byte) error {
	var got []byte
	for b := make([]byte, 1); !bytes.HasSuffix(got, want); {
		if _, err := conn.Read(b); err != nil {
			return fmt.Errorf("heard % X, %w; want % X", got, err, want)
		}
		got = append(got, b[0])
	}
	return nil
}

// hangsUp waits until the service has hung up.
func (m *machine) hangsUp() {
	m.t.Helper()
	for b := make([]byte, 64); ; {
		if _, err := m.conn.Read(b); err != nil {
			if os.IsTimeout(err) {
				m.t.Fatal("the service does not hang up")
			}
			return
		}
	}
}

// dropIn is a file that changes a unit.
func dropIn(unit, text string) files {
	return files{filepath.Join("etc/systemd/system", unit+".d", "story.conf"): text}
}
