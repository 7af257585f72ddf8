package host

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. The processors of the
// machines are emulated and share the real ones with others; nothing is measured
// with it.
const patience = 60 * time.Second

// fixtureVariable names the folder that test/guest/x86/build has made.
const fixtureVariable = "IPMBD_TEST_MACHINE"

var (
	fixture = os.Getenv(fixtureVariable)
	program string // the daemon that is tested
)

func TestMain(m *testing.M) {
	flag.Parse()
	if fixture == "" {
		if err := flag.Set("test.run", "^TestWithoutMachines$"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		code = 1
	}
	os.Exit(code)
}

// All other tests need virtual machines.
func TestWithoutMachines(t *testing.T) {
	if fixture == "" {
		t.Skip("the tests of this package need virtual machines: make test-guest")
	}
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "host")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "ipmbd")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", program, "ipmbd/cmd/ipmbd").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// eventually waits for something to become true; what says in an error what that
// is.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	end := time.After(patience)
	for !happened() {
		select {
		case <-again.C:
		case <-end:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// socketDir is a directory for sockets, whose paths must be short.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "host")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
