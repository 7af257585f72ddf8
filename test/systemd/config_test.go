package systemd

import (
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// nodeOfBus0 is where the kernel has the device of an I2C bus 0.
const nodeOfBus0 = "/dev/ipmb-0"

// No configuration is one, too: each unit starts.
func TestNoConfiguration(t *testing.T) {
	l := start(t)
	for _, unit := range []string{vmSocket, frameSocket, service} {
		l.run("systemctl", "start", unit)
		if got := l.show(unit, "ActiveState"); got != "active" {
			t.Errorf("%s is %s", unit, got)
		}
	}
	l.becomes(service, "StatusText", "waiting for an IPMB device")
	l.node = l.controller(nodeOfBus0)
	l.becomes(service, "StatusText", "1 bus up")
	if said := l.send(); said != answered {
		t.Errorf("a request: %s", said)
	}
}

// A call on a stopped service without a configuration is answered, and a key of a shell does not
// start it.
func TestCallWithoutAConfiguration(t *testing.T) {
	for bus, how := range buses {
		t.Run(bus, func(t *testing.T) {
			l := start(t, how)
			l.node = l.controller(nodeOfBus0)
			if said := l.run("ipmbctl", "__complete", "info", ""); strings.Contains(said, "bus0") {
				t.Errorf("completion: %s", said)
			}
			if got := l.show(service, "ActiveState"); got != "inactive" {
				t.Errorf("after a completion the service is %s", got)
			}
			var said string
			took(t, "ipmbctl list on a stopped service without a configuration, "+bus, func() { said = l.run("ipmbctl", "list") })
			if !strings.Contains(said, "bus0") || !strings.Contains(said, nodeOfBus0) {
				t.Error(said)
			}
			if said := l.run("ipmbctl", "__complete", "info", ""); !strings.Contains(said, "bus0") {
				t.Errorf("completion: %s", said)
			}
		})
	}
}

// dbus-daemon does not notice a failed start, and usually waits 25 s.
func TestCallOnAServiceThatCannotStart(t *testing.T) {
	impatient := files{"etc/dbus-1/system.d/story.conf": `<busconfig><limit name="service_start_timeout">500</limit></busconfig>`}
	for bus, want := range map[string]string{"dbus-daemon": "TimedOut", "dbus-broker": "NameHasNoOwner"} {
		t.Run(bus, func(t *testing.T) {
			l := start(t, buses[bus], impatient, files{configPath: "{"})
			err := l.dial("nobody").Object(name, base).Call("org.freedesktop.DBus.Introspectable.Introspect", 0).Err
			if refused, ok := err.(dbus.Error); !ok || refused.Name != "org.freedesktop.DBus.Error."+want {
				t.Errorf("%T %v", err, err)
			}
		})
	}
}

func TestConfigurationElsewhere(t *testing.T) {
	const elsewhere = "/etc/elsewhere.json"
	l := start(t, files{elsewhere: config},
		dropIn(service, "[Service]\nExecStart=\nExecStart=/usr/bin/ipmbd --config "+elsewhere+"\n"))
	l.node = l.controller(nodePath)
	l.run("systemctl", "start", vmSocket)
	l.boot(vmPath).asks()
	if said := l.send(); said != answered {
		t.Error(said)
	}
}

// The unit lets the service write where its StateDirectory= is.
func TestFolderOfTheBMCElsewhere(t *testing.T) {
	for _, folder := range []string{"/var/ipmbd", "/home/ipmbd", "/etc/passwd/ipmbd"} {
		t.Run(folder, func(t *testing.T) {
			l := startBoard(t, files{configPath: strings.Replace(config, "/var/lib/ipmbd", folder, 1)})
			if said, status := l.try("systemctl", "start", service); status == 0 {
				t.Errorf("it has started: %s", said)
			}
			l.becomes(service, "ActiveState", "failed")
			for property, want := range map[string]string{"Result": "exit-code", "ExecMainStatus": "2", "NRestarts": "0"} {
				if got := l.show(service, property); got != want {
					t.Errorf("%s is %s, want %s", property, got, want)
				}
			}
			l.logged("bmc.folder")
			if folder != "/etc/passwd/ipmbd" {
				l.logged("StateDirectory=")
			}
		})
	}
}

func TestFolderOfTheBMCThatADropInAllows(t *testing.T) {
	l := startBoard(t, dropIn(service, "[Service]\nReadWritePaths=/var\n"),
		files{configPath: strings.Replace(config, "/var/lib/ipmbd", "/var/ipmbd", 1)})
	l.run("systemctl", "start", service)
	l.run("ls", "/var/ipmbd/bmc.journal")
}

// It starts with ipmbbridge's file, and then gets one of its own.
func TestReloadFindsTheFileThatHasCome(t *testing.T) {
	const bridges = "/usr/share/ipmbbridge/ipmb-channels.json"
	l := start(t, files{bridges: `{"channels": []}`})
	l.node = l.controller(nodePath)
	l.run("systemctl", "start", service)
	l.becomes(service, "StatusText", "0 buses up")
	l.write(configPath, strings.Replace(config, `{"folder": "/var/lib/ipmbd"}`, "{}", 1))
	l.run("systemctl", "reload", service)
	l.logged("file=" + configPath)
	if said := l.send(); said != answered {
		t.Error(said)
	}
	l.write(configPath, config)
	if said, status := l.try("ipmbctl", "reload"); status == 0 || !strings.Contains(said, "restart") {
		t.Errorf("a BMC that is kept: %s", said)
	}
}
