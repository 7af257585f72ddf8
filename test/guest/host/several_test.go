package host

import (
	"fmt"
	"testing"
)

// TestTwoMachines: each has an interface with a queue, flags and a bus of its own.
func TestTwoMachines(t *testing.T) {
	t.Parallel()
	d := start(t, 2)
	machines := bootHosts(t, d, kcs, bt)
	for _, m := range machines {
		m.prints(t, "for i in $(seq 20); do ipmitool -b 0 -t 0x82 raw 6 1; done >/tmp/answers 2>&1 && touch /tmp/done &")
	}
	for i, m := range machines {
		m.eventually(t, "[ -e /tmp/done ]")
		// The one before the last byte is the product's.
		m.has(t, command{fmt.Sprintf("grep -c '50 01 01 04 02 20 57 01 00 %02x 00' /tmp/answers", i+1), 0, "20"})
	}
	before := machines[1].statistics(t, "events")
	machines[0].hearsOf(t, d.satellites[0], 0x31)
	if machines[1].statistics(t, "events") != before {
		t.Error("the other machine was told of the event")
	}
	machines[1].hearsOf(t, d.satellites[1], 0x32)
}
