package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	good := configFile(t, channels(channel(newNode(t, "ipmb-5"), nil)))
	bad := writeFile(t, "ipmbd.json", `{
  "channels": [
    {"type": "me", "slave-path": "/dev/ipmb-5", "bmc-addr": 33, "remote-addr": 44},
    {"type": "mee", "slave-path": "/dev/ipmb-6", "remote-addr": 44, "colour": "red"}
  ]
}`)
	bridge := writeFile(t, "ipmb-channels.json", `{"channels": [
  {"type": "me", "master-path": "/dev/i2c-5", "slave-path": "/dev/ipmb-5", "bmc-addr": 32, "remote-addr": 44}]}`)
	allWrong := writeFile(t, "ipmb-channels.json", `{"channels": [
  {"type": "me", "slave-path": "/dev/ipmb-5", "bmc-addr": 33, "remote-addr": 44},
  {"type": "slot-ipmb", "slave-path": "/dev/ipmb-6", "bmc-addr": 32, "remote-addr": 44}]}`)
	doubtful := writeFile(t, "ipmbd.json", `{"channels": [{"slave-path": "/dev/i2c-5", "remote-addr": 44}]}`)
	missing := filepath.Join(t.TempDir(), "missing.json")
	nowhere := "unix:path=" + filepath.Join(t.TempDir(), "no-bus")
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr []string // in this order
	}{
		{"version", []string{"--version"}, 0, []string{"ipmbd 1.2.3-test\n"}, nil},
		{"help", []string{"--help"}, 0, []string{
			"Usage:", "--config FILE", "/etc/ipmbd/ipmbd.json", "/usr/share/ipmbbridge/ipmb-channels.json",
			"--dbus ADDRESS", "--check-config", "--demo", "--log-level LEVEL", "--version", "Exit status: 0"}, nil},
		{"unknown flag", []string{"--colour"}, 2, nil, []string{"-colour", "ipmbd --help"}},
		{"argument", []string{"start"}, 2, nil, []string{`unexpected argument "start"`, "ipmbd --help"}},
		{"unknown level", []string{"--log-level", "loud"}, 2, nil, []string{"log-level", "loud"}},
		{"demo with a configuration", []string{"--demo", "--config", good}, 2, nil, []string{"--demo", "leave out --config"}},
		{"no such file", []string{"--config", missing}, 2, nil, []string{missing, "no such file"}},
		{"bad configuration", []string{"--config", bad}, 2, nil, []string{
			bad + ":3:", "channels[0].bmc-addr = 33", "even",
			bad + ":4:", "channels[1].type", `"mee"`, "ipmb, me", "channels[1].colour", "unknown key"}},
		{"bad configuration, checked", []string{"--check-config", "--config", bad}, 2, nil, []string{"channels[0].bmc-addr = 33"}},
		{"good configuration", []string{"--check-config", "--config", good}, 0, []string{"configuration is good"}, nil},
		{"ipmbbridge's configuration", []string{"--check-config", "--ipmbbridge", "--config", bridge}, 0,
			[]string{"configuration is good"}, []string{bridge + ":2:", ": warning: channels[0].master-path = ", "unknown key"}},
		{"ipmbbridge's configuration by its name", []string{"--check-config", "--config", bridge}, 2,
			nil, []string{bridge + ":2:", ": channels[0].master-path = ", "unknown key", "--ipmbbridge"}},
		{"ipmbbridge's configuration, strictly", []string{"--check-config", "--strict", "--ipmbbridge", "--config", bridge}, 2,
			nil, []string{": warning: channels[0].master-path = ", "unknown key", "warnings: 1"}},
		{"nothing but wrong entries", []string{"--check-config", "--ipmbbridge", "--config", allWrong}, 2,
			nil, []string{allWrong + ":1:1: channels: none can be served", ":2:", "bmc-addr = 33", ":3:", "slot-ipmb"}},
		{"nothing but wrong entries, started", []string{"--ipmbbridge", "--config", allWrong}, 2,
			nil, []string{allWrong + ":1:1: channels: none can be served"}},
		{"a warning", []string{"--check-config", "--config", doubtful}, 0,
			[]string{"configuration is good"}, []string{doubtful + ":1:", ": warning: channels[0].slave-path = "}},
		{"a warning, strictly", []string{"--check-config", "--strict", "--config", doubtful}, 2,
			nil, []string{": warning: channels[0].slave-path = ", "warnings: 1"}},
		{"good configuration, strictly", []string{"--check-config", "--strict", "--config", good}, 0,
			[]string{"configuration is good"}, nil},
		{"strictness of a start", []string{"--strict", "--config", good}, 2, nil, []string{"--strict belongs to --check-config"}},
		{"a kind without a file", []string{"--check-config", "--ipmbbridge"}, 2, nil, []string{"the file of --config"}},
		{"no message bus", []string{"--config", good, "--bus", nowhere}, 1, nil, []string{"stopped", "no-bus"}},
		{"no address of a message bus", []string{"--config", good, "--bus", "tcp:host=example"}, 1, nil,
			[]string{"not a usable D-Bus address", "only unix:"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := launch(t, test.args...)
			if code := d.exit(t); code != test.code {
				t.Errorf("exit status %d, want %d", code, test.code)
			}
			inOrder(t, "stdout", d.stdout.String(), test.stdout)
			inOrder(t, "stderr", d.stderr.text(), test.stderr)
		})
	}
}

// inOrder looks for parts of a text, one behind the other.
func inOrder(t *testing.T, name, text string, parts []string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Errorf("%s: no %q in its place in:\n%s", name, part, text)
			return
		}
		rest = after
	}
	if len(parts) == 0 && text != "" {
		t.Errorf("%s:\n%s", name, text)
	}
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]map[string]bool{
		"debug": {"request not served": true, "serving": true, "bus state": true},
		"info":  {"request not served": false, "serving": true, "bus state": true},
		"warn":  {"request not served": false, "serving": false, "bus state": true},
		"error": {"request not served": false, "serving": false, "bus state": false},
	} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			bus, n := bustest.Start(t), listen(t, "ipmb-5")
			d := start(t, bus.Address, channels(
				channel(n, object{"handler": "none"}),
				channel(newNode(t, "ipmb-6"), object{"devIndex": 1})), "--log-level="+level)
			if code := n.code(t, toHost(1, hostd.CommandEcho)); code != 0xC1 {
				t.Errorf("answered %02Xh", code)
			}
			d.stopped(t)
			for text, logged := range want {
				if got := strings.Contains(d.stderr.text(), text); got != logged {
					t.Errorf("%q logged: %v", text, got)
				}
			}
		})
	}
}

func TestPayloadsAreNotLogged(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	hostd.Start(t, bus.Address)
	d := start(t, bus.Address, channels(channel(n, nil)))
	n.ask(t, packet{to: 0x20, netFn: 6, from: 0x2C, number: 1, cmd: 0x47, data: []byte("\x02\x02secret-word")})
	n.ask(t, toHost(2, hostd.CommandDBusError, []byte("secret-word")...))
	connect(t, bus.Address).legacy(t, 1, 6, 0, 0x47, []byte("\x02\x02secret-word")...)
	d.stopped(t)
	if text := d.stderr.text(); strings.Contains(text, "secret-word") || strings.Contains(text, "7365637265742d776f7264") {
		t.Errorf("a password is in the log:\n%s", text)
	}
}

func TestDemoNeedsNothing(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	d := launch(t, "--demo", "--bus", bus.Address)
	d.ready(t)
	out, err := busctl(t, bus.Address, "call", service, basePath, legacy, "sendRequest", "yyyyay", "1", "6", "0", "1", "0")
	if want := "(iyyyyay) 0 7 0 1 0 11 80 1 4 0 2 33 87 1 0 11 11"; out != want || err != nil {
		t.Errorf("got %s %v", out, err)
	}
	c := connect(t, bus.Address)
	// The satellite asks the BMC, which the daemon is, and tells the answer.
	if code, data := answered(t, c.send("bus0", 0, 0x30, 0, 1)); code != 0 || len(data) != 11 || data[0] != 0x20 {
		t.Errorf("the BMC's device ID by way of the satellite: %02Xh % X", code, data)
	}
	o := options{"timeout-ms": uint32(50), "tries": uint32(2)}
	if got := errorName(end(t, c.sendWith("bus0", o, 0x42, 6, 1)).Err); got != commonError+"Timeout" {
		t.Errorf("the silent responder: %s", got)
	}
	if got := errorName(end(t, c.sendWith("bus0", o, 0x44, 6, 1)).Err); got != commonError+"Unavailable" {
		t.Errorf("an address without a responder: %s", got)
	}
	answers := 0
	for range 10 {
		if c.legacy(t, 5, 6, 0, 1).Status == 0 {
			answers++
		}
	}
	if answers < 7 {
		t.Errorf("the faulty bus: %d answers of 10", answers)
	}
}
