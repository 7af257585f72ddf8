package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// messageBus is a private message bus on which everybody may do everything.
type messageBus struct {
	*process
	socket  string // its path
	address string // for D-Bus libraries
}

var errNoMessageBus = errors.New("needs dbus-daemon; install it with: apt-get install dbus-daemon (or dbus)")

// messageBusConfig is dbus's session.conf, but for the services.
const messageBusConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
`

func (s *stage) startMessageBus() (*messageBus, error) {
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", errNoMessageBus, err)
	}
	socket, file := filepath.Join(s.dir, "bus"), filepath.Join(s.dir, "bus.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, messageBusConfig, socket), 0o600); err != nil {
		return nil, err
	}
	p, err := s.startReady(program, "--config-file="+file, "--nofork", "--nopidfile", "--print-address")
	if err != nil {
		return nil, err
	}
	return &messageBus{process: p, socket: socket, address: "unix:path=" + socket}, nil
}

// startBroker starts dbus-broker as a message bus, with a controller of the bench's.
func (s *stage) startBroker(controller, program string) (*messageBus, error) {
	socket := filepath.Join(s.dir, "bus")
	p, err := s.startReady(controller, program, socket)
	if err != nil {
		return nil, err
	}
	return &messageBus{process: p, socket: socket, address: "unix:path=" + socket}, nil
}
