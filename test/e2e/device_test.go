package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// idle is the most processor time in a second that does not count as a busy loop, which would take
// the whole second.
const idle = 300 * time.Millisecond

func TestPeerThatGoesTakesItsBusDownAndBringsItUp(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	hostd.Start(t, bus.Address)
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	d := start(t, bus.Address, channels(channel(n, unhurried)))
	c := connect(t, bus.Address)
	old, named := c.sendLegacy(1, 0x30, 0, 1), c.send("bus5", 0, 0x30, 0, 2)
	for range 2 {
		receive(t, "a request on the bus", asked)
	}

	begin := time.Now()
	n.stop()
	if got := legacyEnd(t, old); got.Status != 4 {
		t.Errorf("a call under way: %+v", got)
	}
	if got := errorName(end(t, named).Err); got != commonError+"Unavailable" {
		t.Errorf("a call under way: %s", got)
	}
	c.state(t, "bus5", "Down")
	d.status(t, "bus5 Down")
	if reason := c.property(t, "bus5", "StateReason").(string); !strings.Contains(reason, "ipmb-5") {
		t.Errorf("StateReason %q does not name the device", reason)
	}
	if got := c.legacy(t, 1, 0x30, 0, 1); got.Status != 4 {
		t.Errorf("a call while it is down: %+v", got)
	}
	if took := time.Since(begin); took > atOnce {
		t.Errorf("all that took %v", took)
	}
	if used := d.busyFor(t, time.Second); used > idle {
		t.Errorf("%v of processor time in a second of being down", used)
	}

	n.start(t)
	c.state(t, "bus5", "Up")
	d.status(t, "1 bus up")
	n.respond(0x2C, echo)
	if got := c.legacy(t, 1, 0x30, 0, 1, 0x66); got.Status != 0 || got.Data[0] != 0x66 {
		t.Errorf("a call when it is up again: %+v", got)
	}
	if code := n.code(t, toHost(1, hostd.CommandEcho)); code != 0 {
		t.Errorf("a request when it is up again: %02Xh", code)
	}
}

func TestStateIsToldBySignal(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, nil)))
	changes := connect(t, bus.Address).signals(t, "PropertiesChanged")
	told := func(state string) {
		for {
			changed := receive(t, "State "+state, changes).Body[1].(map[string]dbus.Variant)
			if v, ok := changed["State"]; ok && v.Value() == state {
				return
			}
		}
	}
	n.stop()
	told("Down")
	n.start(t)
	told("Up")
}

func TestPeerThatKeepsHangingUpMakesNoSpin(t *testing.T) {
	t.Parallel()
	bus, n, other := bustest.Start(t), newNode(t, "ipmb-5"), listen(t, "ipmb-6")
	n.hangsUp = true
	n.start(t)
	other.respond(0x2C, echo)
	d := start(t, bus.Address, channels(channel(n, nil), channel(other, object{"devIndex": 1})))
	c := connect(t, bus.Address)
	before := n.connections()
	if used := d.busyFor(t, time.Second); used > idle {
		t.Errorf("%v of processor time in a second", used)
	}
	if times := n.connections() - before; times > 10 {
		t.Errorf("connected %d times in a second", times)
	}
	if got := c.legacy(t, 5, 0x30, 0, 1); got.Status != 0 {
		t.Errorf("the other bus: %+v", got)
	}
}

// fill sends more to bus5 than a socket holds.
func fill(c client) {
	o := options{"timeout-ms": uint32(10), "tries": uint32(64)}
	for i := range byte(64) {
		c.sendWith("bus5", o, 0x2C, 0x30, i, make([]byte, 250)...)
	}
}

// TestPeerThatStopsReadingHoldsNobody: the socket fills, and a write stays in
// the kernel, as with a bus whose clock is held low.
func TestPeerThatStopsReadingHoldsNobody(t *testing.T) {
	t.Parallel()
	bus, n, other := bustest.Start(t), listen(t, "ipmb-5"), listen(t, "ipmb-6")
	n.respond(0x2C, silent)
	other.respond(0x2C, echo)
	start(t, bus.Address, channels(channel(n, object{"timeout-ms": 500, "tries": 3}), channel(other, object{"devIndex": 1})))
	c := connect(t, bus.Address)

	n.pause()
	fill(c)
	frames := func() uint64 { return c.statistics(t, "bus5")["frames-sent"] }
	for sent := uint64(0); sent != frames(); { // until no more go out
		sent = frames()
		held := c.send("bus5", 0x42, 0x30, 0, 1, make([]byte, 250)...)
		begin := time.Now()
		if end(t, held).Err == nil {
			t.Error("a call was answered")
		}
		if took := time.Since(begin); took > 1500*time.Millisecond+atOnce {
			t.Errorf("a call of 1.5 s took %v", took)
		}
		if got := c.legacy(t, 5, 0x30, 0, 1); got.Status != 0 {
			t.Errorf("the other bus meanwhile: %+v", got)
		}
	}
	c.state(t, "bus5", "Down")
	if reason := c.property(t, "bus5", "StateReason").(string); !strings.Contains(reason, "write") {
		t.Errorf("StateReason %q", reason)
	}
	begin := time.Now()
	if got := errorName(end(t, c.send("bus5", 0x42, 0x30, 0, 1)).Err); !strings.HasSuffix(got, ".WriteFailure") {
		t.Errorf("a call to the stalled bus: %s", got)
	}
	if got := c.legacy(t, 5, 0x30, 0, 1); got.Status != 0 {
		t.Errorf("the other bus: %+v", got)
	}
	if took := time.Since(begin); took > atOnce {
		t.Errorf("both took %v", took)
	}

	n.resume()
	c.state(t, "bus5", "Up")
	n.respond(0x44, echo)
	if code, _ := answered(t, c.send("bus5", 0x44, 0x30, 0, 1)); code != 0 {
		t.Errorf("when it reads again: %02Xh", code)
	}
}

func TestStalledPeerThatGoesIsReplaced(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	eventually(t, "a connection", func() bool { return n.connections() == 1 })
	n.pause()
	fill(c)
	c.state(t, "bus5", "Down")
	n.stop()
	n.resume()
	n.start(t)
	c.state(t, "bus5", "Up")
	n.respond(0x2C, echo)
	if got := c.legacy(t, 1, 0x30, 0, 0xFF); got.Status != 0 {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestBusThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	bus, there, missing := bustest.Start(t), listen(t, "ipmb-1"), newNode(t, "ipmb-2")
	for _, n := range []*node{there, missing} {
		n.respond(0x2C, echo)
	}
	d := launch(t, "--bus", bus.Address, "--config", configFile(t,
		channels(channel(there, nil), channel(missing, object{"devIndex": 1}))))
	if said := d.ready(t); !strings.Contains(said, "STATUS=2 buses, not up: bus2 Down") {
		t.Errorf("told systemd %q", said)
	}
	c := connect(t, bus.Address)
	if got := c.legacy(t, 1, 0x30, 0, 1, 5); got.Status != 0 {
		t.Errorf("the bus that is there: %+v", got)
	}
	if got := c.legacy(t, 5, 0x30, 0, 1, 5); got.Status != 4 {
		t.Errorf("the missing bus: %+v", got)
	}
	reason := c.property(t, "bus2", "StateReason").(string)
	if c.property(t, "bus2", "State") != "Down" || !strings.Contains(reason, missing.path) || !strings.Contains(reason, "no such file") {
		t.Errorf("StateReason %q", reason)
	}
	if used := d.busyFor(t, time.Second); used > idle {
		t.Errorf("%v of processor time in a second", used)
	}
	missing.start(t)
	c.state(t, "bus2", "Up")
	d.status(t, "STATUS=2 buses up")
	if got := c.legacy(t, 5, 0x30, 0, 1, 5); got.Status != 0 {
		t.Errorf("the bus that was missing: %+v", got)
	}
}
