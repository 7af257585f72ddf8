package systemd

import (
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

// timeLimit is how long a test waits for an event. A longer wait is a failure; nothing is measured
// with it.
const timeLimit = 30 * time.Second

// programsVariable names the folder that test/systemd/build has made.
const programsVariable = "IPMBD_TEST_SYSTEMD"

var (
	programs = os.Getenv(programsVariable)
	// installed is the result of make install.
	installed string
)

func TestMain(m *testing.M) {
	flag.Parse()
	if programs == "" {
		if err := flag.Set("test.run", "^TestWithoutLab$"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	os.Exit(build.Main(m, func(dir string) error {
		installed = filepath.Join(dir, "installed")
		install := exec.Command("make", "--no-print-directory", "-C", "../..", "install", "DESTDIR="+installed)
		if out, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("make install: %w\n%s", err, out)
		}
		return nil
	}))
}

// All other tests need a lab.
func TestWithoutLab(t *testing.T) {
	if programs == "" {
		t.Skip("the tests of this package need a systemd of their own: make test-systemd")
	}
}

// eventually waits for something to become true; what says in an error what that
// is.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	await.Until(t, timeLimit, what, happened)
}

// took prints how long a step of a story takes.
func took(t testing.TB, what string, step func()) {
	t.Helper()
	begin := time.Now()
	step()
	t.Logf("%-60s %6.1f ms", what, float64(time.Since(begin).Microseconds())/1000)
}
