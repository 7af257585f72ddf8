package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"ipmbd/internal/bustest"
	"ipmbd/units"
)

const (
	hostIPMI     = "org.openbmc.HostIpmi"
	hostIPMIPath = dbus.ObjectPath("/org/openbmc/HostIpmi/1")
)

// btHost is a host behind a terminal, which stands for bt-bmc's device: bytes written at one end
// are read at the other, and there is no SMS_ATN.
type btHost struct {
	t    testing.TB
	line *os.File
	seq  byte
}

// bt is a host in a configuration, and the host.
func bt(t testing.TB, keys object) (object, *btHost) {
	t.Helper()
	line, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	var number int
	control(t, line, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	path := fmt.Sprintf("/dev/pts/%d", number)
	// Open it stays: without it the line would end when the daemon does.
	device, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	control(t, device, func(fd int) error {
		raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD}
		raw.Cc[unix.VMIN] = 1
		return unix.IoctlSetTermios(fd, unix.TCSETS, &raw)
	})
	config := object{"type": "bt", "name": "ipmi_bt_host", "path": path}
	for key, value := range keys {
		config[key] = value
	}
	return config, &btHost{t: t, line: line}
}

func control(t testing.TB, file *os.File, do func(fd int) error) {
	t.Helper()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// sends sends a request to LUN 0.
func (h *btHost) sends(netFn, cmd byte, data ...byte) {
	h.t.Helper()
	h.seq++
	if _, err := h.line.Write(append([]byte{byte(3 + len(data)), netFn << 2, h.seq, cmd}, data...)); err != nil {
		h.t.Fatal(err)
	}
}

// hears checks that the answer to the last request comes: completion code and
// data.
func (h *btHost) hears(netFn, cmd byte, want string) {
	h.t.Helper()
	code := unhex(h.t, want)
	whole := append([]byte{byte(3 + len(code)), (netFn | 1) << 2, h.seq, cmd}, code...)
	if err := h.line.SetReadDeadline(time.Now().Add(timeLimit)); err != nil {
		h.t.Fatal(err)
	}
	got := make([]byte, 256)
	n, err := h.line.Read(got)
	if err != nil || !bytes.Equal(got[:n], whole) {
		h.t.Fatalf("heard % X, %v; want % X", got[:n], err, whole)
	}
}

// hostRequests is the requests that a client hears.
func (c client) hostRequests(t testing.TB) <-chan *dbus.Signal {
	t.Helper()
	if err := c.AddMatchSignal(dbus.WithMatchSender(hostIPMI), dbus.WithMatchMember("ReceivedMessage")); err != nil {
		t.Fatal(err)
	}
	heard := make(chan *dbus.Signal, maxInbox)
	c.Signal(heard)
	return heard
}

// hostIPMI calls a method of org.openbmc.HostIpmi.
func (c client) hostIPMI(t testing.TB, member string, args ...any) (result int64) {
	t.Helper()
	if err := c.Object(hostIPMI, hostIPMIPath).Call(hostIPMI+"."+member, 0, args...).Store(&result); err != nil {
		t.Fatal(err)
	}
	return result
}

func TestHostInTheWayOfBtbridge(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	config, h := bt(t, object{"legacy-api": true})
	start(t, bus.Address, hosts([]object{config}))
	c := connect(t, bus.Address)
	heard := c.hostRequests(t)

	h.sends(6, 1, 0xAB)
	first := receive(t, "a request", heard).Body
	if first[1] != byte(6) || first[2] != byte(0) || first[3] != byte(1) || !bytes.Equal(first[4].([]byte), []byte{0xAB}) {
		t.Errorf("the client hears %v", first)
	}
	h.hears(6, 1, "C3") // before the host's driver gives up
	h.sends(6, 1)
	second := receive(t, "a request", heard).Body
	if got := c.hostIPMI(t, "sendMessage", first[0], byte(7), byte(0), byte(1), byte(0), []byte{1}); got != -int64(syscall.ENOENT) {
		t.Errorf("the late answer: %d", got)
	}
	if got := c.hostIPMI(t, "sendMessage", second[0], byte(7), byte(0), byte(1), byte(0xC0), []byte{2, 3}); got != 0 {
		t.Errorf("the answer: %d", got)
	}
	h.hears(6, 1, "C0 02 03")
	if got := c.hostIPMI(t, "setAttention"); got != -int64(syscall.EIO) {
		t.Errorf("SMS_ATN of a terminal: %d", got)
	}
	// The name by which the host daemon knows the channel is there as well, and a
	// connection of its own.
	if own := c.owner(t, "xyz.openbmc_project.Ipmi.Channel.ipmi_bt_host"); own == "" || own == c.owner(t, hostIPMI) {
		t.Errorf("owner %q", own)
	}
}

// Another program may have the name, with btbridge's leave to be replaced.
func TestBtbridgeIsNotPushedAway(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	c := connect(t, bus.Address)
	if _, err := c.RequestName(hostIPMI, dbus.NameFlagAllowReplacement); err != nil {
		t.Fatal(err)
	}
	config, _ := bt(t, object{"legacy-api": true})
	d := launch(t, "--bus", bus.Address, "--config", configFile(t, hosts([]object{config})))
	if code := d.exit(t); code == 0 || !strings.Contains(d.stderr.text(), hostIPMI) {
		t.Errorf("exit status %d: %s", code, d.stderr.text())
	}
}

// With the policy file that is installed.
func TestHostInTheWayOfBtbridgeOnASystemBus(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	bus := bustest.StartConfig(t, bustest.Config{System: true, Policies: []string{writeFile(t, "ipmbd.conf", string(units.Policy))}})
	config, h := bt(t, object{"legacy-api": true})
	start(t, bus.Address, hosts([]object{config}))
	c := connect(t, bus.Address)
	heard := c.hostRequests(t)
	h.sends(6, 1)
	request := receive(t, "a request", heard).Body
	answer := []string{"call", hostIPMI, string(hostIPMIPath), hostIPMI, "sendMessage", "yyyyyay", fmt.Sprint(request[0]), "7", "0", "1", "0", "0"}
	if out, err := busctlAsNobody(t, bus.Address, answer...); err == nil || !strings.Contains(out, "ccess denied") && !strings.Contains(out, "rejected") {
		t.Errorf("nobody: %s %v", out, err)
	}
	if out, err := busctl(t, bus.Address, answer...); err != nil || out != "x 0" {
		t.Errorf("root: %s %v", out, err)
	}
	h.hears(6, 1, "00")
}

func TestWatchdogOfAHostIsTold(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	config, h := bt(t, object{"handler": "bmc"})
	start(t, bus.Address, hosts([]object{config}))
	c := connect(t, bus.Address)
	expired := c.signals(t, "WatchdogExpired")
	// SMS/OS, hard reset, messaging interrupt 0 s before the end after 100 ms.
	h.sends(6, 0x24, 4, 0x31, 0, 0, 1, 0)
	h.hears(6, 0x24, "00")
	h.sends(6, 0x22)
	h.hears(6, 0x22, "00")
	for _, preTimeout := range []bool{true, false} {
		got := receive(t, "WatchdogExpired", expired)
		if fmt.Sprint(got.Body) != fmt.Sprint([]any{preTimeout, 4, 1, 3}) || got.Path != busPath("ipmi_bt_host") ||
			got.Name != objectIface+".Host.WatchdogExpired" {
			t.Errorf("%s at %s: %v", got.Name, got.Path, got.Body)
		}
	}
}
