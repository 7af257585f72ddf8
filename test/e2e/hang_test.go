package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
)

// hangs is a daemon with a bus, a machine and two sensors, one of which is well, and a part outside
// that hangs.
type hangs struct {
	bus     *bustest.Bus
	node    *node
	all     object // the configuration
	hung    object // the sensor, or the FRU device, whose source hangs
	folder  string
	tracing []string // arguments of strace, under which the daemon runs
}

// silentOwner owns a name, reads all messages and answers none.
func (h *hangs) silentOwner(t *testing.T, names ...string) {
	t.Helper()
	c := connect(t, h.bus.Address)
	for _, name := range names {
		c.owns(t, name)
	}
	messages := make(chan *dbus.Message)
	c.Eavesdrop(messages)
	go func() {
		for range messages {
		}
	}()
}

// fifo makes a FIFO. Someone keeps it open for writing, if held, and writes nothing.
func (h *hangs) fifo(t *testing.T, held bool) string {
	t.Helper()
	path := filepath.Join(h.folder, "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if held {
		writer, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { writer.Close() })
	}
	return path
}

// inKernel has a system call of the daemon, with a path if that is not empty, stay in the kernel.
func (h *hangs) inKernel(call, path string) {
	h.tracing = []string{"-e", "trace=" + call, "-e", "inject=" + call + ":delay_enter=3600s"}
	if path != "" {
		h.tracing = append(h.tracing, "-P", path)
	}
}

const (
	unavailable  = "sensor is unavailable"
	diskIsLost   = "in memory only"
	logIsSilent  = "the system's log does not answer"
	fruIsUnknown = "FRU 0"
)

// outside are the parts outside of the daemon that may hang. docs/architecture.md has a table of
// them.
var outside = []struct {
	name    string
	prepare func(t *testing.T, h *hangs)
	hang    func(t *testing.T, h *hangs, m *machine) // while the daemon runs; nil if it hangs before
	logged  string                                   // once
}{
	{"a FIFO in place of hwmon", func(t *testing.T, h *hangs) { h.hung["file"] = h.fifo(t, false) }, nil, unavailable},
	{"a FIFO whose writer is silent", func(t *testing.T, h *hangs) { h.hung["file"] = h.fifo(t, true) }, nil, unavailable},
	{"a sensor's file without an end", func(t *testing.T, h *hangs) { h.hung["file"] = "/dev/zero" }, nil, unavailable},
	{"a sensor's driver that hangs", func(t *testing.T, h *hangs) {
		path := filepath.Join(h.folder, "temp1_input")
		h.hung["file"] = path
		h.inKernel("openat", path)
	}, nil, unavailable},
	{"the service of a sensor", func(t *testing.T, h *hangs) {
		h.silentOwner(t, "xyz.openbmc_project.FanSensor")
		h.hung["dbus"] = object{"service": "xyz.openbmc_project.FanSensor", "path": "/a", "interface": "a.b", "property": "Value"}
	}, nil, unavailable},
	{"the event log of another service", func(t *testing.T, h *hangs) { h.silentOwner(t, "xyz.openbmc_project.Logging.IPMI") }, nil, logIsSilent},
	{"the state service", func(t *testing.T, h *hangs) {
		h.silentOwner(t, stateChassis, stateChassis+"0", stateHost, stateHost+"0")
		h.all["channels"].([]object)[0]["handler"] = "bmc"
	}, nil, ""},
	{"a disk that hangs at the start", func(t *testing.T, h *hangs) {
		h.all["bmc"].(object)["folder"] = filepath.Join(h.folder, "bmc")
		h.inKernel("fdatasync", "")
	}, nil, diskIsLost},
	{"a disk whose folder cannot be entered", func(t *testing.T, h *hangs) {
		path := filepath.Join(h.folder, "bmc")
		h.all["bmc"].(object)["folder"] = path
		h.inKernel("openat", path)
	}, nil, diskIsLost},
	{"the file of a FRU device", func(t *testing.T, h *hangs) {
		h.all["bmc"].(object)["frus"] = []object{{"name": "Board", "file": h.fifo(t, true)}}
	}, nil, fruIsUnknown},
	{"a program with a handler", nil, func(t *testing.T, h *hangs, _ *machine) {
		c := connect(t, h.bus.Address)
		if err := end(t, c.call(basePath, router+".RegisterHandler", dbus.ObjectPath("/a"), []commands{command(0x32, 0xFF)})).Err; err != nil {
			t.Fatal(err)
		}
		c.Eavesdrop(make(chan *dbus.Message, maxInbox)) // Nobody reads it.
		h.node.send(t, packet{to: 0x20, netFn: 0x32, from: 0x2C, number: 1, cmd: 1}.bytes())
	}, ""},
	{"the configuration at a reload", nil, func(t *testing.T, h *hangs, _ *machine) {
		path := filepath.Join(h.folder, "ipmbd.json")
		if err := os.Rename(h.fifo(t, true), path); err != nil {
			t.Fatal(err)
		}
		if err := end(t, connect(t, h.bus.Address).manager("Reload")).Err; err == nil {
			t.Error("a configuration that is a FIFO is taken")
		}
	}, ""},
	{"a machine that does not read", nil, func(t *testing.T, h *hangs, _ *machine) {
		config, path := vm(t, "host1", object{"devIndex": 1, "ipmi-channel": 10})
		connect(t, h.bus.Address).added(t, "AddHost", config)
		deaf := boot(t, "unix", path, noAttention)
		_ = deaf.conn.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(1 << 20)
		request := append([]byte{1, 6 << 2, 1}, 0)
		request[3] = -(request[0] + request[1] + request[2])
		if _, err := deaf.conn.Write(bytes.Repeat(append(request, 0xA0), 10_000)); err != nil {
			t.Log(err) // It has been disconnected.
		}
	}, ""},
	{"a node that does not read", nil, func(t *testing.T, h *hangs, _ *machine) {
		other := listen(t, "ipmb-6")
		c := connect(t, h.bus.Address)
		c.added(t, "AddBus", channel(other, object{"devIndex": 1, "name": "other"}))
		eventually(t, "a connection", func() bool { return other.connections() == 1 })
		other.pause()
		t.Cleanup(other.resume)
		for i := range 128 {
			c.send("other", absentResponder(i), 0x30, 0, 1)
		}
	}, ""},
}

// TestOneThingThatHangsTakesNothingElse: neither a bus, nor a machine and its other sensors, nor
// the stop. A sensor that hangs is unavailable, and the log says once what hangs.
func TestOneThingThatHangsTakesNothingElse(t *testing.T) {
	t.Parallel()
	for _, test := range outside {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := &hangs{bus: bustest.Start(t), node: listen(t, "ipmb-5"), folder: socketDir(t)}
			h.node.respond(0x2C, echo)
			config, path := vm(t, "host0", nil)
			fan := filepath.Join(h.folder, "fan")
			if err := os.WriteFile(fan, []byte("4000"), 0o600); err != nil {
				t.Fatal(err)
			}
			h.hung = object{"name": "Hung", "number": 1, "type": 1, "max": 255}
			h.all = hosts([]object{config}, channel(h.node, object{"handler": "none"}))
			h.all["bmc"] = object{"sensors": []object{h.hung,
				{"name": "Fan", "number": 2, "type": 4, "max": 25500, "lower-critical": 500, "file": fan}}}
			if test.prepare != nil {
				test.prepare(t, h)
			}
			file := filepath.Join(h.folder, "ipmbd.json")
			if err := os.Rename(configFile(t, h.all), file); err != nil {
				t.Fatal(err)
			}
			args := []string{program, "--dbus", h.bus.Address, "--config", file}
			if h.tracing != nil {
				if _, err := exec.LookPath("strace"); err != nil {
					t.Skip("not run: needs strace")
				}
				args = append(append([]string{"strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", os.DevNull}, h.tracing...), args...)
			}
			d := launchCommand(t, exec.Command(args[0], args[1:]...))
			d.ready(t)
			if h.tracing != nil {
				tracer := d.tracer(t)
				t.Cleanup(func() { _ = syscall.Kill(tracer, syscall.SIGKILL) })
			}
			c := connect(t, h.bus.Address)
			events := c.subscribe(t)
			m := boot(t, "unix", path, noAttention)
			eventually(t, "the other sensor is read", func() bool { return bytes.Equal(m.answer(4, 0x2D, 2), unhex(t, "00 28 C0 C0")) })
			if test.hang != nil {
				test.hang(t, h, m)
			}
			if test.logged != "" && test.logged != logIsSilent {
				d.logged(t, test.logged)
			}
			if test.logged == unavailable {
				for range 10 {
					if got := m.answer(4, 0x2D, 1); !bytes.HasPrefix(got, []byte{0, 0, 0xE0}) {
						t.Errorf("the sensor reads % X", got)
					}
				}
			}
			for i, value := range []string{"100", "4000", "100"} { // Events go on.
				if err := os.WriteFile(fan, []byte(value), 0o600); err != nil {
					t.Fatal(err)
				}
				e := receive(t, "an event of the other sensor", events)
				if got := e.Body[3].([]byte); got[2] != 2 {
					t.Errorf("event %d: % X", i, got)
				}
			}
			if id := m.answer(6, 0x01); id[0] != 0 {
				t.Errorf("Get Device ID: % X", id)
			}
			if code, data := answered(t, c.send("bus5", 0x2C, 0x30, 0, 1, 7)); code != 0 || data[0] != 7 {
				t.Errorf("the bus: %02Xh % X", code, data)
			}
			if test.logged != "" {
				d.logged(t, test.logged)
				if n := strings.Count(d.stderr.text(), test.logged); n != 1 {
					t.Errorf("%d lines of the log say %q", n, test.logged)
				}
			}
			if h.tracing != nil {
				d.signal(syscall.SIGTERM)
				tracer := d.tracer(t)
				eventually(t, "the end of all threads except the one that hangs, or the first one", func() bool {
					return d.field(t, "State:")[0] == 'Z' || d.field(t, "Threads:") == "1"
				})
				_ = syscall.Kill(tracer, syscall.SIGKILL) // It would keep what is left until the call returns.
			}
			d.stopped(t)
		})
	}
}

// field is a field of the daemon's proc_pid_status(5).
func (d *daemon) field(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name)
	return strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
}

// tracer is the process that traces the daemon.
func (d *daemon) tracer(t testing.TB) int {
	t.Helper()
	pid, err := strconv.Atoi(d.field(t, "TracerPid:"))
	if err != nil || pid == 0 {
		t.Fatalf("tracer %d, %v", pid, err)
	}
	return pid
}
