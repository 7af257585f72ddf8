package e2e

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

const managerIface = service + ".Manager"

// manager calls a method of the manager and returns at once.
func (c client) manager(member string, args ...any) *dbus.Call {
	return c.call(basePath, managerIface+"."+member, args...)
}

// added adds a bus or, with AddHost, a host interface.
func (c client) added(t testing.TB, member string, config object) dbus.ObjectPath {
	t.Helper()
	var path dbus.ObjectPath
	if err := end(t, c.manager(member, inJSON(t, config))).Store(&path); err != nil {
		t.Fatal(err)
	}
	return path
}

// removed removes the bus or, with RemoveHost, the host interface of a name.
func (c client) removed(t testing.TB, member, name string) {
	t.Helper()
	if err := end(t, c.manager(member, busPath(name))).Err; err != nil {
		t.Fatal(err)
	}
}

// refused waits for the error of a call: its name without what all have, and its text.
func refused(t testing.TB, call *dbus.Call) (name, text string) {
	t.Helper()
	var failed dbus.Error
	if err := end(t, call).Err; !errors.As(err, &failed) {
		t.Fatalf("%s: %v", call.Method, err)
	}
	text, _ = failed.Body[0].(string)
	return strings.TrimPrefix(failed.Name, commonError), text
}

func inJSON(t testing.TB, config object) string {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// objectsThere are the names of the buses and host interfaces.
func (c client) objectsThere(t testing.TB) map[string]bool {
	t.Helper()
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	call := end(t, c.call(basePath, "org.freedesktop.DBus.ObjectManager.GetManagedObjects"))
	if err := call.Store(&objects); err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for path := range objects {
		names[filepath.Base(string(path))] = true
	}
	return names
}

func TestBusIsAddedUsedAndRemoved(t *testing.T) {
	t.Parallel()
	bus, n, other := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	n.respond(0x2C, echo)
	other.respond(0x2C, echo)
	host := hostd.Start(t, bus.Address, hostd.Print)
	d := start(t, bus.Address, channels(channel(other, object{"devIndex": 1})))
	c := connect(t, bus.Address)
	came, went := c.signals(t, "InterfacesAdded"), c.signals(t, "InterfacesRemoved")
	for round := range byte(2) {
		if path := c.added(t, "AddBus", channel(n, nil)); path != busPath("bus5") {
			t.Errorf("added at %s", path)
		}
		for range 2 { // of "/" and of the base
			if got := receive(t, "InterfacesAdded", came); got.Body[0] != busPath("bus5") {
				t.Errorf("%v was added", got.Body[0])
			}
		}
		d.status(t, "2 buses up")
		// It takes calls when AddBus has returned.
		if got := c.legacy(t, 1, 0x30, 0, 1, 0x55); got.Status != 0 || got.Data[0] != 0x55 {
			t.Errorf("a call: %+v", got)
		}
		if code, _ := answered(t, c.send("bus5", 0, 0x30, 0, 2)); code != 0 {
			t.Errorf("a call of its object: %02Xh", code)
		}
		if code := n.code(t, toHost(round, hostd.CommandEcho)); code != 0 {
			t.Errorf("a request: %02Xh", code)
		}
		host.Next(t)

		c.removed(t, "RemoveBus", "bus5")
		for range 2 {
			got := receive(t, "InterfacesRemoved", went)
			if got.Body[0] != busPath("bus5") || got.Body[1].([]string)[0] != objectIface {
				t.Errorf("%v was removed", got.Body)
			}
		}
		d.status(t, "1 bus up")
		if got := c.legacy(t, 1, 0x30, 0, 1); got.Status != 2 {
			t.Errorf("a call to the index of none: %+v", got)
		}
		if got := errorName(end(t, c.send("bus5", 0, 0x30, 0, 2)).Err); !strings.HasPrefix(got, "org.freedesktop.DBus.Error.") {
			t.Errorf("a call to an object that has gone: %s", got)
		}
		eventually(t, "the end of the connection", func() bool { return !n.write([]byte{0x20}) })
		if name, _ := refused(t, c.manager("RemoveBus", busPath("bus5"))); name != "ResourceNotFound" {
			t.Errorf("removed again: %s", name)
		}
	}
	if got := c.legacy(t, 5, 0x30, 0, 1); got.Status != 0 {
		t.Errorf("the other bus: %+v", got)
	}
	if got := other.connections(); got != 1 {
		t.Errorf("the other bus was connected to %d times", got)
	}
}

// A change goes on when its caller leaves.
func TestCallerOfAChangeLeaves(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	_, file := startFile(t, bus.Address, channels(channel(n, object{"timeout-ms": 60000})))
	c := connect(t, bus.Address)
	call := c.send("bus5", 0, 0x30, 0, 1) // The bus waits for it.
	receive(t, "a request on the bus", asked)
	rewrite(t, file, channels(channel(n, object{"tries": 3})))
	went := c.signals(t, "InterfacesRemoved")
	leaves := connect(t, bus.Address)
	leaves.manager("Reload")
	receive(t, "the begin of the change", went)
	leaves.Close()
	eventually(t, "the end of the change", func() bool { return n.connections() == 2 })
	c.state(t, "bus5", "Up")
	if name, _ := refused(t, call); name != "Unavailable" {
		t.Errorf("the call: %s", name)
	}
	if got := c.property(t, "bus5", "Tries"); got != uint32(3) {
		t.Errorf("%v tries", got)
	}
}

func TestStopCutsAChangeShort(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	d := start(t, bus.Address, channels(channel(n, object{"timeout-ms": 60000})))
	c := connect(t, bus.Address)
	went := c.signals(t, "InterfacesRemoved")
	call := c.send("bus5", 0, 0x30, 0, 1)
	receive(t, "a request on the bus", asked)
	removal := c.manager("RemoveBus", busPath("bus5"))
	receive(t, "the begin of the change", went)
	waits := c.manager("Reload")
	d.stopped(t)
	if name, _ := refused(t, call); name != "Unavailable" {
		t.Errorf("the call: %s", name)
	}
	for _, call := range []*dbus.Call{removal, waits} {
		end(t, call)
	}
}

func TestAddOfWhatIsTaken(t *testing.T) {
	t.Parallel()
	bus, n, other := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	n.respond(0x2C, echo)
	theirs := connect(t, bus.Address)
	const name = "xyz.openbmc_project.Ipmi.Channel."
	for _, word := range []string{"Theirs", "host7"} {
		if _, err := theirs.RequestName(name+word, dbus.NameFlagDoNotQueue); err != nil {
			t.Fatal(err)
		}
	}
	host0, _ := vm(t, "host0", nil)
	dashed, _ := vm(t, "host_0", object{"devIndex": 1})
	start(t, bus.Address, hosts([]object{host0, dashed}, channel(n, nil)))
	c := connect(t, bus.Address)
	came := c.signals(t, "InterfacesAdded")
	host := func(keys object) object {
		config, _ := vm(t, "host1", object{"devIndex": 2})
		maps.Copy(config, keys)
		return config
	}
	for what, tt := range map[string]struct {
		member string
		config object
		name   string
		text   []string
	}{
		"index":                   {"AddBus", channel(other, nil), "NotAllowed", []string{"channel.devIndex", "index 1 belongs to channel bus5"}},
		"name":                    {"AddBus", channel(other, object{"devIndex": 1, "name": "bus5"}), "NotAllowed", []string{`channel.name = "bus5"`, "belongs to channel bus5"}},
		"name of a host":          {"AddBus", channel(other, object{"devIndex": 1, "name": "host0"}), "NotAllowed", []string{"name host0 belongs to host host0"}},
		"device":                  {"AddBus", channel(n, object{"devIndex": 1, "name": "x"}), "NotAllowed", []string{"channel.slave-path", "belongs to channel bus5"}},
		"all of them":             {"AddBus", channel(n, nil), "NotAllowed", []string{"channel.devIndex", "channel.slave-path"}},
		"bus name of somebody":    {"AddBus", channel(other, object{"devIndex": 1, "bus-name": "Theirs"}), "NotAllowed", []string{name + "Theirs, by process"}},
		"bus name of a host":      {"AddBus", channel(other, object{"devIndex": 1, "bus-name": "host0"}), "NotAllowed", []string{"bus name host0 belongs to host host0"}},
		"name of a host's":        {"AddHost", host(object{"name": "host0"}), "NotAllowed", []string{`host.name = "host0"`, "belongs to host host0"}},
		"name of a bus":           {"AddHost", host(object{"name": "bus5"}), "NotAllowed", []string{"name bus5 belongs to channel bus5"}},
		"object of a host's":      {"AddHost", host(object{"name": "host-0"}), "NotAllowed", []string{"name host_0 belongs to host host_0"}},
		"host of a machine's":     {"AddHost", host(object{"devIndex": 1}), "NotAllowed", []string{"host.devIndex = 1: the machine of devIndex 1 belongs to host host_0: give each machine its own devIndex"}},
		"path":                    {"AddHost", host(object{"path": host0["path"]}), "NotAllowed", []string{"host.path", "belongs to host host0"}},
		"bus name of the host's":  {"AddHost", host(object{"name": "host7"}), "NotAllowed", []string{name + "host7, by process"}},
		"no JSON":                 {"AddBus", nil, "InvalidArgument", []string{"channel = null: must be an object"}},
		"unknown key":             {"AddBus", channel(other, object{"devIndex": 1, "colour": "red"}), "InvalidArgument", []string{`channel.colour = "red": unknown key`}},
		"several faults":          {"AddBus", channel(other, object{"bmc-addr": 33, "tries": 0, "type": "x"}), "InvalidArgument", []string{"channel.bmc-addr = 33", "channel.tries = 0", `channel.type = "x"`}},
		"a host is no bus":        {"AddBus", host(nil), "InvalidArgument", []string{"channel.path", "unknown key", "channel.slave-path: is missing"}},
		"a bus is no host":        {"AddHost", channel(other, nil), "InvalidArgument", []string{"host.slave-path", "unknown key"}},
		"host with several fault": {"AddHost", host(object{"handler": "signal", "name": "Ipmb"}), "InvalidArgument", []string{"host.handler", "host.name"}},
	} {
		got, text := refused(t, c.manager(tt.member, inJSON(t, tt.config)))
		if got != tt.name {
			t.Errorf("%s: %s: %s", what, got, text)
		}
		for _, want := range tt.text {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in %s", what, want, text)
			}
		}
	}
	for member, path := range map[string]dbus.ObjectPath{"RemoveBus": busPath("host0"), "RemoveHost": busPath("bus5")} {
		if got, text := refused(t, c.manager(member, path)); got != "ResourceNotFound" || !strings.Contains(text, string(path)) {
			t.Errorf("%s of the other kind: %s, %s", member, got, text)
		}
	}
	if diff := cmp.Diff(map[string]bool{"bus5": true, "host0": true, "host_0": true}, c.objectsThere(t)); diff != "" || len(came) > 0 {
		t.Errorf("%d came\n%s", len(came), diff)
	}
	if other.connections() != 0 || n.connections() != 1 {
		t.Error("a bus was opened")
	}
	if got := c.legacy(t, 1, 0x30, 0, 1); got.Status != 0 {
		t.Errorf("a call: %+v", got)
	}
}

// A bus name belongs to all buses that have it, and is given back by the last.
func TestBusNameOfTwo(t *testing.T) {
	t.Parallel()
	bus, one, two := bustest.Start(t), listen(t, "ipmb-1"), listen(t, "ipmb-2")
	host := hostd.Start(t, bus.Address, hostd.Print)
	const name = "xyz.openbmc_project.Ipmi.Channel.Shared"
	first, second := channel(one, object{"bus-name": "Shared"}), channel(two, object{"bus-name": "Shared", "devIndex": 1})
	start(t, bus.Address, channels(first, second))
	c := connect(t, bus.Address)
	asks := func(n *node, number byte) {
		t.Helper()
		if code := n.code(t, toHost(number, hostd.CommandEcho)); code != 0 {
			t.Errorf("a request: %02Xh", code)
		}
		if got, want := host.Next(t).Sender, c.owner(t, name); got != want || want == "" {
			t.Errorf("%s asked the host daemon, %q has the name", got, want)
		}
	}
	before := c.owner(t, name)
	c.removed(t, "RemoveBus", "bus1")
	asks(two, 1)
	if got := c.owner(t, name); got != before {
		t.Errorf("%s has the name, %s had it", got, before)
	}
	c.removed(t, "RemoveBus", "bus2")
	if got := c.owner(t, name); got != "" {
		t.Errorf("%s has the name of nobody", got)
	}
	c.added(t, "AddBus", first)
	asks(one, 2)
	c.added(t, "AddBus", second)
	asks(two, 3)
}

// A client that learns of a new bus may call it at once.
func TestCallAtTheMomentABusComes(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	start(t, bus.Address, object{"channels": []object{}})
	c := connect(t, bus.Address)
	came := c.signals(t, "InterfacesAdded")
	for range 50 {
		call := c.manager("AddBus", inJSON(t, channel(n, object{"bus-name": "Other"})))
		receive(t, "InterfacesAdded", came)
		if code, _ := answered(t, c.send("bus5", 0, 0x30, 0, 1)); code != 0 {
			t.Errorf("%02Xh", code)
		}
		receive(t, "that of the other manager", came)
		if err := end(t, call).Err; err != nil {
			t.Fatal(err)
		}
		c.removed(t, "RemoveBus", "bus5")
	}
}

// A change that waits for the message bus does not hold up the end.
func TestStopDuringAChangeWhileTheMessageBusReadsNoMore(t *testing.T) {
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, silent)
	config := func(tries int) object {
		return channels(channel(n, object{"type": "ipmb", "bus-name": "Other", "tries": tries}))
	}
	d, file := startFile(t, bus.Address, config(1))
	c := connect(t, bus.Address)
	var pid uint32
	if err := c.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.freedesktop.DBus").Store(&pid); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a connection", func() bool { return n.connections() == 1 })
	rewrite(t, file, config(2))
	if err := syscall.Kill(int(pid), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(int(pid), syscall.SIGCONT)
	unasked := packet{to: 0x20, netFn: 7, from: 0x2C, number: 1, cmd: 1, data: make([]byte, 200)}
	for range 6000 {
		n.send(t, unasked.bytes())
	}
	d.signal(syscall.SIGHUP)
	d.status(t, "RELOADING=1")
	d.signal(syscall.SIGTERM)
	eventually(t, "the end of the daemon", d.ended)
	if code := d.exit(t); code > 1 {
		t.Errorf("exit status %d", code)
	}
}

// A bus on an OpenIPMI device is Down without the device.
func TestBusOnAnOpenIPMIDeviceIsAddedAndRemoved(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	config := object{"type": "openipmi", "path": filepath.Join(socketDir(t), "ipmi0")}
	for range 2 {
		if path := c.added(t, "AddHost", config); path != busPath("ipmi0") {
			t.Errorf("added at %s", path)
		}
		c.state(t, "ipmi0", "Down")
		if index := c.property(t, "ipmi0", "Index"); index != byte(2) {
			t.Errorf("index %v", index)
		}
		if got := errorName(end(t, c.send("ipmi0", 0, 6, 0, 1)).Err); got != commonError+"Unavailable" {
			t.Errorf("a call without the device: %s", got)
		}
		if name, text := refused(t, c.manager("AddHost", inJSON(t, object{"type": "openipmi", "path": "/dev/ipmi1"}))); name != "NotAllowed" || !strings.Contains(text, "index 2 belongs to host ipmi0") {
			t.Errorf("its index for another one: %s: %s", name, text)
		}
		if name, _ := refused(t, c.manager("RemoveHost", busPath("ipmi0"))); name != "ResourceNotFound" {
			t.Errorf("removed as a host: %s", name)
		}
		c.removed(t, "RemoveBus", "ipmi0")
	}
}
