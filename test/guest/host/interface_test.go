package host

import (
	"strings"
	"testing"
)

// systemInterface is one that QEMU has.
type systemInterface struct {
	name   string
	device string // QEMU's
	driver string // commands that load Linux's
}

const (
	loadSI = "modprobe ipmi_devintf && modprobe ipmi_si"
	// The driver gives up when an answer is late.
	loadSSIF = "modprobe ipmi_devintf && modprobe i2c-i801 && " +
		"for try in 1 2 3 4 5; do modprobe ipmi_ssif; usleep 200000; [ -e /dev/ipmi0 ] && break; modprobe -r ipmi_ssif; done"
)

var (
	kcs    = systemInterface{"kcs", "isa-ipmi-kcs", loadSI}
	bt     = systemInterface{"bt", "isa-ipmi-bt", loadSI}
	pciKCS = systemInterface{"pci-kcs", "pci-ipmi-kcs", loadSI}
	pciBT  = systemInterface{"pci-bt", "pci-ipmi-bt", loadSI}
	ssif   = systemInterface{"ssif", "smbus-ipmi,address=0x10", loadSSIF}
)

// bootHosts boots a machine at each of a daemon's interfaces, together, and loads
// their drivers.
func bootHosts(t *testing.T, d *daemon, kinds ...systemInterface) []*machine {
	t.Helper()
	var machines []*machine
	for i, kind := range kinds {
		machines = append(machines, boot(t, kind, d.sockets[i]))
	}
	for i, m := range machines {
		m.until(t, "boot", readyLine)
		// The driver gives up without a BMC.
		eventually(t, "the connections of the machines", func() bool { return d.hosts() >= len(kinds) })
		m.loads(t, kinds[i])
	}
	return machines
}

// loads loads the driver of an interface.
func (m *machine) loads(t *testing.T, kind systemInterface) {
	t.Helper()
	m.prints(t, kind.driver)
	m.eventually(t, "[ -e /dev/ipmi0 ]")
}

// errorLevel is the least urgent level of errors among the kernel's messages
// (include/linux/kern_levels.h), as dmesg -r has it.
const errorLevel = '3'

// probed checks that the driver found the BMC without an error.
func (m *machine) probed(t *testing.T) {
	t.Helper()
	found := m.prints(t, "dmesg -r | grep -i ipmi")
	if !strings.Contains(found, "Found new BMC (man_id: 0x000157, prod_id: 0x000b, dev_id: 0x20)") {
		t.Errorf("the driver found no BMC:\n%s", found)
	}
	for line := range strings.Lines(found) {
		if line[0] == '<' && line[1] <= errorLevel {
			t.Errorf("an error of the driver: %s", line)
		}
	}
}
