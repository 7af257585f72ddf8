package systemd

import (
	"path/filepath"
	"strings"
	"testing"
)

// A lab has no udevd: udevadm test says what it would do about a device.
func TestDeviceThatAppearsStartsTheService(t *testing.T) {
	l := start(t)
	const devices = "/sys/devices/virtual/misc"
	l.run("mount", "-t", "tmpfs", "tmpfs", devices)
	for device, want := range map[string]bool{
		"ipmb-0": true, "ipmb-12": true, "ipmi-kcs3": true, "ipmi-bt-host": true, "ipmi-ssif-host": true,
		"ipmi0": false, "hpet": false,
	} {
		folder := filepath.Join(devices, device)
		l.write(folder+"/uevent", "MAJOR=10\nMINOR=255\nDEVNAME="+device+"\n")
		l.run("ln", "-s", "../../../../class/misc", folder+"/subsystem")
		said := l.run("env", "SYSTEMD_DEVICE_VERIFY_SYSFS=0", "udevadm", "test", "--action=add", folder)
		starts := strings.Contains(said, "SYSTEMD_WANTS=ipmbd.service") && strings.Contains(said, "TAGS=:systemd:")
		if starts != want {
			t.Errorf("%s: %v\n%s", device, starts, said)
		}
	}
}
