package systemd

import (
	"os"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/test/hostd"
)

// hostService is the host IPMI daemon, as OpenBMC calls it.
const hostService = "phosphor-ipmi-host.service"

// hostFiles are the files of the service of the host daemon for tests.
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

// The host daemon is killed and comes back in the middle of requests: each is answered once, by
// the host daemon or by ipmbd.
func TestHostDaemonThatIsKilledAgainAndAgain(t *testing.T) {
	l := startHosted(t)
	l.run("systemctl", "start", service)
	const kills, between = 5, 100
	kill, killed := make(chan struct{}, kills), make(chan struct{})
	go func() {
		defer close(killed)
		for range kill {
			if said, status := l.try("systemctl", "kill", "-s", "KILL", hostService); status != 0 {
				t.Error(said)
			}
		}
	}()
	served := 0
	ways := l.node.asks(t, func(i int) (ipmb.Frame, bool) {
		// Answered after 5 ms with data that no other request has.
		data := []byte{5, 0, byte(i), byte(i >> 8), byte(i >> 16)}
		return ipmb.Frame{NetFn: hostd.NetFn, Command: hostd.CommandDelay, Data: data}, served < (kills+1)*between
	}, func(request, answer ipmb.Frame) string {
		switch {
		case answer.Code == ipmi.CodeNoResponse && len(answer.Data) == 0:
			return "CEh"
		case answer.Code != 0 || string(answer.Data) != string(request.Data[2:]):
			return "wrong"
		}
		if served++; served%between == 0 && served <= kills*between {
			kill <- struct{}{}
		}
		return "answered"
	})
	close(kill)
	<-killed
	t.Logf("%d times killed: %v", kills, ways)
	if ways["CEh"] == 0 || len(ways) != 2 {
		t.Errorf("requests ended otherwise than by an answer or CEh: %v", ways)
	}
	if said := l.show(service, "NRestarts"); said != "0" {
		t.Errorf("%s restarts of ipmbd", said)
	}
}
