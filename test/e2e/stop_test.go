package e2e

import (
	"syscall"
	"testing"
	"time"

	"ipmbd/internal/bustest"
)

func TestStopDoesNotWaitForTheSilent(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	d := start(t, bus.Address, channels(channel(n, object{"timeout-ms": 60000})))
	c := connect(t, bus.Address)
	c.sendLegacy(1, 0x30, 0, 1)
	c.send("bus5", 0, 0x30, 0, 2)
	for range 2 {
		receive(t, "a request on the bus", asked)
	}
	begin := time.Now()
	d.signal(syscall.SIGTERM)
	if code := d.exit(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if took := time.Since(begin); took < 1900*time.Millisecond || took > 2*time.Second+atOnce {
		t.Errorf("stopped after %v, not about 2 s", took)
	}
}

func TestStopWithNothingToDoIsQuick(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	d := start(t, bus.Address, channels(channel(n, nil), channel(newNode(t, "ipmb-6"), object{"devIndex": 1})))
	begin := time.Now()
	d.signal(syscall.SIGTERM)
	d.exit(t)
	if took := time.Since(begin); took > 1500*time.Millisecond {
		t.Errorf("took %v", took)
	}
	d.status(t, "STOPPING=1")
}

func TestStopAtAStalledBusIsNotHeld(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	d := start(t, bus.Address, channels(channel(n, nil)))
	c := connect(t, bus.Address)
	eventually(t, "a connection", func() bool { return n.connections() == 1 })
	n.pause()
	defer n.resume()
	fill(c)
	c.state(t, "bus5", "Down")
	d.stopped(t)
}
