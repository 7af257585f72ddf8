package systemd

import (
	"net"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// failed waits until systemd has noted why a run of the service failed.
func (l *lab) failed(result string) {
	l.t.Helper()
	l.logged("ipmbd.service: Failed with result '" + result + "'.")
}

// serves waits until the service is there again after this many restarts.
func (l *lab) serves(restarts string) {
	l.t.Helper()
	l.becomes(service, "NRestarts", restarts)
	l.becomes(service, "ActiveState", "active")
	eventually(l.t, "the controller is reached", func() bool { return l.send() == answered })
}

func TestKilledServiceComesBack(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", vmSocket, service)
	m := l.boot(vmPath)
	l.run("systemctl", "kill", "-s", "KILL", service)
	m.hangsUp()
	l.failed("signal")
	took(t, "from the end of the machine's connection to the next answer", func() { l.boot(vmPath).asks() })
	l.serves("1")
}

// A process that is connected to a message bus cannot outlive it: the service restarts, too.
func TestMessageBusThatStartsAnew(t *testing.T) {
	for bus, how := range buses {
		t.Run(bus, func(t *testing.T) {
			l := startBoard(t, how)
			l.run("systemctl", "start", frameSocket, vmSocket, service)
			if err := exchange(t.Context(), l.client(), 1); err != nil {
				t.Fatal(err)
			}
			l.register()
			if got := l.handlers(); !strings.HasPrefix(got, "a(soyyuu) 1 ") {
				t.Errorf("registered: %s", got)
			}
			descriptors := l.descriptors()

			took(t, "from the restart of "+bus+" to the next answer", func() {
				l.run("systemctl", "restart", "dbus.service")
				if said := l.send(); said != answered {
					t.Error(said)
				}
			})
			l.failed("exit-code")
			l.serves("1")
			if got := l.show(service, "StatusText"); got != allUp {
				t.Error(got)
			}
			if got := l.handlers(); got != "a(soyyuu) 0" {
				t.Errorf("still registered: %s", got)
			}
			if err := exchange(t.Context(), l.client(), 2); err != nil {
				t.Error(err)
			}
			eventually(t, "as many descriptors as before", func() bool { return l.descriptors() == descriptors })
			l.boot(vmPath).asks()
		})
	}
}

// register registers a program that stays for a command.
func (l *lab) register() {
	l.t.Helper()
	commands := []struct {
		NetFn, Command  byte
		Group, Channels uint32
	}{{0x30, 0x55, 0xFFFFFFFF, 0xFFFF}}
	if err := l.dial("root").Object(name, base).Call(name+".Router.RegisterHandler", 0, dbus.ObjectPath("/story"), commands).Err; err != nil {
		l.t.Fatal(err)
	}
}

// handlers are the registered ones, as busctl has them.
func (l *lab) handlers() string {
	l.t.Helper()
	return l.run("busctl", "get-property", name, string(base), name+".Router", "Handlers")
}

// By default systemd allows five starts in ten seconds.
func TestServiceThatDiesOftenIsNotGivenUp(t *testing.T) {
	l := startBoard(t, dropIn(service, "[Service]\nRestartSec=0\n"))
	l.run("systemctl", "start", service)
	for _, restarts := range strings.Fields("1 2 3 4 5 6 7 8") {
		l.run("systemctl", "kill", "-s", "KILL", service)
		l.becomes(service, "NRestarts", restarts)
		l.becomes(service, "ActiveState", "active")
	}
	l.serves("8")
}

// Go exits with 2 at a panic, as the service does with a wrong configuration.
func TestCrashIsNotTakenForAWrongConfiguration(t *testing.T) {
	l := startBoard(t)
	l.run("systemctl", "start", service)
	l.run("systemctl", "kill", "-s", "SEGV", service)
	l.logged("goroutine ") // its stack is in the journal
	l.serves("1")
}

func TestWrongConfiguration(t *testing.T) {
	l := startBoard(t, files{configPath: strings.Replace(config, "remote-addr", "remote-adr", 1)})
	l.run("systemctl", "start", vmSocket)
	if said, status := l.try("systemctl", "start", service); status == 0 {
		t.Errorf("it has started: %s", said)
	}
	for property, want := range map[string]string{
		"Result": "exit-code", "ExecMainStatus": "2", "NRestarts": "0", "ActiveState": "failed", "SubState": "failed",
	} {
		if got := l.show(service, property); got != want {
			t.Errorf("%s is %s, want %s", property, got, want)
		}
	}
	said, _ := l.try("systemctl", "status", service)
	for _, want := range []string{configPath, "remote-adr"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in its status:\n%s", want, said)
		}
	}
	l.write(configPath, config)
	l.boot(vmPath).asks()
}

// A machine that connects starts the service again and again, until systemd reaches its limit and
// closes the socket.
func TestSocketThatHasFailedComesBackWithTheService(t *testing.T) {
	l := startBoard(t, files{configPath: "{"})
	l.run("systemctl", "enable", "--quiet", vmSocket)
	l.run("systemctl", "start", vmSocket)
	conn := l.knock(vmPath)
	defer conn.Close()
	l.becomes(vmSocket, "ActiveState", "failed")
	l.write(configPath, config)
	l.run("systemctl", "restart", service)
	if got := l.show(vmSocket, "ActiveState"); got != "active" {
		t.Errorf("the socket is %s", got)
	}
	l.boot(vmPath).asks()
}

// shortWatchdog waits as long as a busy machine may keep the service from going on.
var shortWatchdog = dropIn(service, "[Service]\nWatchdogSec=5s\n")

func TestServiceThatHangsIsEndedAndComesBack(t *testing.T) {
	l := startBoard(t, shortWatchdog)
	l.run("systemctl", "start", service)
	fed := l.show(service, "WatchdogTimestampMonotonic")
	eventually(t, "the watchdog is fed", func() bool { return l.show(service, "WatchdogTimestampMonotonic") != fed })
	took(t, "from the beginning of the hang to the next start, with WatchdogSec=5s", func() {
		l.run("systemctl", "kill", "-s", "STOP", service)
		l.failed("watchdog")
		l.becomes(service, "ActiveState", "active")
	})
	l.serves("1")
}

// A controller that takes nothing holds a write in the kernel. The state of the bus shows that;
// the others are served, and a restart would not help.
func TestBusThatHangsDoesNotEndTheService(t *testing.T) {
	l := start(t, files{configPath: config}, shortWatchdog)
	deaf, err := net.Listen("unixpacket", l.path(nodePath))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	l.run("systemctl", "start", vmSocket, service)
	root := l.dial("root").Object(name, bus0)
	for err == nil {
		err = root.Call(name+".sendBroadcast", 0, byte(6), byte(0), byte(1), make([]byte, 200)).Err
	}
	eventually(t, "the bus is Down", func() bool {
		state, err := root.GetProperty(name + ".State")
		return err == nil && state.Value() == "Down"
	})
	// It is fed three times in the time that it waits.
	for range 4 {
		fed := l.show(service, "WatchdogTimestampMonotonic")
		eventually(t, "the watchdog is fed", func() bool { return l.show(service, "WatchdogTimestampMonotonic") != fed })
	}
	l.boot(vmPath).asks()
	if got := l.show(service, "NRestarts"); got != "0" {
		t.Errorf("%s restarts", got)
	}
}
