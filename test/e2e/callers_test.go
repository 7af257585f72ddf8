package e2e

import (
	"strconv"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
)

func TestCallsEndWhenTheirCallerLeaves(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	d := start(t, bus.Address, channels(channel(n, unhurried)))
	stays, leaves := connect(t, bus.Address), connect(t, bus.Address)
	stays.property(t, "bus5", "State")

	begin := time.Now()
	for i := range byte(10) {
		leaves.sendLegacy(1, 0x30, 0, i)
		leaves.send("bus5", 0, 0x30, 0, 0x80+i)
	}
	other := stays.sendLegacy(1, 0x30, 0, 0xFF)
	for range 21 {
		receive(t, "a request on the bus", asked)
	}
	descriptors := d.descriptors(t)
	leaves.Close()
	stays.counted(t, "bus5", "calls-cancelled", 20)
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("the calls ended after %v, by themselves", took)
	}
	if len(other.Done) > 0 {
		t.Error("the call of another caller ended, too")
	}
	eventually(t, "one connection less", func() bool { return d.descriptors(t) <= descriptors })
}

func TestLimitOfASender(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	release := make(chan struct{})
	respond, asked := recorder(func(asked packet, send func(packet)) {
		go func() {
			<-release
			send(asked.answer(0))
		}()
	})
	n.respond(0x2C, respond)
	config := channels(channel(n, unhurried))
	config["max-calls-per-sender"] = 4
	start(t, bus.Address, config)
	greedy, modest := connect(t, bus.Address), connect(t, bus.Address)

	var calls []*dbus.Call
	for i := range byte(4) {
		calls = append(calls, greedy.sendLegacy(1, 0x30, 0, i))
		receive(t, "a request on the bus", asked)
	}
	if got := greedy.legacy(t, 1, 0x30, 0, 9); got.Status != 3 {
		t.Errorf("org.openbmc.Ipmb: %+v", got)
	}
	if got := errorName(end(t, greedy.send("bus5", 0, 0x30, 0, 9)).Err); got != commonError+"TooManyResources" {
		t.Errorf("the bus's object: %s", got)
	}
	calls = append(calls, modest.sendLegacy(1, 0x30, 0, 9))
	receive(t, "the request of another sender", asked)
	close(release)
	for _, call := range calls {
		if got := legacyEnd(t, call); got.Status != 0 {
			t.Errorf("%+v", got)
		}
	}
	if got := greedy.legacy(t, 1, 0x30, 0, 9); got.Status != 0 {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestLimitOfABus(t *testing.T) {
	t.Parallel()
	bus, narrow, wide := bustest.Start(t), listen(t, "ipmb-1"), listen(t, "ipmb-2")
	respond, asked := recorder(silent)
	narrow.respond(0x2C, respond)
	wide.respond(0x2C, echo)
	start(t, bus.Address, channels(
		channel(narrow, object{"timeout-ms": 20000, "tries": 1, "max-calls": 6}), // half are for others
		channel(wide, object{"devIndex": 1})))
	for i := range byte(3) {
		connect(t, bus.Address).sendLegacy(1, 0x30, 0, i)
		receive(t, "a request on the bus", asked)
	}
	c := connect(t, bus.Address)
	if got := c.legacy(t, 1, 0x30, 0, 9); got.Status != 3 {
		t.Errorf("org.openbmc.Ipmb: %+v", got)
	}
	if got := errorName(end(t, c.send("bus1", 0, 0x30, 0, 9)).Err); got != commonError+"TooManyResources" {
		t.Errorf("the bus's object: %s", got)
	}
	if got := c.statistics(t, "bus1")["dbus-calls-refused"]; got != 2 {
		t.Errorf("dbus-calls-refused %d, want 2", got)
	}
	if got := c.legacy(t, 5, 0x30, 0, 9); got.Status != 0 {
		t.Errorf("another bus: %+v", got)
	}
}

func TestSecondInstanceEndsAndTheFirstGoesOn(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	config := channels(channel(n, nil))
	first := start(t, bus.Address, config)
	second := launch(t, "--bus", bus.Address, "--config", configFile(t, config))
	if code := second.exit(t); code != 1 {
		t.Errorf("exit status %d", code)
	}
	second.logged(t, "bus name is taken: "+service)
	second.logged(t, "by process "+strconv.Itoa(first.pid()))
	if len(second.notify) > 0 {
		t.Errorf("told systemd %q", <-second.notify)
	}
	if got := connect(t, bus.Address).legacy(t, 1, 0x30, 0, 1, 0x77); got.Status != 0 || first.ended() {
		t.Errorf("the first: %+v", got)
	}
}

func TestSecondInstanceWithAnotherBusNameEndsToo(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	const taken = "xyz.openbmc_project.Ipmi.Channel.INTRABMC"
	c := connect(t, bus.Address)
	if _, err := c.RequestName(taken, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	d := launch(t, "--bus", bus.Address, "--config", configFile(t,
		channels(channel(newNode(t, "ipmb-5"), object{"bus-name": "INTRABMC"}))))
	if code := d.exit(t); code != 1 {
		t.Errorf("exit status %d", code)
	}
	d.logged(t, "bus name is taken: "+taken)
	if c.served(t) {
		t.Error("the service's own name is still owned")
	}
}
