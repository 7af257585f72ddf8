package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// commandsThatCall are the command lines of all commands of ipmbctl that call ipmbd.
func commandsThatCall(t *testing.T) (lines []string) {
	for _, command := range commands((&app{}).rootCommand()) {
		name := strings.TrimPrefix(command.CommandPath(), "ipmbctl ")
		words, known := commandLines[name]
		if !known {
			t.Errorf("no command line for %q", name)
		}
		lines = append(lines, strings.Join(append([]string{name}, words...), " "))
	}
	return lines
}

// silentBus listens as a message bus does, and answers nothing.
func silentBus(t *testing.T) (address string) {
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return "unix:path=" + path
}

// silentService is a program with ipmbd's name that answers no call, or only Peer.Ping, as the
// D-Bus library of a program does that hangs.
func silentService(t *testing.T, answersPing bool) (address string) {
	address = bustest.Start(t).Address
	conn, err := dbuswire.Dial(t.Context(), dbuswire.Config{
		Address: address, Call: func(_ *dbuswire.Conn, m *dbuswire.Message) bool {
			return !answersPing || string(m.Interface) != xml.PeerInterface
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.RequestName(xml.ServiceName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return address
}

// startingService is a message bus that starts a program for ipmbd's name, which never takes the
// name. The program makes the file started.
func startingService(t *testing.T) (address, started string) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	started = filepath.Join(dir, "started")
	for path, text := range map[string]string{
		program:                                  "#!/bin/sh\n: >" + started + "\nexec sleep 10 >/dev/null 2>&1\n",
		dir + "/" + xml.ServiceName + ".service": "[D-BUS Service]\nName=" + xml.ServiceName + "\nExec=" + program + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bustest.StartConfig(t, bustest.Config{Services: dir}).Address, started
}

// states are the states in which no ipmbd answers, with what a command says of each.
func states(t *testing.T) (all []state, started string) {
	starting, started := startingService(t)
	const silent = "ipmbd is on the message bus and does not answer"
	return []state{
		{"no message bus", "unix:path=/nonexistent", "no message bus at /nonexistent"},
		{"a message bus that is silent", silentBus(t), "the message bus does not answer"},
		{"a message bus without the service", bustest.Start(t).Address, "ipmbd is not running on this message bus"},
		{"a service that never has its name", starting,
			"ipmbd did not start: the message bus has been waiting for it for 2.5s"},
		{"a service that answers nothing", silentService(t, false), silent},
		{"a service that answers Ping only", silentService(t, true), silent},
	}, started
}

type state struct{ name, address, says string }

// runs are runs of ipmbctl at the same time.
type runs struct {
	wait sync.WaitGroup
	mu   sync.Mutex
}

// start runs ipmbctl, and has the result checked.
func (r *runs) start(t *testing.T, check func(result), args ...string) {
	r.wait.Go(func() {
		got := ipmbctl(t, environment{}, args...)
		r.mu.Lock()
		defer r.mu.Unlock()
		check(got)
	})
}

// Each command says which of all that it needs is missing, and ends.
func TestEachCommandSaysWhatDoesNotAnswer(t *testing.T) {
	all, _ := states(t)
	var together runs
	for _, s := range all {
		for _, line := range commandsThatCall(t) {
			together.start(t, func(got result) {
				if got.code != exitNotRunning || !strings.Contains(got.stderr, s.says) {
					t.Errorf("%s: %s: exit code %d\n%s", s.name, line, got.code, got.stderr)
				}
			}, append(strings.Fields(line), "--dbus", s.address)...)
		}
	}
	together.wait.Wait()
}

// A key of a shell starts no service, and waits for none.
func TestCompletionStartsNothing(t *testing.T) {
	all, started := states(t)
	nothing := fmt.Sprintf(":%d\n", cobra.ShellCompDirectiveNoFileComp)
	var together runs
	for _, s := range all {
		for _, line := range []string{"info", "remove", "send", "scan", "monitor", "bind", "unbind", "sel list"} {
			words := append([]string{cobra.ShellCompRequestCmd, "--dbus", s.address}, strings.Fields(line)...)
			together.start(t, func(got result) {
				if got.code != exitOK || got.stdout != nothing {
					t.Errorf("%s: %s: exit code %d\n%s", s.name, line, got.code, got.stdout)
				}
			}, append(words, "")...)
		}
	}
	together.wait.Wait()
	if _, err := os.Stat(started); err == nil {
		t.Error("the service was started")
	}
}
