package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// channel is a bus in ipmbd's configuration.
type channel struct {
	Type          string `json:"type"`
	SlavePath     string `json:"slave-path"`
	BMCAddress    int    `json:"bmc-addr"`
	RemoteAddress int    `json:"remote-addr"`
	DevIndex      int    `json:"devIndex"`
	Name          string `json:"name"`
	IPMIChannel   int    `json:"ipmi-channel"`
	Handler       string `json:"handler"`
	Bridge        bool   `json:"bridge"`
	Window        *int   `json:"duplicate-window-ms,omitempty"`
}

// Indexes of the channels in org.openbmc.Ipmb: devIndex * 4 + type.
const (
	indexME   = 1 // a responder behind a channel of type me
	indexIPMB = 0 // and one of type ipmb, whose frames are signalled too
)

// sockets are the buses: those of responders, of ipmbd and of the floors; those of
// peers whose requests come in, by what answers these; and the frame socket.
type sockets struct{ me, ipmb, floor, echo, direct, handler, host, bridge, floorBridge, frames string }

func newSockets(dir string) sockets {
	path := func(name string) string { return filepath.Join(dir, name) }
	return sockets{
		me: path("me"), ipmb: path("ipmb"), floor: path("floor"), echo: path("echo"),
		direct: path("direct"), handler: path("handler"), host: path("host"), bridge: path("bridge"),
		floorBridge: path("floor-bridge"), frames: path("frames"),
	}
}

// IPMI channels of the buses.
const (
	channelIPMB = iota
	channelME
	channelDirect
	channelHandler
	channelHost
	channelBridge
)

func (s sockets) channels() []channel {
	const bmc, remote = int(bmcAddress), int(responderAddress)
	// A peer's requests look alike, and its numbers come again soon.
	none := new(int)
	return []channel{
		{"me", s.me, bmc, remote, 0, "me", channelME, "none", false, nil},
		{"ipmb", s.ipmb, bmc, remote, 0, "ipmb", channelIPMB, "none", false, nil},
		{"me", s.direct, bmc, remote, 1, "direct", channelDirect, "bmc", false, none},
		{"me", s.handler, bmc, remote, 2, "handler", channelHandler, "none", false, none},
		{"me", s.host, bmc, remote, 3, "host", channelHost, "host", false, none},
		{"me", s.bridge, bmc, remote, 4, "bridge", channelBridge, "none", true, none},
	}
}

// daemon starts ipmbd again and again.
type daemon struct {
	stage   *stage
	program string
	bus     *messageBus
	config  string
	variant variant
}

// variant is how a lab differs from a daemon that is started as it is, on
// dbus-daemon.
type variant struct {
	title  string
	env    []string // of ipmbd
	onOne  bool     // ipmbd is kept on one processor
	broker string   // the message bus is this dbus-broker
}

// oneProcessor is GOMAXPROCS=1: Go code of ipmbd runs on one processor at a time,
// and system calls that block do so beside it.
var oneProcessor = variant{title: "GOMAXPROCS=1", env: []string{"GOMAXPROCS=1"}}

// config is ipmbd's configuration.
type config struct {
	Channels    []channel `json:"channels"`
	Hosts       []host    `json:"hosts,omitempty"`
	FrameSocket string    `json:"frame-socket,omitempty"`
}

// host is a machine in ipmbd's configuration.
type host struct {
	Type     string `json:"type"`
	Path     string `json:"path"`
	Name     string `json:"name"`
	Handler  string `json:"handler"`
	DevIndex int    `json:"devIndex"`
}

func newDaemon(s *stage, program string, bus *messageBus, v variant, c config) (*daemon, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.dir, "ipmbd.json")
	return &daemon{s, program, bus, file, v}, os.WriteFile(file, text, 0o600)
}

// start starts ipmbd and returns when it says that it is ready, and the time
// that took.
func (d *daemon) start() (*process, time.Duration, error) {
	path := filepath.Join(d.stage.dir, "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, 0, err
	}
	defer os.Remove(path)
	defer notify.Close()
	cmd := exec.Command(d.program, "--config", d.config, "--bus", d.bus.address, "--log-level", "warn")
	cmd.Env = append(append(os.Environ(), "NOTIFY_SOCKET="+path), d.variant.env...)
	begin := time.Now()
	p, err := d.run(cmd)
	if err != nil {
		return nil, 0, err
	}
	err = awaitReady(notify, p)
	return p, time.Since(begin), err
}

func (d *daemon) run(cmd *exec.Cmd) (p *process, err error) {
	if !d.variant.onOne {
		return d.stage.start(cmd)
	}
	list, err := processors()
	if err != nil {
		return nil, err
	}
	err = onProcessor(list[0], func() (err error) {
		p, err = d.stage.start(cmd)
		return err
	})
	return p, err
}

// checkPrograms says early what is missing.
func checkPrograms(o options) error {
	if _, err := os.Stat(o.ipmbd); err != nil {
		return fmt.Errorf("%w; build it with: make build", err)
	}
	if o.broker == "" {
		return nil
	}
	if _, err := os.Stat(o.broker); err != nil {
		return fmt.Errorf("%w; test/systemd/build gets it", err)
	}
	return nil
}

// awaitReady waits for READY=1 (sd_notify(3)).
func awaitReady(notify *net.UnixConn, p *process) error {
	if err := notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	said := make(chan error, 1)
	go func() { said <- readReady(notify) }()
	select {
	case err := <-said:
		return err
	case <-p.done:
		return p.end()
	}
}

// readReady reads what a service says until it says that it is ready.
func readReady(notify *net.UnixConn) error {
	b := make([]byte, 512)
	for {
		n, err := notify.Read(b)
		if err != nil {
			return fmt.Errorf("ipmbd does not say that it is ready: %w", err)
		}
		if slices.Contains(strings.Split(string(b[:n]), "\n"), "READY=1") {
			return nil
		}
	}
}
