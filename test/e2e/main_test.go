package e2e

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"ipmbd/internal/await"
	"ipmbd/internal/testmain"
	"ipmbd/test/build"
)

const (
	// timeLimit is how long a test waits for an event. A longer wait is a failure; nothing is
	// measured with it.
	timeLimit = 30 * time.Second
	// atOnce is the most time that an immediate action may take on a busy machine. Its tests give
	// the daemon longer time-outs.
	atOnce = 5 * time.Second
	// together is how many tests run at a time: they wait more than they work.
	together = "12"
)

// program is the daemon that is tested, tool the command line tool.
var program, tool string

// soakVariable in the environment says how long TestSoak takes. Then the daemon is built without
// the race detector, because that uses memory of its own.
const soakVariable = "IPMBD_SOAK"

var soakTime, race = time.Duration(testmain.Amount(3, 8)) * time.Second, true

// seedVariable in the environment is the number from which chance is derived.
const seedVariable = "IPMBD_SEED"

var seed = rand.Uint64()

func TestMain(m *testing.M) {
	if name := os.Getenv(outsiderVariable); name != "" {
		os.Exit(beOutsider(name))
	}
	flag.Parse()
	os.Exit(build.Main(m, prepare))
}

// prepare reads the environment and builds the programs.
func prepare(dir string) (err error) {
	if text := os.Getenv(soakVariable); text != "" {
		if soakTime, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%s: %w", soakVariable, err)
		}
		race = false
	}
	if text := os.Getenv(seedVariable); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return fmt.Errorf("%s: %w", seedVariable, err)
		}
	}
	if err := errors.Join(readOrderBursts(), readWireRequests(), flag.Set("test.parallel", together)); err != nil {
		return err
	}
	program, tool = filepath.Join(dir, "ipmbd"), filepath.Join(dir, "ipmbctl")
	flags := []string{"-ldflags=-X main.version=1.2.3-test"}
	if race {
		flags = append(flags, "-race")
	}
	return build.Daemon(dir, flags...)
}

// chance is a source of numbers for random choices of a test. Several goroutines may use it. A
// test that fails says how to get the same numbers again.
func chance(t testing.TB) *rand.Rand {
	t.Helper()
	t.Logf("with the numbers of %s=%d", seedVariable, seed)
	name := fnv.New64()
	name.Write([]byte(t.Name()))
	return rand.New(&lockedSource{source: rand.NewPCG(seed, name.Sum64())})
}

// lockedSource is a source that several goroutines may use.
type lockedSource struct {
	mu     sync.Mutex
	source rand.Source
}

func (l *lockedSource) Uint64() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Uint64()
}

// eventually waits for something to become true; what says in an error what
// that is.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	await.Until(t, timeLimit, what, happened)
}

// receive takes the next value of a channel.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	return await.Receive(t, timeLimit, what, from)
}

// needsRoot is for tests in which a client is another user, or has rights of root.
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
