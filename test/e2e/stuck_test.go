package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
)

// TestABusThatIsHeldLowEndsItsCalls: each write takes the adapter's second and fails.
// All of the 256 calls that a bus may have end, the bus is Degraded, and further calls
// end as well; another bus does not notice. When the bus is free it is Up again.
func TestABusThatIsHeldLowEndsItsCalls(t *testing.T) {
	t.Parallel()
	const each = 128 // calls of one program
	bus, other := bustest.Start(t), listen(t, "ipmb-6")
	other.respond(0x2C, echo)
	var device *terminal
	device = newTerminal(t, func(frame []byte) {
		if asked, ok := unpack(frame); ok && asked.to == 0x2C {
			device.write(asked.answer(0, asked.data...).bytes())
		}
	})
	a := &adapter{device: device.path}
	a.start(t, bus.Address, channels(device.channel("bus5", object{"handler": "none"}), channel(other, object{"devIndex": 1})))
	c := connect(t, bus.Address)
	if code, data := answered(t, c.send("bus5", 0x2C, 0x30, 0, 1, 7)); code != 0 || data[0] != 7 {
		t.Fatalf("while it is free: %02Xh % X", code, data)
	}

	a.low.Store(true)
	if os.Geteuid() == 0 { // All programs of another user have half of a bus together.
		runOutsider(t, 0, "calls", bus.Address, 1, each, 250, 6)
	}
	var calls []*dbus.Call
	for i := range each {
		calls = append(calls, c.send("bus5", absentResponder(i), 0x30, 0, byte(i)))
	}
	if got := connect(t, bus.Address).legacy(t, 5, 0x30, 0, 1, 9); got.Status != 0 || got.Data[0] != 9 {
		t.Errorf("the other bus: %+v", got)
	}
	ended := make(map[string]int)
	for _, call := range calls {
		ended[errorName(end(t, call).Err)]++
	}
	for name, n := range ended {
		if !strings.HasSuffix(name, ".WriteFailure") {
			t.Errorf("%d calls ended with %s", n, name)
		}
	}
	eventually(t, "the calls of another program to end", func() bool {
		s := c.statistics(t, "bus5")
		return s["calls-started"] == endsOf(s)
	})
	c.state(t, "bus5", "Degraded")
	if got := errorName(end(t, c.send("bus5", 0x2C, 0x30, 0, 1)).Err); !strings.HasSuffix(got, ".WriteFailure") {
		t.Errorf("a call to the bus that is held low: %s", got)
	}
	t.Logf("%d writes have failed", a.writes.Load())

	a.low.Store(false)
	eventually(t, "an answer when it is free again", func() bool { // The probe may be a call.
		how, _ := endOf(end(t, c.send("bus5", 0x2C, 0x30, 0, 1, 8)))
		return how == "answered"
	})
	c.state(t, "bus5", "Up")
}
