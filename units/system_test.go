package units

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tree is an installation below a directory of its own. systemd's tools look at nothing else.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range map[string]string{
		"usr/lib/systemd/system/ipmbd.service":    string(Unit),
		"usr/lib/systemd/system/ipmbd.socket":     string(Socket),
		"usr/lib/systemd/system/ipmbd-vm@.socket": string(VMSocket),
		"usr/lib/sysusers.d/ipmbd.conf":           string(Sysusers),
		"usr/lib/tmpfiles.d/ipmbd.conf":           string(Tmpfiles),
		"usr/lib/systemd/system/sockets.target":   "[Unit]\nDescription=stand-in\n",
		"usr/lib/systemd/system/sysinit.target":   "[Unit]\nDescription=stand-in\n",
		"usr/lib/systemd/system/basic.target":     "[Unit]\nDescription=stand-in\n",
		"usr/lib/systemd/system/shutdown.target":  "[Unit]\nDescription=stand-in\n",
		"usr/lib/systemd/system/dbus.socket":      "[Socket]\nListenStream=/run/dbus/system_bus_socket\nService=ipmbd.service\n",
	} {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"etc", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{"ipmbd", "ipmbctl"} {
		if err := os.WriteFile(filepath.Join(root, "usr/bin", program), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// tool runs one of systemd's programs and returns its output.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("not run: ", err)
	}
	output, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, output)
	}
	return string(output)
}

func TestUnitsVerify(t *testing.T) {
	// A misspelt setting is a warning to systemd, and no error.
	if said := tool(t, "systemd-analyze", "verify", "--root="+tree(t), "ipmbd.service", "ipmbd.socket", "ipmbd-vm@host0.socket"); said != "" {
		t.Error(said)
	}
}

// A socket must not listen where the service would fail to start.
func TestConditionsOfAllUnitsAreTheSame(t *testing.T) {
	conditions := func(unit []byte) string {
		return strings.Join(regexp.MustCompile(`(?m)^Condition.*$`).FindAllString(string(unit), -1), "\n")
	}
	want := conditions(Unit)
	for name, unit := range map[string][]byte{"ipmbd.socket": Socket, "ipmbd-vm@.socket": VMSocket} {
		if got := conditions(unit); got != want {
			t.Errorf("%s has\n%s\nipmbd.service has\n%s", name, got, want)
		}
	}
}

func TestSandboxIsWorthTheName(t *testing.T) {
	// systemd's measure of exposure, 0 to 10, here in tenths; an unprotected root
	// service has 9.6.
	said := tool(t, "systemd-analyze", "security", "--offline=yes", "--threshold=15", "--root="+tree(t), "ipmbd.service")
	if !strings.Contains(said, "ipmbd.service") {
		t.Error(said)
	}
}

// group matches the name of a group in a unit or a policy.
var group = regexp.MustCompile(`(?:SocketGroup=|<policy group=")([\w-]+)`)

func TestSysusersMakesTheGroupsThatAreNamed(t *testing.T) {
	root := tree(t)
	tool(t, "systemd-sysusers", "--root="+root)
	groups, err := os.ReadFile(filepath.Join(root, "etc/group"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"the policy": Policy, "ipmbd.socket": Socket, "ipmbd-vm@.socket": VMSocket} {
		named := group.FindSubmatch(text)
		if named == nil {
			t.Errorf("%s names no group", name)
		} else if !strings.Contains("\n"+string(groups), "\n"+string(named[1])+":") {
			t.Errorf("no group %s in:\n%s", named[1], groups)
		}
	}
}

func TestTmpfilesMakesTheFolderOfTheSockets(t *testing.T) {
	needsRoot(t)
	root := tree(t)
	tool(t, "systemd-tmpfiles", "--root="+root, "--create", "ipmbd.conf")
	folder, err := os.Stat(filepath.Join(root, "run/ipmbd"))
	if err != nil {
		t.Fatal(err)
	}
	if folder.Mode() != os.ModeDir|0o755 {
		t.Errorf("mode %v", folder.Mode())
	}
}

// The activation file must name what the policy opens and the unit that
// serves it.
func TestActivation(t *testing.T) {
	for _, line := range []string{"Name=" + Name, "SystemdService=ipmbd.service", "User=root"} {
		if !strings.Contains(string(Activation), "\n"+line+"\n") {
			t.Errorf("no line %s in:\n%s", line, Activation)
		}
	}
}

func TestDevicesThatStartTheService(t *testing.T) {
	rule := regexp.MustCompile(`(?m)^ACTION!="remove", KERNEL=="([^"]+)", TAG\+="systemd", ENV\{SYSTEMD_WANTS\}\+="ipmbd.service"$`).FindSubmatch(Rules)
	if rule == nil {
		t.Fatalf("no such rule in:\n%s", Rules)
	}
	patterns := strings.Split(string(rule[1]), "|")
	for node, want := range map[string]bool{
		"ipmb-0": true, "ipmb-12": true, "ipmi-kcs3": true, "ipmi-bt-host": true, "ipmi-ssif-host": true,
		"ipmi0": false, "ipmb": false, "i2c-1": false,
	} {
		got := slices.ContainsFunc(patterns, func(pattern string) bool {
			matches, err := filepath.Match(pattern, node)
			return err == nil && matches
		})
		if got != want {
			t.Errorf("%s: %v", node, got)
		}
	}
}
