package host

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ipmbd/internal/await"
	"ipmbd/test/build"
)

// timeLimit is how long a test waits for what must happen. The processors of the
// machines are emulated and share the real ones with others; nothing is measured
// with it.
const timeLimit = 60 * time.Second

// fixtureVariable names the folder that test/guest/x86/build has made.
const fixtureVariable = "IPMBD_TEST_MACHINE"

var (
	fixture = os.Getenv(fixtureVariable)
	program string // the daemon that is tested
	initrd  string // of the machines, with the daemon and the client in it
)

func TestMain(m *testing.M) {
	flag.Parse()
	if fixture == "" {
		if err := flag.Set("test.run", "^TestWithoutMachines$"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	os.Exit(build.Main(m, func(dir string) error {
		root := filepath.Join(dir, "root")
		program, initrd = filepath.Join(root, "bin", "ipmbd"), filepath.Join(dir, "initrd")
		// They run in a machine, too.
		return errors.Join(build.Daemon(filepath.Join(root, "bin"), "-trimpath", "-ldflags=-s -w"), addToInitrd(root))
	}))
}

// All other tests need virtual machines.
func TestWithoutMachines(t *testing.T) {
	if fixture == "" {
		t.Skip("the tests of this package need virtual machines: make test-guest")
	}
}

// addToInitrd makes the machines' initrd: the fixture's, and a folder in an archive
// behind it, which Linux unpacks as well.
func addToInitrd(root string) error {
	archive := exec.Command("sh", "-c", "find . | cpio -o -H newc --quiet -R 0:0")
	archive.Dir = root
	added, err := archive.Output()
	if err != nil {
		return fmt.Errorf("cpio: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(fixture, "initrd"))
	if err != nil {
		return err
	}
	return os.WriteFile(initrd, append(b, added...), 0o600)
}

// eventually waits for something to become true; what says in an error what that
// is.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	await.Until(t, timeLimit, what, happened)
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
