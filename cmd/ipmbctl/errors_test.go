package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// want compares a failure with the text that it must have.
func (got result) want(t *testing.T, code int, stderr string) {
	t.Helper()
	if diff := (result{"", stderr, code}).diff(got); diff != "" {
		t.Error(diff)
	}
}

// connect is another program on a message bus.
func connect(t *testing.T, address string) *dbuswire.Conn {
	t.Helper()
	conn, err := dbuswire.Dial(t.Context(), dbuswire.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestNoMessageBus(t *testing.T) {
	bustest.Start(t)
	ipmbctl(t, environment{}, "list").want(t, 7, `
ipmbctl: no message bus at /nonexistent/bustest-refuses-the-real-bus: no such file or directory
  start it (systemctl start dbus) or name another: --dbus session, --dbus unix:path=/PATH
`)
	ipmbctl(t, environment{}, "list", "--dbus", "session").want(t, 7, `
ipmbctl: no message bus at /nonexistent/bustest-refuses-the-real-bus: no such file or directory
  log in to a session or name another: --dbus system, --dbus unix:path=/PATH
`)
	ipmbctl(t, environment{}, "list", "--dbus", "unix:path=/nonexistent").want(t, 7, `
ipmbctl: no message bus at /nonexistent: no such file or directory
  check the address given with --dbus
`)
	ipmbctl(t, environment{}, "list", "--dbus", "nonsense").want(t, 7, `
ipmbctl: no connection to the message bus: not a usable D-Bus address: "nonsense": only unix: addresses are supported
  check the address given with --dbus
`)
}

// What a user is told of errors whose texts come from below: the kernel, a message bus, strconv.
func TestTextsFromBelow(t *testing.T) {
	socket := &net.UnixAddr{Net: "unix", Name: "/run/other"}
	for want, err := range map[string]error{
		"no access to the message bus at /run/other: permission denied": fmt.Errorf("%w: %w", client.ErrNoMessageBus,
			&net.OpError{Op: "dial", Net: "unix", Addr: socket, Err: os.NewSyscallError("connect", syscall.EACCES)}),
		"ipmbd did not start: Process ipmbd exited with status 1": &client.ServiceError{
			Name: "org.freedesktop.DBus.Error.Spawn.ChildExited", Text: "Process ipmbd exited with status 1", Err: client.ErrNotStarted},
	} {
		if got := sentence(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for args, want := range map[string]string{
		"send bus0 6 1 --lun -1":     `--lun does not take "-1", but: LUN of the responder, 0 to 3`,
		"send bus0 6 1 --lun 256":    `--lun does not take "256", but: LUN of the responder, 0 to 3`,
		"scan bus0 --tries x":        `--tries does not take "x", but: NUMBER of tries: 1 to 64`,
		"send bus0 6 1 --tries 0":    `--tries does not take "0", but: NUMBER of tries: 1 to 64 (default the bus's)`,
		"send bus0 6 1 --tries 65":   `--tries does not take "65", but: NUMBER of tries: 1 to 64 (default the bus's)`,
		"scan bus0 --timeout 0":      `--timeout does not take "0", but: TIME of each try, 10ms to 1m: 5 or 5s, 500ms`,
		"send bus0 6 1 --timeout 0s": `--timeout does not take "0s", but: TIME of each try, 10ms to 1m: 5 or 5s, 500ms (default the bus's)`,
		"send bus0 6 1 --quiet=x":    `--quiet does not take "x", but: true or false`,
		"list --json=x":              `--json does not take "x", but: true or false`,
	} {
		got := ipmbctl(t, environment{}, strings.Fields(args)...)
		if got.code != exitUsage || !strings.HasPrefix(got.stderr, "ipmbctl: "+want) || strings.Contains(got.stderr, "strconv") {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func TestServiceNotRunning(t *testing.T) {
	bus := bustest.Start(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.Address)
	for _, args := range [][]string{{"list"}, {"info", "bus0"}, {"send", "bus0", "6", "1"}, {"scan", "bus0"}, {"sel", "list", "bus0"}, {"sel", "list"}, {"monitor"}, {"bind", "bus0"}, {"unbind", "bus0"},
		{"handlers"}, {"respond", "6", "1"}, {"events"}, {"add", "{}"}, {"remove", "bus0"}, {"reload"}} {
		ipmbctl(t, environment{}, args...).want(t, 7, `
ipmbctl: ipmbd is not running on this message bus
  start it now and at every boot: systemctl enable --now ipmbd
  or look on another message bus: --dbus session, --dbus unix:path=/PATH
`)
	}
	ipmbctl(t, environment{}, "list", "--dbus", bus.Address).want(t, 7, `
ipmbctl: ipmbd is not running on this message bus
  start it there: ipmbd --dbus '`+bus.Address+`'
`)
}

func TestAnotherServiceHasTheName(t *testing.T) {
	bus := bustest.Start(t)
	if _, err := connect(t, bus.Address).RequestName(xml.ServiceName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	ipmbctl(t, environment{}, "list", "--dbus", bus.Address).want(t, 7, `
ipmbctl: the service with the name xyz.openbmc_project.Ipmi.Channel.Ipmb is not ipmbd
  see which it is: busctl status xyz.openbmc_project.Ipmi.Channel.Ipmb
  if it is ipmbbridge, replace it: systemctl disable --now ipmb; systemctl enable --now ipmbd
`)
}

func TestNoPermission(t *testing.T) {
	r := newRig(t, denying(t, "xyz.openbmc_project.Ipmi.Channel.Ipmb"))
	r.ipmbctl(t, "send", "bus0", "6", "1").want(t, 8, `
ipmbctl: you may not do this
  do it as root, or join the group ipmbd: usermod -aG ipmbd USER, and log in again
`)
	r.ipmbctl(t, "scan", "bus0").want(t, 8, `
ipmbctl: you may not do this
  do it as root, or join the group ipmbd: usermod -aG ipmbd USER, and log in again
`)
}

// denying is a message bus on which an interface cannot be called.
func denying(t *testing.T, iface string) bustest.Config {
	t.Helper()
	return withRule(t, `<deny send_type="method_call" send_interface="`+iface+`"/>`)
}

// withRule is a message bus with a rule in its policy.
func withRule(t *testing.T, rule string) bustest.Config {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "rule.conf")
	text := `<busconfig><policy context="default">` + rule + `</policy></busconfig>`
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return bustest.Config{Policies: []string{policy}}
}

func TestInterrupted(t *testing.T) {
	r := newRig(t, bustest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr strings.Builder
	code := run(ctx, []string{"list", "--dbus", r.bus.Address}, environment{stdout: io.Discard, stderr: &stderr}.withDefaults())
	result{"", stderr.String(), code}.want(t, 130, `
ipmbctl: interrupted
`)
}

// failingWriter is standard output that cannot be written to.
type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: w.err}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"send", "bus0", "72h", "6", "1"}, {"--help"}} {
		for name, tt := range map[string]struct {
			err    error
			stderr string
		}{
			"reader has left": {syscall.EPIPE, ""},
			"disk is full":    {syscall.ENOSPC, "standard output: write /dev/stdout: no space left on device"},
		} {
			var stderr strings.Builder
			code := run(t.Context(), append([]string{"--dbus", r.bus.Address}, args...), environment{stdout: failingWriter{tt.err}, stderr: &stderr}.withDefaults())
			if got := stderr.String(); code != 1 || !strings.Contains(got, tt.stderr) || tt.stderr == "" && got != "" {
				t.Errorf("%v, %s: code %d, %q", args, name, code, stderr.String())
			}
		}
	}
}

// Each error that the client can return has advice or a text of the service's
// own, which says what to do.
func TestEveryErrorOfTheClientHasAdvice(t *testing.T) {
	a := &app{address: client.SystemBus}
	for _, err := range []error{
		client.ErrNoMessageBus, client.ErrNotRunning, client.ErrNotStarted, client.ErrLeft,
		client.ErrOtherService, client.ErrAccessDenied, &client.NotFoundError{}, &client.NotFoundError{OnlyBuses: true},
		requestError(client.Bus{}, 0x2C, client.ErrUnavailable), requestError(client.Bus{}, 0x2C, client.ErrWriteFailure),
		requestError(client.Bus{Properties: bus.Properties{State: client.Down}}, 0x2C, client.ErrUnavailable),
		client.ErrDisconnected, client.ErrBusSilent, client.ErrSilent,
	} {
		if len(a.advice(errors.Join(err))) == 0 {
			t.Errorf("%v: no advice", err)
		}
		if strings.Contains(sentence(err), "\n") {
			t.Errorf("%v: %q", err, sentence(err))
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"list", "--help"}, {"add", "--help"}, {"remove", "--help"}, {"reload", "--help"}, {"info", "--help"}, {"send", "--help"}, {"scan", "--help"}, {"sel", "--help"}, {"sel", "list", "--help"}, {"sel", "info", "--help"}, {"sel", "clear", "--help"}, {"monitor", "--help"}, {"bind", "--help"}, {"unbind", "--help"},
		{"handlers", "--help"}, {"respond", "--help"}, {"events", "--help"}} {
		got := ipmbctl(t, environment{}, args...)
		if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "Examples:\n  ipmbctl ") {
			t.Errorf("%v: %+v", args, got)
		}
		for line := range strings.Lines(got.stdout) {
			if len(line) > 100 {
				t.Errorf("%v: long line %q", args, line)
			}
		}
	}
	if got := ipmbctl(t, environment{}, "--version"); got.stdout != "ipmbctl unknown\n" || got.code != 0 {
		t.Errorf("%+v", got)
	}
}

// --bus is the former name of --dbus. It works, and no help shows it.
func TestFormerNameOfTheMessageBus(t *testing.T) {
	r := newRig(t, bustest.Config{})
	if got := ipmbctl(t, environment{}, "--bus", r.bus.Address, "list"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	if got := ipmbctl(t, environment{}, "--help"); strings.Contains(got.stdout, "--bus") {
		t.Error(got.stdout)
	}
}
