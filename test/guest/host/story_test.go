package host

import (
	"fmt"
	"testing"
)

// TestSystemInterfaces: a machine finds the built-in BMC behind its interface, and
// behind that the satellite.
func TestSystemInterfaces(t *testing.T) {
	for _, kind := range []systemInterface{kcs, bt, pciKCS, pciBT} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			d := start(t, 1)
			m := bootHosts(t, d, kind)[0]
			t.Run("the driver probes", m.probed)
			for _, c := range commands {
				t.Run(c.line, func(t *testing.T) { m.has(t, c) })
			}
			t.Run("an event of the satellite", func(t *testing.T) { m.hearsOf(t, d.satellites[0], 0x31) })
			t.Run("idle", m.isIdle)
			t.Run("the daemon crashes", func(t *testing.T) { m.outlives(t, d) })
			t.Run("idle again", m.isIdle)
		})
	}
}

// statistics is a count of the driver's.
func (m *machine) statistics(t *testing.T, name string) int {
	t.Helper()
	return m.number(t, "cat /sys/class/ipmi/ipmi0/device/"+name)
}

// hearsOf checks that an event of a sensor reaches the log, and through the event message buffer
// the machine's driver.
func (m *machine) hearsOf(t *testing.T, s *satellite, sensor byte) {
	t.Helper()
	before := m.statistics(t, "events")
	if code := s.event(t, sensor); code != 0 {
		t.Errorf("the event was answered %v", code)
	}
	eventually(t, "the driver to fetch the event", func() bool { return m.statistics(t, "events") > before })
	// ipmitool is the first program that asks the driver for events, and gets this one, too.
	m.has(t, command{"ipmitool sel list", 0, fmt.Sprintf("Temperature #0x%02x | Upper Critical going high | Asserted", sensor)})
}

// maxIdle is how often the driver may ask in 2 s. It does so once in a second while a program
// waits for events.
const maxIdle = 20

// isIdle checks that the driver has nothing to ask: a message flag or an attention
// that stays makes it ask thousands of times in a second.
func (m *machine) isIdle(t *testing.T) {
	t.Helper()
	before := m.statistics(t, "complete_transactions")
	m.prints(t, "sleep 2")
	if asked := m.statistics(t, "complete_transactions") - before; asked > maxIdle {
		t.Errorf("an idle machine has asked %d times in 2 s", asked)
	}
}

// outlives checks that the machine goes on when the daemon is killed while it is
// asked, and started again.
func (m *machine) outlives(t *testing.T, d *daemon) {
	t.Helper()
	m.prints(t, "while [ ! -e /tmp/enough ]; do if ipmitool raw 6 1; then echo answered; else echo refused; usleep 50000; fi; done >/tmp/load 2>&1 &")
	m.eventually(t, "[ $(grep -c answered /tmp/load) -ge 5 ]")
	d.crash(t, func() { m.eventually(t, "[ $(grep -c refused /tmp/load) -ge 2 ]") })
	m.prints(t, ": >/tmp/load")
	m.eventually(t, "[ $(grep -c answered /tmp/load) -ge 5 ]")
	m.prints(t, "touch /tmp/enough")
	m.has(t, command{"ipmitool mc info", 0, "Device ID : 32"})
	m.has(t, command{"ipmitool -b 0 -t 0x82 raw 6 1", 0, "50 01 01 04 02 20 57 01 00 01 00"})
}
