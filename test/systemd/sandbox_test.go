package systemd

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ipmbd/units"
)

// daemon is the process of the service as seen from outside: a folder of /proc.
func (l *lab) daemon() string {
	l.t.Helper()
	return l.path("/proc/" + l.show(service, "MainPID"))
}

// descriptors is how many the service has open.
func (l *lab) descriptors() int {
	l.t.Helper()
	open, err := os.ReadDir(l.daemon() + "/fd")
	if err != nil {
		l.t.Fatal(err)
	}
	return len(open)
}

func TestDaemonHasNoPrivileges(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", service)
	status, err := os.ReadFile(l.daemon() + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Uid:\t0\t0\t0\t0`, `CapInh:\t0+`, `CapPrm:\t0+`, `CapEff:\t0+`, `CapBnd:\t0+`, `CapAmb:\t0+`, `NoNewPrivs:\t1`, `Seccomp:\t2`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).Match(status) {
			t.Errorf("no line %s in:\n%s", want, status)
		}
	}
	its, err := os.Readlink(l.daemon() + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if machines, _ := os.Readlink("/proc/self/ns/net"); its == machines {
		t.Error("it is in the machine's network")
	}
}

// In place of an error, a system call that is not allowed ends the process here.
func TestSystemCallsThatAreNeededAreAllowed(t *testing.T) {
	for systemd, filter := range map[string]string{
		"of this machine": "",
		"247":             "SystemCallFilter=~" + strings.Join(newSystemCalls(t), " ") + "\n",
	} {
		t.Run("systemd "+systemd, func(t *testing.T) {
			usesAll(t, startBoard(t, dropIn(service, "[Service]\nSystemCallErrorNumber=kill\n"+filter)))
		})
	}
}

// newSystemCalls are those that the unit allows here and not with systemd 247,
// Debian 11's, whose sets of system calls have fewer.
func newSystemCalls(t *testing.T) []string {
	t.Helper()
	then := map[string][]string{}
	for line := range strings.Lines(strings.ReplaceAll(readFile(t, "testdata/systemd-247"), "\n\t", " ")) {
		words := strings.Fields(line)
		then[words[0]] = words[1:]
	}
	allowed := []string{"@default"} // always
	for _, filter := range regexp.MustCompile(`(?m)^SystemCallFilter=(.*)$`).FindAllStringSubmatch(string(units.Unit), -1) {
		allowed = append(allowed, strings.Fields(filter[1])...)
	}
	var here, old []string
	for _, each := range allowed {
		if !strings.HasPrefix(each, "@") {
			old = append(old, each)
			continue
		}
		if then[each] == nil {
			t.Fatalf("testdata/systemd-247 has no %s", each)
		}
		old = append(old, then[each]...)
		said, err := exec.Command("systemd-analyze", "syscall-filter", each).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(said)) {
			if call, ok := strings.CutPrefix(line, "    "); ok && !strings.HasPrefix(call, "#") {
				here = append(here, strings.TrimSpace(call))
			}
		}
	}
	added := slices.DeleteFunc(here, func(call string) bool { return slices.Contains(old, call) })
	if !slices.Contains(added, "futex_waitv") {
		t.Fatalf("systemd has had futex_waitv since 251, and these are new: %v", added)
	}
	return added
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// usesAll has the service use all its rights.
func usesAll(t *testing.T, l *lab) {
	t.Helper()
	l.run("systemctl", "start", vmSocket, service)
	m := l.boot(vmPath)
	m.asks()
	if said := l.send(); said != answered {
		t.Error(said)
	}
	// An event, which is kept in the BMC's folder: Add SEL Entry.
	m.says(0x02, 0x28, 0x44, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x04, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x69, 0xA0)
	m.hears(0x02, 0x2C, 0x44, 0x00)
	l.run("busctl", "introspect", name, string(bus0))
	l.run("busctl", "call", name, string(base), "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
	_, _ = l.try("busctl", "call", name, string(bus0), name, "bind")
	_, _ = l.try("busctl", "set-property", name, string(bus0), name, "OwnAddress", "y", "0x30")
	l.run("systemctl", "reload", service)
	l.run("systemctl", "stop", service)
	if got := l.show(service, "Result"); got != "success" {
		t.Errorf("result %s", got)
	}
	if got := l.show(service, "NRestarts"); got != "0" {
		t.Errorf("%s restarts", got)
	}
}

// The BMC's state outlives the process, in a folder that no other user may read.
func TestFolderOfTheBMC(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", service)
	if got := l.run("stat", "-c", "%A %U:%G", "/var/lib/ipmbd"); got != "drwx------ root:root" {
		t.Error(got)
	}
}

// The rules for devices are the control group's: they apply to every process in it.
func TestDevicesThatMayBeOpened(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", service)
	for _, device := range []struct {
		name         string
		major, minor int
		allowed      bool
	}{
		{"ipmb-9", 10, 255, true}, // misc; no driver has the minor
		{"i2c-9", 89, 9, true},    // the driver need not be there at the start
		{"mem", 1, 1, false},
		{"kmsg", 1, 11, false},
		{"watchdog9", 249, 9, false},
	} {
		path := "/dev/" + device.name
		l.run("mknod", path, "c", fmt.Sprint(device.major), fmt.Sprint(device.minor))
		said, status := l.try("sh", "-c", "echo $$ >/sys/fs/cgroup/system.slice/ipmbd.service/cgroup.procs && exec 3<>"+path)
		// The allowed devices have no driver here.
		if refused := strings.Contains(said, "not permitted"); refused == device.allowed || status == 0 {
			t.Errorf("%s: %s", device.name, said)
		}
	}
}

// The recipe for Yocto makes a position-independent program. Its C library may need other system
// calls than Go does.
func TestPositionIndependentProgram(t *testing.T) {
	recipe := strings.Join(lines(t, "../../packaging/yocto/recipes-phosphor/ipmi/ipmbd_git.bb"), "\n")
	value := func(variable string) string {
		found := regexp.MustCompile(`(?m)^` + variable + ` = " ?(.*)"$`).FindStringSubmatch(recipe)
		if found == nil {
			t.Fatalf("the recipe has no %s", variable)
		}
		return found[1]
	}
	image := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-buildmode=pie", value("GOBUILDFLAGS:append"),
		"-ldflags="+value("GO_LINKMODE:class-target")+" -extldflags="+value("GO_EXTLDFLAGS:append:class-target"),
		"-o", filepath.Join(image, "usr/bin/")+"/", "../../cmd/ipmbd", "../../cmd/ipmbctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program, err := elf.Open(filepath.Join(image, "usr/bin/ipmbd"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	isLoader := func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }
	if program.Type != elf.ET_DYN || slices.ContainsFunc(program.Progs, isLoader) {
		t.Errorf("the program is %v, or has a dynamic loader", program.Type)
	}
	l := startLayers(t, []string{image, installed, programs}, files{configPath: config})
	l.node = l.controller(nodePath)
	l.run("systemctl", "start", service)
	if said := l.send(); said != answered {
		t.Errorf("a request: %s", said)
	}
}
