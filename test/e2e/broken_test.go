package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/bustest"
)

// errnos are the errors of a broken disk, and of one that the daemon may not use.
var errnos = []syscall.Errno{unix.EACCES, unix.EPERM, unix.EROFS, unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.ENXIO, unix.ESTALE,
	unix.EMFILE, unix.ENOMEM}

// openedAtStart are the parts that the daemon opens at its start. At the paths, which are below the
// folder of the test, each of the calls fails.
var openedAtStart = []struct {
	name  string
	calls string
	paths []string
	fault string // begins the text in the list of faults; empty for none
}{
	{"the folder of the BMC", "openat,mkdirat", []string{"bmc"}, "bmc.folder: "},
	{"its journal", "openat", []string{"bmc/bmc.journal"}, "bmc.folder: "},
	{"its first journal", "openat", []string{"new", "new/bmc.journal.new"}, "bmc.folder: "},
	{"the folder of its first journal", "mkdirat", []string{"new"}, "bmc.folder: "},
	{"the file of a sensor", "openat", []string{"sensor"}, ""},
	{"the file of a FRU device", "openat", []string{"fru"}, ""},
	{"the device of a host", "openat", []string{"kcs"}, ""},
	{"another bus", "openat", []string{"ipmb-6"}, ""},
	{"all sockets that it listens on", "bind", nil, "frame-socket: "},
}

// TestOneBrokenPartAtTheStart: whatever the daemon opens at its start is broken, by each error in
// turn. It starts, its bus works, it names the fault, and it ends in order.
func TestOneBrokenPartAtTheStart(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("not run: needs strace")
	}
	for _, part := range openedAtStart {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			bus, n, folder := bustest.Start(t), listen(t, "ipmb-5"), socketDir(t)
			n.respond(0x2C, echo)
			path := func(name string) string { return filepath.Join(folder, name) }
			for _, name := range []string{"sensor", "fru", "kcs", "ipmb-6"} {
				if err := os.WriteFile(path(name), []byte("1"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			all := hosts([]object{{"type": "kcs", "name": "kcs3", "path": path("kcs")}},
				channel(n, nil), channel(n, object{"slave-path": path("ipmb-6"), "devIndex": 1, "transport": "ipmb-dev"}))
			all["frame-socket"] = path("frames")
			all["bmc"] = object{"folder": path("bmc"), "frus": []object{{"name": "Board", "file": path("fru")}},
				"sensors": []object{{"name": "Inlet", "number": 1, "type": 1, "max": 255, "file": path("sensor")}}}
			start(t, bus.Address, all).stopped(t) // which makes the journal
			if part.paths != nil && strings.HasPrefix(part.paths[0], "new") {
				all["bmc"].(object)["folder"] = path("new")
			}
			for _, errno := range errnos {
				args := []string{"-D", "-f", "--seccomp-bpf", "-qq", "-o", os.DevNull,
					"-e", "trace=" + part.calls, "-e", "inject=" + part.calls + ":error=" + unix.ErrnoName(errno)}
				for _, name := range part.paths {
					args = append(args, "-P", path(name))
				}
				args = append(args, program, "--dbus", bus.Address, "--config", configFile(t, all))
				d := launchCommand(t, exec.Command("strace", args...))
				said := d.ready(t)
				c := connect(t, bus.Address)
				if code, data := answered(t, c.send("bus5", 0x2C, 0x30, 0, 1, 7)); code != 0 || data[0] != 7 {
					t.Errorf("%s: the bus: %02Xh % X", errno, code, data)
				}
				value, err := c.Object(service, basePath).GetProperty(objectIface + ".Manager.Faults")
				if err != nil {
					t.Fatal(err)
				}
				faults := value.Value().([]string)
				if part.fault == "" && len(faults) > 0 || part.fault != "" &&
					(len(faults) != 1 || !strings.HasPrefix(faults[0], part.fault) || !strings.Contains(said, faults[0])) {
					t.Errorf("%s: faults %q, %s", errno, faults, said)
				}
				d.logged(t, errno.Error())
				d.stopped(t)
			}
		})
	}
}
