package systemd

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// packaged is a lab on which only the package can install ipmbd, with a
// configuration and a controller, or without.
type packaged struct {
	*lab
	deb string
}

// allowed lets packages start services. On a machine that is an image under construction a program
// here forbids that.
var allowed = files{"usr/sbin/policy-rc.d": ""}

func startPackaged(t *testing.T, more ...files) packaged {
	t.Helper()
	l := startLayers(t, []string{programs}, append(more, allowed)...)
	path, err := buildPackage()
	if err != nil {
		t.Fatal(err)
	}
	deb, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l.write("/tmp/ipmbd.deb", string(deb))
	// The index of all manual pages takes longer than all else.
	l.run("rm", "-f", "/var/lib/man-db/auto-update")
	return packaged{l, "/tmp/ipmbd.deb"}
}

// buildPackage makes the package for this machine.
var buildPackage = sync.OnceValues(func() (path string, err error) {
	arch, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		return "", err
	}
	build := exec.Command("packaging/deb", strings.TrimSpace(string(arch)))
	build.Dir = "../.."
	build.Stderr = os.Stderr
	said, err := build.Output()
	name, _, _ := strings.Cut(string(said), ": ")
	return "../../" + name, err
})

func (p packaged) install() { p.t.Helper(); p.run("dpkg", "-i", p.deb) }

// states are the states of the units that the package starts.
func (p packaged) states() string {
	p.t.Helper()
	said, _ := p.try("systemctl", "is-active", service, "ipmbd.socket", vmSocket)
	return strings.Join(strings.Fields(said), " ")
}

func TestPackage(t *testing.T) {
	p := startPackaged(t, files{configPath: config})
	p.node = p.controller(nodePath)

	p.install()
	if said, status := p.try("systemctl", "is-enabled", service, "ipmbd.socket"); status != 0 {
		t.Errorf("after the installation: %s", said)
	}
	p.run("systemctl", "enable", vmSocket)
	p.run("systemctl", "restart", service)
	if got := p.states(); got != "active active active" {
		t.Errorf("after the installation: %s", got)
	}
	p.becomes(service, "StatusText", allUp)
	if said := p.send(); said != answered {
		t.Errorf("a request with busctl: %s", said)
	}
	if said := p.run("ipmbctl", "list"); !regexp.MustCompile(`(?m)^bus0 .* Up$`).MatchString(said) {
		t.Errorf("ipmbctl list:\n%s", said)
	}

	before := p.show(service, "MainPID")
	p.install()
	if p.show(service, "MainPID") == before {
		t.Error("an upgrade leaves the old program running")
	}
	if got := p.states(); got != "active active active" {
		t.Errorf("after an upgrade: %s", got)
	}
	eventually(t, "the controller is reached after an upgrade", func() bool { return p.send() == answered })

	p.run("systemctl", "disable", "--now", service)
	p.install()
	if got := p.show(service, "ActiveState"); got != "inactive" {
		t.Errorf("what was disabled is %s after an upgrade", got)
	}
	p.run("systemctl", "enable", "--now", service)

	p.run("dpkg", "-r", "ipmbd")
	if got := p.states(); got != "inactive inactive inactive" {
		t.Errorf("after the removal: %s", got)
	}
	if said, status := p.try("ls", configPath, "/var/lib/ipmbd", "/run/ipmbd"); status == 0 || strings.Count(said, "cannot access") != 1 {
		t.Errorf("the removal is to keep the configuration and the log, and no more:\n%s", said)
	}
	p.run("dpkg", "-P", "ipmbd")
	p.leavesNothing()
}

// leavesNothing looks for files of the package, and for units that are known.
func (p packaged) leavesNothing() {
	p.t.Helper()
	left := strings.Fields(p.run("find", "/etc", "/usr", "/var", "/run", "-xdev", "-path", "/run/lab", "-prune", "-o", "-iname", "*ipmb*", "-print"))
	if len(left) > 0 {
		p.t.Errorf("a purge leaves:\n%s", strings.Join(left, "\n"))
	}
	if said, _ := p.try("systemctl", "list-unit-files", "--no-legend", "ipmbd*"); said != "" {
		p.t.Errorf("a purge leaves units:\n%s", said)
	}
}

// The first hour: install, look, plug a device in, look.
func TestPackageWithoutAConfiguration(t *testing.T) {
	p := startPackaged(t)
	p.install()
	if got := p.states(); got != "active active inactive" {
		t.Errorf("after the installation: %s", got)
	}
	var said string
	took(t, "the first ipmbctl list after the installation", func() { said = p.run("ipmbctl", "list") })
	for _, hint := range []string{"serves no bus", "ipmb_dev_int", `compatible = "ipmb-dev"`, "man ipmbd.json"} {
		if !strings.Contains(said, hint) {
			t.Errorf("ipmbctl list without a device does not say %q:\n%s", hint, said)
		}
	}

	p.node = p.controller(nodeOfBus0)
	plugged := regexp.MustCompile(`(?m)^bus0 +/dev/ipmb-0 +seqpacket +0 +0 +20h +- +Up$`)
	eventually(t, "ipmbctl list shows the device", func() bool { return plugged.MatchString(p.run("ipmbctl", "list")) })
	if said := p.send(); said != answered {
		t.Errorf("a request: %s", said)
	}
	if said, status := p.try("ipmbctl", "send", "bus0", "6", "1"); status == 0 || !strings.Contains(said, "remote-addr") {
		t.Errorf("a request to no address: %s", said)
	}

	p.write(configPath, config)
	p.run("systemctl", "restart", service)
	p.becomes(service, "StatusText", bus0Down)
	p.run("dpkg", "-P", "ipmbd")
	p.leavesNothing()
}
