package systemd

import (
	"os"
	"testing"

	"ipmbd/test/hostd"
)

// hostService is the host IPMI daemon, as OpenBMC calls it.
const hostService = "phosphor-ipmi-host.service"

// hostFiles are what the service of the host daemon for tests needs.
func hostFiles(t testing.TB) files {
	t.Helper()
	path, err := hostd.Build()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return files{
		"usr/bin/hostd": string(program),
		"etc/systemd/system/" + hostService: `[Unit]
StartLimitIntervalSec=0

[Service]
Type=dbus
BusName=xyz.openbmc_project.Ipmi.Host
ExecStart=/usr/bin/hostd unix:path=` + systemBus + `
Restart=always
RestartSec=0
`,
		"etc/dbus-1/system.d/hostd.conf": `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy user="root"><allow own="xyz.openbmc_project.Ipmi.Host"/></policy></busconfig>
`,
	}
}

// startHosted is a board with a host daemon.
func startHosted(t testing.TB, more ...files) *lab {
	t.Helper()
	l := startBoard(t, append(more, hostFiles(t))...)
	l.run("chmod", "755", "/usr/bin/hostd")
	l.run("systemctl", "start", hostService)
	return l
}
