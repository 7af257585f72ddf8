package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// reloaded has the configuration read again.
func (c client) reloaded(t testing.TB) {
	t.Helper()
	if err := end(t, c.manager("Reload")).Err; err != nil {
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

// startFile is start with the path of the configuration, to be written again.
func startFile(t testing.TB, address string, config object) (d *daemon, path string) {
	t.Helper()
	path = configFile(t, config)
	d = launch(t, "--bus", address, "--config", path)
	d.ready(t)
	return d, path
}

// rewrite writes a configuration in the place of another.
func rewrite(t testing.TB, path string, config object) {
	t.Helper()
	if err := os.WriteFile(path, []byte(inJSON(t, config)), 0o644); err != nil {
		t.Fatal(err)
	}
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
		d.status(t, "1 buses up")
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

// Each call in progress has one end: its answer, if that comes in time, or Unavailable.
func TestRemovedBusLetsCallsEnd(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	release := make(chan struct{})
	respond, asked := recorder(held(release))
	mute, unanswered := recorder(silent)
	n.respond(0x2C, respond)
	n.respond(0x42, mute)
	start(t, bus.Address, channels(channel(n, object{"timeout-ms": 60000})))
	c := connect(t, bus.Address)
	went := c.signals(t, "InterfacesRemoved")
	var prompt, old, dead []*dbus.Call
	for i := range byte(10) {
		prompt = append(prompt, c.send("bus5", 0, 0x30, 0, 1, i))
		old = append(old, c.sendLegacy(1, 0x30, 0, 2, i))
		dead = append(dead, c.send("bus5", 0x42, 0x30, 0, 3, i))
	}
	for range 20 {
		receive(t, "a request on the bus", asked)
	}
	for range 10 {
		receive(t, "a request on the bus", unanswered)
	}
	removal := c.manager("RemoveBus", busPath("bus5"))
	receive(t, "InterfacesRemoved", went)
	close(release)
	for i := range byte(10) {
		if code, data := answered(t, prompt[i]); code != 0 || data[0] != i {
			t.Errorf("%02Xh % X", code, data)
		}
		if got := legacyEnd(t, old[i]); got.Status != 0 || got.Data[0] != i {
			t.Errorf("%+v", got)
		}
	}
	for _, call := range dead {
		if name, _ := refused(t, call); name != "Unavailable" {
			t.Errorf("a call without an answer: %s", name)
		}
	}
	if err := end(t, removal).Err; err != nil {
		t.Error(err)
	}
}

// A request that was taken is answered before its bus goes.
func TestRemovedBusLetsRequestsBeAnswered(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	host := hostd.Start(t, bus.Address, hostd.Print)
	start(t, bus.Address, channels(channel(n, object{"bus-name": "Other"})))
	c := connect(t, bus.Address)
	request := delayed(1, underWay, 0xAB)
	n.send(t, request.bytes())
	host.Next(t)
	c.removed(t, "RemoveBus", "bus5")
	if got := n.answerTo(t, request); got.data[0] != 0 || got.data[1] != 0xAB {
		t.Errorf("answered % X", got.data)
	}
	// One that takes longer has no answer of the host daemon's.
	c.added(t, "AddBus", channel(n, object{"bus-name": "Other"}))
	request = delayed(2, 60000)
	n.send(t, request.bytes())
	host.Next(t)
	begin := time.Now()
	c.removed(t, "RemoveBus", "bus5")
	if took := time.Since(begin); took > drainTime+atOnce {
		t.Errorf("removed after %v", took)
	}
	if len(n.inbox) == 0 {
		return
	}
	if got := n.answerTo(t, request); got.data[0] != 0xFF || len(n.inbox) > 0 {
		t.Errorf("answered % X, and %d more", got.data, len(n.inbox))
	}
}

func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	bus, stays, changes := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	stays.respond(0x2C, echo)
	changes.respond(0x2C, echo)
	config := func(own int) object {
		return channels(channel(stays, unhurried), channel(changes, object{"devIndex": 1, "bmc-addr": own, "timeout-ms": 60000}))
	}
	_, file := startFile(t, bus.Address, config(0x20))
	c := connect(t, bus.Address)
	var calls atomic.Uint64
	const all, clients = 10_000, 8
	var load sync.WaitGroup
	for range clients {
		client := connect(t, bus.Address)
		load.Go(func() {
			for n := calls.Add(1); n <= all; n = calls.Add(1) {
				want := tagged(n)
				if n%2 == 0 {
					var got legacyAnswer
					err := (<-client.sendLegacy(1, 0x30, 0, byte(n), want...).Done).Store(&got)
					if err != nil || got.Status != 0 || string(got.Data) != string(want) {
						t.Errorf("call %d: %+v, %v", n, got, err)
						return
					}
					continue
				}
				if wrong := payload(<-client.send("bus5", 0, 0x30, 0, byte(n), want...).Done, want); wrong != "" {
					t.Errorf("call %d: %s", n, wrong)
					return
				}
			}
		})
	}
	reloads := 0
	for calls.Load() < all {
		rewrite(t, file, config(0x20+2*(reloads%2+1)))
		c.reloaded(t)
		reloads++
		if got := c.legacy(t, 5, 0x30, 0, 1); got.Status != 0 {
			t.Errorf("the bus that changes: %+v", got)
		}
	}
	load.Wait()
	if stays.connections() != 1 || changes.connections() != 1+reloads {
		t.Errorf("%d reloads: connected %d and %d times", reloads, stays.connections(), changes.connections())
	}
}

func TestReloadedBusHasItsNewAddress(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(echo)
	n.respond(0x2C, respond)
	config := func(own string) object {
		return channels(channel(n, object{"bmc-addr": own, "handler": "none", "timeout-ms": 60000}))
	}
	_, file := startFile(t, bus.Address, config("0x20"))
	c := connect(t, bus.Address)
	came, went := c.signals(t, "InterfacesAdded"), c.signals(t, "InterfacesRemoved")
	for _, own := range []byte{0x22, 0x24} {
		rewrite(t, file, config(map[byte]string{0x22: "0x22", 0x24: "0x24"}[own]))
		c.reloaded(t)
		for range 2 { // of "/" and of the base
			receive(t, "InterfacesRemoved", went)
			properties := receive(t, "InterfacesAdded", came).Body[1].(map[string]map[string]dbus.Variant)[objectIface]
			if got := properties["OwnAddress"].Value(); got != own {
				t.Errorf("it was added with the address %v", got)
			}
		}
		if code, _ := answered(t, c.send("bus5", 0, 0x30, 0, 1)); code != 0 {
			t.Errorf("a call: %02Xh", code)
		}
		if got := receive(t, "a request on the bus", asked); got.from != own {
			t.Errorf("from %02Xh", got.from)
		}
		if code := n.code(t, packet{to: own, netFn: 6, from: 0x2C, number: 1, cmd: 1}); code != 0xC1 {
			t.Errorf("a request to the new address: %02Xh", code)
		}
	}
	c.reloaded(t) // nothing has changed
	if n.connections() != 3 || len(went) > 0 {
		t.Errorf("connected %d times, removed %d times more", n.connections(), len(went))
	}
}

// An answer to a request from before a change reaches no request after it.
func TestLateAnswerOfAChangedBusReachesNobody(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	late := make(chan packet, 1)
	n.respond(0x2C, func(asked packet, _ func(packet)) { late <- asked.answer(0, 0xEE) })
	config := func(tries int) object { return channels(channel(n, object{"timeout-ms": 60000, "tries": tries})) }
	_, file := startFile(t, bus.Address, config(1))
	c := connect(t, bus.Address)
	lost := c.send("bus5", 0, 0x30, 0, 1)
	answer := receive(t, "a request on the bus", late)
	rewrite(t, file, config(2))
	c.reloaded(t)
	if name, _ := refused(t, lost); name != "Unavailable" {
		t.Errorf("the call from before: %s", name)
	}
	respond, asked := recorder(func(asked packet, send func(packet)) {
		send(answer)
		send(asked.answer(0, 0x11))
	})
	n.respond(0x2C, respond)
	for range 3 {
		if _, data := answered(t, c.send("bus5", 0, 0x30, 0, 1)); data[0] != 0x11 {
			t.Errorf("answered % X", data)
		}
		if got := receive(t, "a request on the bus", asked); got.number == answer.number {
			t.Errorf("number %d is used again", got.number)
		}
	}
}

func TestBadFileChangesNothing(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	d, file := startFile(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	went := c.signals(t, "InterfacesRemoved")
	unchanged := func(what string) {
		t.Helper()
		if got := c.legacy(t, 1, 0x30, 0, 1); got.Status != 0 || n.connections() != 1 || len(went) > 0 || len(c.objectsThere(t)) != 1 {
			t.Errorf("%s: %+v, %d connections, %d signals", what, got, n.connections(), len(went))
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	write(`{"channels": [
  {"type": "me", "slave-path": "/dev/ipmb-9", "bmc-addr": 33, "remote-addr": 44},
  {"type": "mee", "slave-path": "/dev/ipmb-8", "remote-addr": 44}]}`)
	name, text := refused(t, c.manager("Reload"))
	for _, want := range []string{file + ":2:", "channels[0].bmc-addr = 33", "even", file + ":3:", `channels[1].type = "mee"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if name != "InvalidArgument" {
		t.Error(name)
	}
	unchanged("two faults")
	d.signal(syscall.SIGHUP)
	d.logged(t, `channels[1].type = \"mee\"`)
	unchanged("SIGHUP")

	for what, bad := range map[string]string{"no JSON": "{", "nothing": "", "a list": "[]", "not UTF-8": "\xff"} {
		write(bad)
		if name, text := refused(t, c.manager("Reload")); name != "InvalidArgument" || !strings.Contains(text, file) {
			t.Errorf("%s: %s, %s", what, name, text)
		}
		unchanged(what)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if name, text := refused(t, c.manager("Reload")); name != "InvalidArgument" || !strings.Contains(text, "no such file") {
		t.Errorf("no file: %s, %s", name, text)
	}
	unchanged("no file")

	fixed := object{"bmc": object{"log-capacity": 100}, "frame-socket": "/run/another"}
	for key, value := range fixed {
		changed := channels(channel(n, object{"tries": 2}))
		changed[key] = value
		rewrite(t, file, changed)
		if name, text := refused(t, c.manager("Reload")); name != "NotAllowed" || !strings.Contains(text, "restart") || !strings.Contains(text, key) {
			t.Errorf("another %s: %s, %s", key, name, text)
		}
		unchanged("another " + key)
	}
	other := connect(t, bus.Address)
	const theirs = "xyz.openbmc_project.Ipmi.Channel.Theirs"
	if _, err := other.RequestName(theirs, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	rewrite(t, file, channels(channel(n, object{"bus-name": "Theirs"})))
	if name, text := refused(t, c.manager("Reload")); name != "NotAllowed" || !strings.Contains(text, theirs) || !strings.Contains(text, "process") {
		t.Errorf("a name of somebody: %s, %s", name, text)
	}
	unchanged("a name of somebody")
}

func TestReloadMakesAllAsTheFileHasIt(t *testing.T) {
	t.Parallel()
	bus, one, two, three := bustest.Start(t), listen(t, "ipmb-1"), listen(t, "ipmb-2"), listen(t, "ipmb-3")
	for _, n := range []*node{one, two, three} {
		n.respond(0x2C, func(asked packet, send func(packet)) { send(asked.answer(0, n.path[len(n.path)-1])) })
	}
	d, file := startFile(t, bus.Address, channels(channel(one, nil), channel(two, object{"devIndex": 1})))
	c := connect(t, bus.Address)
	host0, _ := vm(t, "host0", nil)
	c.added(t, "AddHost", host0)
	c.added(t, "AddBus", channel(three, object{"devIndex": 3}))

	// The indexes change places, what was added by others goes, and a host comes.
	host1, path := vm(t, "host1", nil)
	config := hosts([]object{host1}, channel(one, object{"devIndex": 1}), channel(two, nil))
	rewrite(t, file, config)
	d.signal(syscall.SIGHUP)
	d.status(t, "RELOADING=1\nMONOTONIC_USEC=")
	if said := d.ready(t); !strings.Contains(said, "STATUS=2 buses") {
		t.Errorf("told systemd %q", said)
	}
	if diff := cmp.Diff(map[string]bool{"bus1": true, "bus2": true, "host1": true}, c.objectsThere(t)); diff != "" {
		t.Error(diff)
	}
	for index, want := range map[byte]byte{1: '2', 5: '1'} {
		if got := c.legacy(t, index, 0x30, 0, 1); got.Status != 0 || got.Data[0] != want {
			t.Errorf("index %d: %+v", index, got)
		}
	}
	boot(t, "unix", path, calm)
}

// Keys beside channels and hosts hold at once, and no bus is touched for them.
func TestReloadOfOtherKeys(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	config := channels(channel(n, object{"handler": "bmc", "timeout-ms": 60000}))
	config["bmc"] = object{
		"guid":    "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
		"sensors": []object{{"name": "Inlet", "number": 1, "type": 1, "max": 255, "upper-critical": 80, "file": "/nonexistent"}},
		"frus":    []object{{"name": "Board", "id": 0, "board": object{"made": "2026-01-31", "name": "One"}}},
	}
	_, file := startFile(t, bus.Address, config)
	c := connect(t, bus.Address)
	request := app(1, 0x01)
	if code := n.code(t, request); code != 0 {
		t.Errorf("%02Xh", code)
	}
	call := c.send("bus5", 0, 0x30, 0, 1)
	receive(t, "a request on the bus", asked)

	config["policy"] = []object{{"channels": []string{"bus5"}, "deny": []string{"app get-device-id"}}}
	config["max-calls-per-sender"] = 2 // and one is in progress
	rewrite(t, file, config)
	c.reloaded(t)
	request.number = 2
	if code := n.code(t, request); code != 0xD4 {
		t.Errorf("denied: %02Xh", code)
	}
	second := c.send("bus5", 0, 0x30, 0, 2)
	receive(t, "a request on the bus", asked)
	if name, _ := refused(t, c.send("bus5", 0, 0x30, 0, 3)); name != "TooManyResources" {
		t.Errorf("a third call: %s", name)
	}
	if n.connections() != 1 || len(call.Done)+len(second.Done) > 0 {
		t.Error("the bus was touched")
	}
}

func TestReloadsAtTheSameTime(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	config := func(tries int) object { return channels(channel(n, object{"tries": tries})) }
	d, file := startFile(t, bus.Address, config(1))
	for round := range 5 {
		rewrite(t, file, config(2+round))
		var calls []*dbus.Call
		for range 8 {
			c := connect(t, bus.Address)
			calls = append(calls, c.manager("Reload"))
		}
		d.signal(syscall.SIGHUP)
		for _, call := range calls {
			if err := end(t, call).Err; err != nil {
				t.Error(err)
			}
		}
		if got := n.connections(); got != 2+round {
			t.Errorf("round %d: connected %d times", round, got)
		}
	}
	if got := connect(t, bus.Address).legacy(t, 1, 0x30, 0, 1); got.Status != 0 {
		t.Errorf("afterwards: %+v", got)
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
		"a host is no bus":        {"AddBus", host(nil), "InvalidArgument", []string{"channel.path", "unknown key", "channel.remote-addr: is missing"}},
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

func TestMachineWhoseHostIsRemoved(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	start(t, bus.Address, hosts([]object{}, channel(listen(t, "ipmb-5"), nil)))
	c := connect(t, bus.Address)
	config, path := vm(t, "host0", nil)
	for range 2 {
		c.added(t, "AddHost", config)
		m := boot(t, "unix", path, calm)
		c.hostState(t, "host0", "Up")
		if c.owner(t, "xyz.openbmc_project.Ipmi.Channel.host0") == "" {
			t.Error("without its bus name")
		}
		m.asks(6, 0x25, "", "00 00 00 00 00 0000 0000") // no watchdog of the host before
		m.asks(6, 0x24, "04 01 00 00 1E00", "00")
		m.asks(6, 0x22, "", "00")
		c.removed(t, "RemoveHost", "host0")
		if n, err := m.conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the machine reads %d bytes, %v", n, err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("its socket: %v", err)
		}
		if got := c.owner(t, "xyz.openbmc_project.Ipmi.Channel.host0"); got != "" {
			t.Errorf("%s has the bus name", got)
		}
		c.removed(t, "RemoveBus", "bus5")
		c.added(t, "AddBus", channel(listen(t, "ipmb-5"), nil))
	}
}

// Machines without a devIndex of their own would be one host, with one watchdog.
func TestReloadOfMachinesThatWouldShareAHost(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	first, _ := vm(t, "host0", nil)
	second, _ := vm(t, "host1", nil)
	_, file := startFile(t, bus.Address, hosts([]object{first}))
	c := connect(t, bus.Address)
	rewrite(t, file, hosts([]object{first, second}))
	name, text := refused(t, c.manager("Reload"))
	if name != "InvalidArgument" || !strings.Contains(text, "hosts[1].devIndex = 0: the machine of devIndex 0 belongs to hosts[0]: give each machine its own devIndex") {
		t.Errorf("%s: %s", name, text)
	}
	second["devIndex"] = 1
	rewrite(t, file, hosts([]object{first, second}))
	if call := c.manager("Reload"); call.Err != nil {
		t.Error(call.Err)
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

// What a bus had reserved can be had when it is gone, and the other way round.
func TestCommandsOfTheBridgeComeAndGo(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, object{"channels": []object{}})
	c := connect(t, bus.Address)
	bridging := channel(n, object{"handler": "bmc", "ipmi-channel": 3})
	p := newProgram(t, bus.Address, says(0x77))
	onThree := commands{6, sendMessage, anyGroup, 1 << 3}
	c.added(t, "AddBus", bridging)
	if err := p.register(onThree); errorName(err) != commonError+"NotAllowed" {
		t.Errorf("while the bus is there: %v", err)
	}
	c.removed(t, "RemoveBus", "bus5")
	p.mustRegister(t, onThree)
	if name, text := refused(t, c.manager("AddBus", inJSON(t, bridging))); name != "NotAllowed" || !strings.Contains(text, p.Names()[0]) {
		t.Errorf("what somebody has registered: %s, %s", name, text)
	}
	c.leaves(t, p)
	eventually(t, "the bus", func() bool { return end(t, c.manager("AddBus", inJSON(t, bridging))).Err == nil })
	if code := n.code(t, app(1, getFlags)); code != 0 {
		t.Errorf("Get Message Flags: %02Xh", code)
	}
}

// Messages on their way to a bus that goes end with a completion code.
func TestBridgedRequestsToARemovedBus(t *testing.T) {
	t.Parallel()
	bus, from, to := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	respond, asked := recorder(silent)
	to.respond(0x2C, respond)
	config := bridgedBuses(from, to)
	for _, c := range config["channels"].([]object) {
		c["timeout-ms"] = 60000
	}
	start(t, bus.Address, config)
	c := connect(t, bus.Address)
	if got := from.ask(t, app(1, sendMessage, unhex(t, "00 2C 18 BC 20 16 01 C9")...)).data; got[0] != 0 {
		t.Errorf("untracked: % X", got)
	}
	receive(t, "the request", asked)
	tracked := app(2, sendMessage, unhex(t, "40 2C 18 BC 20 1A 01 C5")...)
	from.send(t, tracked.bytes())
	receive(t, "the request", asked)
	c.removed(t, "RemoveBus", "bus6")
	if got := from.answerTo(t, tracked).data; got[0] == 0 || got[0] == 0xC3 {
		t.Errorf("tracked: % X", got)
	}
	c.counted(t, "bus5", "bridged-unanswered", 1)
	if got := from.ask(t, app(3, getMessage)).data; got[0] != 0x80 {
		t.Errorf("Get Message: % X", got)
	}
	if got := from.ask(t, app(4, sendMessage, unhex(t, "00 2C 18 BC 20 16 01 C9")...)).data; got[0] != 0xCC {
		t.Errorf("to a channel that has gone: % X", got)
	}
}

func TestAHundredChangesLeaveNothing(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	d := start(t, bus.Address, object{"channels": []object{}})
	c := connect(t, bus.Address)
	host0, path := vm(t, "host0", nil)
	round := func() {
		c.added(t, "AddBus", channel(n, object{"bus-name": "Other"}))
		c.added(t, "AddHost", host0)
		m := boot(t, "unix", path, calm)
		if got := c.legacy(t, 1, 0x30, 0, 1); got.Status != 0 {
			t.Fatalf("a call: %+v", got)
		}
		c.removed(t, "RemoveHost", "host0")
		m.conn.Close()
		c.removed(t, "RemoveBus", "bus5")
	}
	round()
	before := d.descriptors(t)
	for range 100 {
		round()
	}
	eventually(t, "all descriptors to be closed", func() bool { return d.descriptors(t) <= before })
}

// Who hears that a bus has come may call at once.
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

// A host that changes keeps its bus names, and one that goes gives them back.
func TestNamesOfAHostThatChanges(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	bt := func(keys object) object {
		h := object{"type": "bt", "path": filepath.Join(socketDir(t), "ipmi-bt-host"), "name": "ipmi_bt", "legacy-api": true}
		for key, value := range keys {
			h[key] = value
		}
		return h
	}
	_, file := startFile(t, bus.Address, hosts([]object{bt(nil)}))
	c := connect(t, bus.Address)
	names := []string{"xyz.openbmc_project.Ipmi.Channel.ipmi_bt", "org.openbmc.HostIpmi"}
	owned := func(what string, want bool) {
		t.Helper()
		for _, name := range names {
			if got := c.owner(t, name); (got != "") != want {
				t.Errorf("%s: %q has %s", what, got, name)
			}
		}
	}
	for _, devIndex := range []int{1, 2, 3} {
		rewrite(t, file, hosts([]object{bt(object{"devIndex": devIndex})}))
		c.reloaded(t)
		owned("changed", true)
	}
	rewrite(t, file, hosts([]object{bt(object{"name": "other"})}))
	names[0] = "xyz.openbmc_project.Ipmi.Channel.other"
	c.reloaded(t)
	owned("of another name", true)
	c.removed(t, "RemoveHost", "other")
	owned("removed", false)
	theirs := connect(t, bus.Address)
	if _, err := theirs.RequestName(names[1], dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	if name, text := refused(t, c.manager("AddHost", inJSON(t, bt(nil)))); name != "NotAllowed" || !strings.Contains(text, names[1]) {
		t.Errorf("%s: %s", name, text)
	}
	if got := c.owner(t, "xyz.openbmc_project.Ipmi.Channel.ipmi_bt"); got != "" {
		t.Errorf("%s has the other name", got)
	}
}

// A bus whose device does not take a write is removed all the same.
func TestStalledBusIsRemoved(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	d := start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	eventually(t, "a connection", func() bool { return n.connections() == 1 })
	before := d.descriptors(t)
	n.pause()
	fill(c)
	c.state(t, "bus5", "Down")
	begin := time.Now()
	c.removed(t, "RemoveBus", "bus5")
	if took := time.Since(begin); took > 4*time.Second+atOnce {
		t.Errorf("removed after %v", took)
	}
	eventually(t, "its descriptor to be closed", func() bool { return d.descriptors(t) < before })
	n.resume()
	n.respond(0x2C, echo)
	c.added(t, "AddBus", channel(n, nil))
	if got := c.legacy(t, 1, 0x30, 0, 0xFF); got.Status != 0 {
		t.Errorf("added again: %+v", got)
	}
}

// A call by index to a bus that begins anew finds it Down, not unknown: its client
// tries again.
func TestIndexOfABusThatChanges(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	_, file := startFile(t, bus.Address, channels(channel(n, object{"timeout-ms": 60000})))
	c := connect(t, bus.Address)
	went := c.signals(t, "InterfacesRemoved")
	c.send("bus5", 0, 0x30, 0, 1)
	receive(t, "a request on the bus", asked)
	rewrite(t, file, channels(channel(n, nil)))
	call := c.manager("Reload")
	receive(t, "the begin of the change", went)
	for len(call.Done) == 0 {
		if got := c.legacy(t, 1, 0x30, 0, 2); got.Status != 4 {
			t.Fatalf("meanwhile: %+v", got)
		}
	}
	if err := end(t, call).Err; err != nil {
		t.Fatal(err)
	}
	n.respond(0x2C, echo)
	if got := c.legacy(t, 1, 0x30, 0, 3); got.Status != 0 {
		t.Errorf("afterwards: %+v", got)
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

// What is behind an OpenIPMI device is a bus, which is Down without it.
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
