package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lab is a running systemd. It ends with its test.
type lab struct {
	t   testing.TB
	pid int // of its process 1
	log bytes.Buffer

	node controller // of a board
}

// files are texts of files by path, to be laid over the machine's.
type files map[string]string

// accounts are users of each sort: one that may send, one that may be a machine.
const accounts = "u sender -:ipmbd\nu machine -:ipmbd-vm\n"

// broker makes dbus-broker the system bus, as its package does.
var broker = files{"etc/systemd/system/dbus.service": brokerUnit()}

func brokerUnit() string {
	unit, _ := os.ReadFile(filepath.Join(programs, "usr/lib/systemd/system/dbus-broker.service"))
	return string(unit)
}

// buses are the message buses that OpenBMC and Debian have.
var buses = map[string]files{"dbus-daemon": {}, "dbus-broker": broker}

// start starts a lab with an installation of ipmbd, and with more files.
func start(t testing.TB, more ...files) *lab {
	t.Helper()
	return startLayers(t, []string{installed, programs}, append(more, files{"usr/lib/sysusers.d/lab.conf": accounts})...)
}

// startLayers starts a lab with folders laid over the machine's, and files over
// those.
func startLayers(t testing.TB, folders []string, top ...files) *lab {
	t.Helper()
	l := &lab{t: t}
	cmd := exec.Command("./init", append([]string{layer(t, top...)}, folders...)...)
	cmd.Stdout, cmd.Stderr = &l.log, &l.log
	group := controlGroup(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
		// The root of the lab's control groups is the group in which it starts.
		UseCgroupFD: true,
		CgroupFD:    int(group.Fd()),
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.pid = cmd.Process.Pid
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := l.try("journalctl", "--no-pager", "-q", "-o", "short-precise", "-n", "100")
			t.Logf("the lab's journal:\n%s", out)
		}
		_ = cmd.Process.Kill() // and with it all there is in the lab
		<-ended
	})
	eventually(t, "systemd is running", func() bool {
		select {
		case <-ended:
			t.Fatalf("systemd did not come up:\n%s", l.log.String())
		default:
		}
		out, _ := l.try("systemctl", "is-system-running")
		return out == "running" || out == "degraded"
	})
	l.run("systemctl", "is-active", "lab.target")
	return l
}

// layer writes files into a folder of their own.
func layer(t testing.TB, list ...files) string {
	t.Helper()
	dir := t.TempDir()
	for _, texts := range list {
		for name, text := range texts {
			writeFile(t, filepath.Join(dir, name), text)
		}
	}
	return dir
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// path is a path in the lab as it is seen from outside.
func (l *lab) path(path string) string { return fmt.Sprintf("/proc/%d/root%s", l.pid, path) }

// write writes a file in the lab.
func (l *lab) write(path, text string) {
	l.t.Helper()
	writeFile(l.t, l.path(path), text)
}

// command is a program run in the lab by root.
func (l *lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(l.pid), "-m", "-p", "-u", "-i", "-C", "--"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", "LC_ALL=C.UTF-8"}
	return cmd
}

// try runs a program and returns its output and its exit status.
func (l *lab) try(args ...string) (said string, status int) {
	l.t.Helper()
	out, err := l.command(args...).CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		l.t.Fatal(err)
	}
	if failed != nil {
		status = failed.ExitCode()
	}
	return strings.TrimSpace(string(out)), status
}

// run runs a program that must end with status 0.
func (l *lab) run(args ...string) string {
	l.t.Helper()
	said, status := l.try(args...)
	if status != 0 {
		l.t.Fatalf("%s: exit status %d\n%s", strings.Join(args, " "), status, said)
	}
	return said
}

// show is a property of a unit.
func (l *lab) show(unit, property string) string {
	l.t.Helper()
	return l.run("systemctl", "show", "--value", "-p", property, unit)
}

// becomes waits until a property of a unit has a value.
func (l *lab) becomes(unit, property, value string) {
	l.t.Helper()
	eventually(l.t, fmt.Sprintf("%s of %s is %s", property, unit, value), func() bool { return l.show(unit, property) == value })
}

// logged waits until the service has logged a text.
func (l *lab) logged(text string) {
	l.t.Helper()
	eventually(l.t, text+" in the journal", func() bool {
		said, _ := l.try("journalctl", "-q", "-o", "cat", "-u", "ipmbd.service")
		return strings.Contains(said, text)
	})
}

// controlGroup makes a control group that ends with the test.
func controlGroup(t testing.TB) *os.File {
	t.Helper()
	dir := filepath.Join(unified(t), fmt.Sprintf("ipmbd-lab-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		eventually(t, dir+" is removed", func() bool { return removeGroups(dir) == nil })
	})
	return f
}

// removeGroups removes a control group and the groups below it, with their files.
func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeGroups(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(dir)
}

// unified is the folder of the control group that this process is in, of the
// unified hierarchy (cgroups(7)), wherever that is mounted.
func unified(t testing.TB) string {
	t.Helper()
	var mounted, group string
	for _, line := range lines(t, "/proc/self/mountinfo") {
		// proc(5): the fifth field is the mount point, and the type comes after " - ".
		if fields := strings.Fields(line); strings.Contains(line, " - cgroup2 ") {
			mounted = fields[4]
		}
	}
	for _, line := range lines(t, "/proc/self/cgroup") {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			group = path
		}
	}
	if mounted == "" {
		t.Fatal("the unified hierarchy of control groups is not mounted")
	}
	return filepath.Join(mounted, group)
}

func lines(t testing.TB, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}
