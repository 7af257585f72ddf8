package inside

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
)

// timeLimit is how long an immediate action may take. The guest's processors are emulated and
// share the machine's with others.
const timeLimit = 20 * time.Second

// channel is a channel of a configuration.
type channel map[string]any

// daemon is an ipmbd on a message bus of its own, with a host daemon.
type daemon struct {
	*client.Client
	address string // of its message bus
	process *os.Process
	status  chan string // its messages to systemd
	ended   chan struct{}
}

// start starts a daemon for the channels and returns when all their buses are
// up.
func start(t *testing.T, channels ...channel) *daemon {
	t.Helper()
	d := launch(t, channels...)
	d.tells(t, " up")
	return d
}

// launch is start, but returns when the daemon is ready.
func launch(t *testing.T, channels ...channel) *daemon {
	t.Helper()
	return launchConfig(t, map[string]any{"channels": channels})
}

// launchConfig is launch with a whole configuration.
func launchConfig(t *testing.T, whole map[string]any) *daemon {
	t.Helper()
	bus := bustest.Start(t)
	serveHost(t, bus.Address)

	config, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "ipmbd.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{address: bus.Address, status: make(chan string, 64), ended: make(chan struct{})}
	notify := d.listen(t, filepath.Join(dir, "notify"))
	cmd := exec.Command("ipmbd", "--bus", bus.Address, "--config", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	var log strings.Builder // of a process that has ended when it is read
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.process = cmd.Process
	var end error
	go func() {
		defer close(d.ended)
		end = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = d.process.Signal(unix.SIGTERM)
		<-d.ended
		if end != nil {
			t.Errorf("ipmbd: %v", end)
		}
		if t.Failed() {
			t.Logf("ipmbd said:\n%s", &log)
		}
	})
	d.tells(t, "READY=1")

	if d.Client, err = client.Open(t.Context(), bus.Address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Client.Close() })
	return d
}

// listen takes systemd's place (sd_notify(3)) and returns its socket.
func (d *daemon) listen(t *testing.T, path string) string {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(b[:n])) {
				d.status <- strings.TrimSpace(line)
			}
		}
	}()
	return path
}

// tells waits until the daemon tells systemd a text.
func (d *daemon) tells(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(timeLimit)
	var told []string
	for {
		select {
		case line := <-d.status:
			if strings.Contains(line, text) {
				return
			}
			told = append(told, line)
		case <-d.ended:
			t.Fatalf("ipmbd has ended and told %q, and not %q", told, text)
		case <-deadline:
			t.Fatalf("ipmbd told %q, and not %q", told, text)
		}
	}
}

// ipmbctl runs the client for the daemon and returns its output.
func (d *daemon) ipmbctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ipmbctl", append([]string{"--bus", d.address}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("ipmbctl %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// statistics are the counters of all buses together.
func (d *daemon) statistics(t *testing.T) map[string]uint64 {
	t.Helper()
	endpoints, err := d.Endpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := map[string]uint64{}
	for _, e := range endpoints {
		if e.Bus == nil {
			continue
		}
		counters, err := d.Statistics(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		for name, n := range counters {
			sum[name] += n
		}
	}
	return sum
}

// memory is the resident memory in KiB.
func (d *daemon) memory(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(readText(t, filepath.Join("/proc", strconv.Itoa(d.process.Pid), "status"))) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatal("a process without VmRSS")
	return ""
}

// eventually waits until a condition holds, and fails with what it lacks.
func eventually(t *testing.T, condition func() (lacks string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		lacks := condition()
		if lacks == "" {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatal(lacks)
		}
	}
}
