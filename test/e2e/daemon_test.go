package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// nobody is the user with the fewest rights.
const nobody = 65534

// object is a JSON object.
type object = map[string]any

// channel is a channel of type me at a node, with more keys or others.
func channel(n *node, keys object) object {
	c := object{"type": "me", "slave-path": n.path, "remote-addr": 0x2C}
	for key, value := range keys {
		c[key] = value
	}
	return c
}

// channels is a configuration.
func channels(list ...object) object { return object{"channels": list} }

// daemon is a running ipmbd.
type daemon struct {
	cmd    *exec.Cmd
	notify chan string // its messages to systemd
	stdout strings.Builder
	stderr log
	done   chan struct{} // closed when the process has ended
	file   string        // has all of stderr, if the test fails
}

// start runs the daemon with a configuration and waits until it is ready. The daemon ends with its
// test, which fails if the end is not orderly.
func start(t testing.TB, address string, config object, flags ...string) *daemon {
	t.Helper()
	d := launch(t, append([]string{"--bus", address, "--config", configFile(t, config)}, flags...)...)
	d.ready(t)
	return d
}

// configFile writes a configuration.
func configFile(t testing.TB, config object) string {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "ipmbd.json", string(text))
}

// writeFile writes a file that everybody may read.
func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(socketDir(t), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// launch runs the program. If it still runs when the test ends, SIGTERM must
// end it with status 0.
func launch(t testing.TB, args ...string) *daemon {
	t.Helper()
	return launchAs(t, os.Geteuid(), args...)
}

// launchAs is launch as another user.
func launchAs(t testing.TB, uid int, args ...string) *daemon {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = new(syscall.SysProcAttr)
	if uid != os.Geteuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return launchCommand(t, cmd)
}

// launchCommand is launch of a command that becomes the program.
func launchCommand(t testing.TB, cmd *exec.Cmd) *daemon {
	t.Helper()
	d := &daemon{
		cmd:    cmd,
		notify: make(chan string, maxInbox),
		done:   make(chan struct{}),
		file:   fmt.Sprintf("%s/%d", logs, daemons.Add(1)),
	}
	d.cmd.Stdout, d.cmd.Stderr = &d.stdout, &d.stderr
	d.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66 atexit_sleep_ms=0", "NOTIFY_SOCKET="+d.listenNotify(t))
	if d.cmd.SysProcAttr == nil {
		d.cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	d.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.done)
		_ = d.cmd.Wait()
	}()
	t.Logf("stderr of ipmbd %s: %s", strings.Join(cmd.Args[1:], " "), d.file)
	t.Cleanup(func() { d.cleanUp(t) })
	return d
}

// logs is the folder for the logs of the daemons of failed tests. It stays.
var logs = filepath.Join(os.TempDir(), fmt.Sprint("ipmbd-e2e-", os.Getpid()))

var daemons atomic.Int64

// failure matches text that a daemon must not write.
var failure = regexp.MustCompile("WARNING: DATA RACE|panic:|fatal error:")

// listenNotify makes the socket of sd_notify(3) and returns its path.
func (d *daemon) listenNotify(t testing.TB) string {
	t.Helper()
	path := filepath.Join(socketDir(t), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				return
			}
			d.notify <- string(buffer[:n])
		}
	}()
	return path
}

// ready waits until the daemon reports that it is ready, and returns its status.
func (d *daemon) ready(t testing.TB) string {
	t.Helper()
	for {
		select {
		case said := <-d.notify:
			if strings.Contains(said, "READY=1") {
				return said
			}
		case <-d.done:
			t.Fatalf("ended at its start, %v:\n%s", d.cmd.ProcessState, d.stderr.text())
		case <-time.After(timeLimit):
			t.Fatalf("not ready after %v:\n%s", timeLimit, d.stderr.text())
		}
	}
}

// status waits until the daemon has told systemd something with a text in it.
func (d *daemon) status(t testing.TB, text string) {
	t.Helper()
	for !strings.Contains(receive(t, "status "+text, d.notify), text) {
	}
}

// exit waits for the end of the process and returns its status.
func (d *daemon) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-d.done:
	case <-time.After(timeLimit):
		t.Fatal("has not ended:\n" + d.stderr.text())
	}
	return d.cmd.ProcessState.ExitCode()
}

// logged waits until a text is in the log.
func (d *daemon) logged(t testing.TB, text string) {
	t.Helper()
	eventually(t, text+" in the log", func() bool { return strings.Contains(d.stderr.text(), text) })
}

// signal sends a signal.
func (d *daemon) signal(s os.Signal) { _ = d.cmd.Process.Signal(s) }

func (d *daemon) pid() int { return d.cmd.Process.Pid }

func (d *daemon) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func (d *daemon) cleanUp(t testing.TB) {
	if !d.ended() {
		d.signal(syscall.SIGTERM)
		select {
		case <-d.done:
			if code := d.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit status %d at SIGTERM", code)
			}
		case <-time.After(timeLimit):
			t.Error("does not end at SIGTERM")
			_ = d.cmd.Process.Kill()
			<-d.done
		}
	}
	if at := failure.FindStringIndex(d.stderr.text()); at != nil {
		t.Errorf("a race or a panic in the daemon:\n%s", d.stderr.text()[at[0]:])
	}
	if t.Failed() {
		if err := errors.Join(os.MkdirAll(logs, 0o755), os.WriteFile(d.file, []byte(d.stderr.text()), 0o644)); err != nil {
			t.Log(err)
		}
	}
}

// log is the output of a process, which can be read meanwhile.
type log struct {
	mu   sync.Mutex
	kept []byte
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b...)
	return len(b), nil
}

func (l *log) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.kept)
}

// stopped ends the daemon with SIGTERM.
func (d *daemon) stopped(t testing.TB) {
	t.Helper()
	d.signal(syscall.SIGTERM)
	if code := d.exit(t); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, d.stderr.text())
	}
}
