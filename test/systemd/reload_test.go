package systemd

import (
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"
)

// callsInARow are calls on a bus, one after the other, all of which must be answered
// with their own data.
type callsInARow struct {
	t      testing.TB
	bus    dbus.BusObject
	made   atomic.Uint32
	ending atomic.Bool
	ended  chan struct{}
}

func (l *lab) callInARow(path dbus.ObjectPath) *callsInARow {
	l.t.Helper()
	c := &callsInARow{t: l.t, bus: l.dial("sender").Object(name, path), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		for !c.ending.Load() {
			c.call()
		}
	}()
	l.t.Cleanup(c.end)
	return c
}

func (c *callsInARow) call() {
	if err := call(c.bus, binary.BigEndian.AppendUint32(nil, c.made.Load())); err != nil {
		c.t.Errorf("call %d: %v", c.made.Load(), err)
		c.ending.Store(true)
	}
	c.made.Add(1)
}

// call calls the controller, whose own answer must come.
func call(bus dbus.BusObject, sent []byte) error {
	var code byte
	var data []byte
	err := bus.Call(name+".sendRequest", 0, byte(0), byte(0x30), byte(0), byte(1), sent).Store(&code, &data)
	if err == nil && (code != 0 || string(data) != string(sent)) {
		return errForeign
	}
	return err
}

// goesOn waits for a call that has begun from now on.
func (c *callsInARow) goesOn() {
	c.t.Helper()
	now := c.made.Load()
	eventually(c.t, "calls go on", func() bool { return c.ending.Load() || c.made.Load() > now+1 })
}

func (c *callsInARow) end() {
	c.ending.Store(true)
	<-c.ended
}

func TestReload(t *testing.T) {
	l := start(t, files{configPath: configOf(channel(0, ""), channel(1, ""), channel(2, ""))})
	for _, number := range []string{"0", "1", "2", "3"} {
		l.controller("/run/lab/bus" + number)
	}
	l.run("systemctl", "start", vmSocket, service)
	l.becomes(service, "StatusText", "3 buses, 1 host interface, waiting for a machine: host0")
	pid := l.show(service, "MainPID")
	m := l.boot(vmPath)
	calls := l.callInARow(bus0)
	calls.goesOn()

	// Bus 1 goes, bus 2 changes, bus 3 comes.
	l.write(configPath, configOf(channel(0, ""), channel(2, `, "bmc-addr": "0x30"`), channel(3, "")))
	took(t, "systemctl reload: a bus added, one removed, one changed", func() { l.run("systemctl", "reload", service) })
	calls.goesOn()
	m.asks()
	l.becomes(service, "StatusText", "3 buses, 1 host interface up")
	for bus, want := range map[dbus.ObjectPath]string{"bus1": "Call failed: ", "bus2": answered, "bus3": answered} {
		if said := l.sendOn(base + "/" + bus); !strings.HasPrefix(said, want) {
			t.Errorf("%s: %s", bus, said)
		}
	}
	if said := l.run("busctl", "get-property", name, string(base+"/bus2"), name, "OwnAddress"); said != "y 48" {
		t.Errorf("the address of bus2: %s", said)
	}

	l.write(configPath, configOf(channel(3, `, "remote-adr": 1`)))
	if said, status := l.try("systemctl", "reload", service); status == 0 {
		t.Errorf("a wrong file is loaded: %s", said)
	}
	status, _ := l.try("systemctl", "status", service)
	journal := l.run("journalctl", "--no-pager", "-u", service)
	for _, want := range []string{configPath, "remote-adr"} {
		for what, text := range map[string]string{"status": status, "journal": journal} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in the %s:\n%s", want, what, text)
			}
		}
	}
	calls.goesOn()
	m.asks()
	if said := l.sendOn(base + "/bus3"); said != answered {
		t.Errorf("after a wrong file: %s", said)
	}
	calls.end()
	t.Logf("%d calls on the bus that has not changed, all answered", calls.made.Load())
	for property, want := range map[string]string{"MainPID": pid, "ActiveState": "active", "Result": "success", "NRestarts": "0"} {
		if got := l.show(service, property); got != want {
			t.Errorf("%s is %s, want %s", property, got, want)
		}
	}
}
