package e2e

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/internal/testmain"
	"ipmbd/test/hostd"
)

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

func TestMachineWhoseHostIsRemoved(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	start(t, bus.Address, hosts([]object{}, channel(listen(t, "ipmb-5"), nil)))
	c := connect(t, bus.Address)
	config, path := vm(t, "host0", nil)
	for range 2 {
		c.added(t, "AddHost", config)
		m := boot(t, "unix", path, noAttention)
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

// A program cannot have the commands of a bus's bridge until the bus is removed, and no bus that
// bridges can be added while a program has them.
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
		t.Errorf("while a program has the command: %s, %s", name, text)
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

func TestManyChangesLeaveNothing(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	d := start(t, bus.Address, object{"channels": []object{}})
	c := connect(t, bus.Address)
	host0, path := vm(t, "host0", nil)
	round := func() {
		c.added(t, "AddBus", channel(n, object{"bus-name": "Other"}))
		c.added(t, "AddHost", host0)
		m := boot(t, "unix", path, noAttention)
		if got := c.legacy(t, 1, 0x30, 0, 1); got.Status != 0 {
			t.Fatalf("a call: %+v", got)
		}
		c.removed(t, "RemoveHost", "host0")
		m.conn.Close()
		c.removed(t, "RemoveBus", "bus5")
	}
	round()
	before := d.descriptors(t)
	for range testmain.Amount(30, 100) {
		round()
	}
	eventually(t, "all descriptors to be closed", func() bool { return d.descriptors(t) <= before })
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
