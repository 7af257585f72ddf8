package systemd

import (
	"strings"
	"testing"
)

func TestServiceStarts(t *testing.T) {
	l := startBoard(t)
	took(t, "systemctl start, until the service is ready", func() { l.run("systemctl", "start", service) })
	if said := l.send(); said != answered {
		t.Errorf("a request: %s", said)
	}
	if said := l.show(service, "StatusText"); said != allUp {
		t.Errorf("status %q", said)
	}
	l.boot(vmPath).asks()
	took(t, "systemctl stop", func() { l.run("systemctl", "stop", service) })
	if got := l.show(service, "Result"); got != "success" {
		t.Errorf("result %s", got)
	}
}

func TestStatusNamesWhatIsNotUp(t *testing.T) {
	l := start(t, files{configPath: config})
	l.run("systemctl", "start", service)
	if said, _ := l.try("systemctl", "status", service); !strings.Contains(said, bus0Down) {
		t.Error(said)
	}
	l.controller(nodePath)
	l.becomes(service, "StatusText", allUp)
}

func TestCallOnAStoppedServiceStartsIt(t *testing.T) {
	for bus, how := range buses {
		t.Run(bus, func(t *testing.T) {
			l := startBoard(t, how)
			var said string
			took(t, "the first busctl call on a stopped service, "+bus, func() { said = l.send() })
			if said != answered {
				t.Error(said)
			}
		})
	}
}
