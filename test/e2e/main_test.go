package e2e

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
)

const (
	// patience is how long a test waits for what must happen. What takes that
	// long has failed; nothing is measured with it.
	patience = 30 * time.Second
	// atOnce is the most that something immediate may take on a busy machine.
	// Tests of it give the daemon time-outs that are longer.
	atOnce = 5 * time.Second
	// together is how many tests run at a time: they wait more than they work.
	together = "12"
)

// program is the daemon that is tested, tool the command line tool.
var program, tool string

// soakVariable says in the environment how long TestSoak takes. The daemon is built
// without the race detector then, whose memory is not the daemon's.
const soakVariable = "IPMBD_SOAK"

var soakTime, race = 8 * time.Second, true

func TestMain(m *testing.M) {
	if name := os.Getenv(outsiderVariable); name != "" {
		os.Exit(beOutsider(name))
	}
	flag.Parse()
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	// Tests run the program as another user, too.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	program, tool = filepath.Join(dir, "ipmbd"), filepath.Join(dir, "ipmbctl")
	if text := os.Getenv(soakVariable); text != "" {
		if soakTime, err = time.ParseDuration(text); err != nil {
			return 0, fmt.Errorf("%s: %w", soakVariable, err)
		}
		race = false
	}
	if err := errors.Join(readOrderBursts(), readWireRequests()); err != nil {
		return 0, err
	}
	build := exec.Command("go", "build", fmt.Sprintf("-race=%t", race), "-ldflags=-X main.version=1.2.3-test", "-o", dir, "ipmbd/cmd/ipmbd", "ipmbd/cmd/ipmbctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	if err := flag.Set("test.parallel", together); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// eventually waits for something to become true; what says in an error what
// that is.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	await.Until(t, patience, what, happened)
}

// receive takes the next value of a channel.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v in vain: %s", patience, what)
		panic("unreachable")
	}
}

// needsRoot is for tests in which somebody is another user, or does what only root may.
func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: this needs root")
	}
}

// socketDir is a directory for sockets, whose paths must be short.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// chmodSocket lets everybody connect to a socket.
func chmodSocket(path string) error { return os.Chmod(path, 0o777) }
