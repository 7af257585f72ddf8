package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/internal/testmain"
)

// reloaded has the configuration read again.
func (c client) reloaded(t testing.TB) {
	t.Helper()
	if err := end(t, c.manager("Reload")).Err; err != nil {
		t.Fatal(err)
	}
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
	const clients = 8
	all := uint64(testmain.Amount(2_500, 10_000))
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

	// The indexes change places, buses that clients added go, and a host comes.
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
	boot(t, "unix", path, noAttention)
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

// A call by index to a bus that is replaced finds it Down, not unknown: its client
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
