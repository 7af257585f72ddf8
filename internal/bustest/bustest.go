// Package bustest runs a private dbus-daemon for a test. The daemon is the real one; its socket,
// its configuration and its life belong to the test. From Start on, the addresses of the machine's
// real buses in the environment are replaced by an address without a server.
package bustest

import (
	"bufio"
	"errors"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Config describes a private bus. The zero value is a bus of the session kind, on which every
// client may do everything.
type Config struct {
	// System makes it a bus of the system kind: a client may own a name or call a method only if a
	// policy file allows that, and the limits are the system's (a connection may wait for 128
	// replies).
	System bool
	// Policies are paths of policy files, as packages put them into
	// /usr/share/dbus-1/system.d.
	Policies []string
	// Services is a folder of D-Bus service files: programs that the bus can start.
	Services string
	// Limits are limits of dbus-daemon by their names, for instance
	// "max_replies_per_connection".
	Limits map[string]int
}

// Bus is a running private bus. It ends with its test.
type Bus struct {
	// Address is the D-Bus address of the bus: "unix:path=..." with a guid.
	Address string

	program, file string
	socket        string
	process       *os.Process
	done          chan struct{}
	log           log
}

// log is what a daemon has written to its standard error.
type log struct {
	mu   sync.Mutex
	text []byte
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// Log is what the bus has logged so far, each message that its policy rejects among it.
func (b *Bus) Log() string { return b.log.String() }

// Nowhere is the bus address in the environment while tests run.
const Nowhere = "unix:path=/nonexistent/bustest-refuses-the-real-bus"

// Start starts a bus on which every client may do everything.
func Start(t testing.TB) *Bus {
	t.Helper()
	return StartConfig(t, Config{})
}

// StartConfig starts a bus with a configuration.
func StartConfig(t testing.TB, config Config) *Bus {
	t.Helper()
	refuseRealBuses()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Fatalf("bustest: %v; install it with: apt-get install dbus-daemon (or dbus)", err)
	}
	dir := shortDir(t)
	file, socket := filepath.Join(dir, "bus.conf"), filepath.Join(dir, "socket")
	bus := &Bus{program: program, file: file, socket: socket}
	err = os.WriteFile(file, []byte(Document(config, socket)), 0o644)
	if err == nil {
		err = bus.start()
	}
	if err != nil {
		t.Fatal("bustest:", err)
	}
	t.Cleanup(bus.Stop)
	return bus
}

// Stop ends the bus; every connection to it breaks. It may be called more than
// once.
func (b *Bus) Stop() {
	_ = b.process.Kill()
	<-b.done
}

// Restart ends the bus and starts it again, at the same path and with another guid: clients must
// connect again, to Path.
func (b *Bus) Restart(t testing.TB) {
	t.Helper()
	b.Stop()
	err := os.Remove(b.socket)
	if err == nil {
		err = b.start()
	}
	if err != nil {
		t.Fatal("bustest:", err)
	}
}

// Path is the D-Bus address without the guid, which differs after a Restart.
func (b *Bus) Path() string { return "unix:path=" + b.socket }

// refuseRealBuses sets the environment's bus addresses to one without a server.
func refuseRealBuses() {
	for _, name := range []string{"DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS", "DBUS_STARTER_ADDRESS"} {
		if !strings.Contains(os.Getenv(name), "bustest") {
			os.Setenv(name, Nowhere)
		}
	}
}

// shortDir is a directory of the test's own. The names of t.TempDir carry the
// test's name and can be longer than a socket address allows (108 bytes).
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "bustest-")
	if err != nil {
		t.Fatal("bustest:", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// Tests of policies come as other users.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal("bustest:", err)
	}
	return dir
}

// start runs the daemon and returns when it listens.
func (b *Bus) start() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(b.program, "--config-file="+b.file, "--nofork", "--nopidfile", "--print-address=3")
	cmd.Stderr = &b.log
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	b.process, b.done = cmd.Process, done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		b.Stop()
		return errors.Join(fmt.Errorf("dbus-daemon did not start: %s", b.Log()), err)
	}
	b.Address = strings.TrimSpace(line)
	return nil
}

// Document is the configuration file of a dbus-daemon that listens on a socket.
func Document(config Config, socket string) string {
	kind, rules := "session", sessionPolicy
	if config.System {
		kind, rules = "system", systemPolicy
	}
	for name, value := range config.Limits {
		rules += fmt.Sprintf("  <limit name=%q>%d</limit>\n", name, value)
	}
	if config.Services != "" {
		rules += fmt.Sprintf("  <servicedir>%s</servicedir>\n", html.EscapeString(config.Services))
	}
	for _, path := range config.Policies {
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute
		}
		rules += fmt.Sprintf("  <include>%s</include>\n", html.EscapeString(path))
	}
	return fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>%s</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
%s</busconfig>
`, kind, html.EscapeString(socket), rules)
}

// sessionPolicy is dbus's own session.conf.
const sessionPolicy = `  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_replies_per_connection">50000</limit>
`

// systemPolicy is dbus's own system.conf, without activation.
const systemPolicy = `  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus" send_member="UpdateActivationEnvironment"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/>
  </policy>
`
