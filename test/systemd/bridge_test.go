package systemd

import (
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// ipmbbridge stands for OpenBMC's unit of that name.
var ipmbbridge = files{"etc/systemd/system/ipmb.service": "[Service]\nExecStart=/bin/sleep infinity\n"}

func TestInPlaceOfIPMBBridge(t *testing.T) {
	l := startBoard(t, ipmbbridge)
	states := func(bridges, ours string) {
		t.Helper()
		l.becomes("ipmb.service", "ActiveState", bridges)
		l.becomes(service, "ActiveState", ours)
	}
	l.run("systemctl", "start", "ipmb.service")
	l.run("systemctl", "start", service)
	states("inactive", "active")
	if said := l.send(); said != answered {
		t.Error(said)
	}
	l.run("systemctl", "start", "ipmb.service")
	states("active", "inactive")
	if said := l.send(); said != answered { // which starts the service
		t.Error(said)
	}
	states("inactive", "active")
}

// Another program has the name, and perhaps the devices.
func TestNameThatIsTaken(t *testing.T) {
	for bus, how := range buses {
		t.Run(bus, func(t *testing.T) {
			l := startBoard(t, how)
			other := l.dial("root")
			if reply, err := other.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
				t.Fatal(reply, err)
			}
			l.run("systemctl", "start", "--no-block", service)
			l.failed("exit-code")
			l.becomes(service, "NRestarts", "1")
			if said := l.run("journalctl", "-q", "-o", "cat", "-u", service); !strings.Contains(said, "waiting for a bus name") || strings.Contains(said, "bus state") {
				t.Errorf("it does not wait, or opens its buses:\n%s", said)
			}
			if said, status := l.try("ls", "/var/lib/ipmbd/bmc.journal"); status == 0 {
				t.Error(said)
			}
			if _, err := other.ReleaseName(name); err != nil {
				t.Fatal(err)
			}
			l.becomes(service, "ActiveState", "active")
			if said := l.send(); said != answered {
				t.Error(said)
			}
		})
	}
}
