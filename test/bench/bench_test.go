package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipmbd/internal/testmain"
	"ipmbd/test/build"
)

func TestMain(m *testing.M) {
	if isPart(os.Args[1:]) {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(testmain.Main(m))
}

// bench runs the program in this process and returns its exit code and its output. All processes
// that it started must have ended.
func bench(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	mustHaveNoChildren(t)
	return code, out.String(), errs.String()
}

func buildIPMBD(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	if err := build.Daemon(dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "ipmbd")
}

// linkProgram puts a program of PATH into a folder.
func linkProgram(t *testing.T, dir, name string) {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func mustHaveNoChildren(t *testing.T) {
	t.Helper()
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("child processes are left: %d, %v", pid, err)
	}
}

func TestQuickRunMeasuresEverything(t *testing.T) {
	code, out, errs := bench(t, "-quick", "-ipmbd", buildIPMBD(t))
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, errs, out)
	}
	for _, want := range []string{
		"ipmb: Encode", "ipmb: Decode", "ipmb: Engine/1 in flight", "ipmbd / floor", "type ipmb",
		"ipmbd / C echo", "method of the bus / ipmbd", "ipmbd, frame socket", "frame socket / floor",
		"p50 with 1 in flight", "start to READY=1", "resident and idle",
		"from a virtual machine", "ipmbd, Unix socket", "ipmi_sim", // the latter's row, or that it is missing
		"through /dev/ipmi", "not measured",
		"ipmbd itself", "a registered handler", "the host IPMI daemon", "a node on another bus", "added to the p50",
		"the host IPMI daemon / C bridge", "GOMAXPROCS=1", "kept on one processor", "dbus-broker",
		"16 buses / one bus", "16 buses, slowest", "wake-ups per second", "the fast bus beside slow ones",
		"the slow buses, all together", "measured beside the goals",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	t.Log("\n" + out)
}

// writerFunc makes a function a Writer.
type writerFunc func(b []byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

func TestInterruptedRunEndsWhatItStarted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	onFirstPart := writerFunc(func([]byte) { interrupt() }) // before any process starts
	var errs bytes.Buffer
	code := run(ctx, []string{"-quick", "-ipmbd", buildIPMBD(t)}, onFirstPart, &errs)
	if code != 1 || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	mustHaveNoChildren(t)
}

func TestFailures(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no such daemon", []string{"-quick", "-ipmbd", "/nonexistent/ipmbd"}, 1, "make build"},
		{"a daemon that ends at once", []string{"-quick", "-run", "main", "-ipmbd", "/bin/false"}, 1, "ended"},
		{"no rounds", []string{"-rounds", "0"}, 2, "at least one round"},
		{"a wrong regexp", []string{"-run", "("}, 2, "missing closing"},
		{"no such dbus-broker", []string{"-ipmbd", "/bin/false", "-broker", "/nonexistent/dbus-broker"}, 1, "test/systemd/build"},
		{"an argument", []string{"fast"}, 2, "no arguments"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, _, errs := bench(t, tt.args...)
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Errorf("exit code %d, want %d; %q should contain %q", code, tt.code, errs, tt.want)
			}
		})
	}
}
