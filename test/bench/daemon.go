package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// object is a JSON object of ipmbd's configuration.
type object = map[string]any

// channel is a bus of type me, or the keys that it has instead of others.
func channel(path, name string, devIndex, ipmiChannel int, keys object) object {
	c := object{
		"type": "me", "slave-path": path, "bmc-addr": bmcAddress, "remote-addr": responderAddress,
		"devIndex": devIndex, "name": name, "ipmi-channel": ipmiChannel, "handler": "none",
	}
	for key, value := range keys {
		c[key] = value
	}
	return c
}

// asking are the keys of a bus whose peer asks: its requests look alike, and it uses its numbers
// again soon.
func asking(handler string) object { return object{"handler": handler, "duplicate-window-ms": 0} }

// indexOf is the index of a bus of type me in org.openbmc.Ipmb: devIndex * 4 + type.
func indexOf(devIndex int) uint8 { return uint8(devIndex<<2 | 1) }

// variant is how a stage differs from a daemon that is started as it is, on dbus-daemon.
type variant struct {
	title  string
	env    []string // of ipmbd
	onOne  bool     // ipmbd is kept on one processor
	broker string   // the message bus is this dbus-broker
}

// oneProcessor is GOMAXPROCS=1: Go code of ipmbd runs on one processor at a time,
// and system calls that block do so beside it.
var oneProcessor = variant{title: "GOMAXPROCS=1", env: []string{"GOMAXPROCS=1"}}

// titled adds the variant to the title of a table.
func (v variant) titled(title string) string {
	if v.title == "" {
		return title
	}
	return title + "; " + v.title
}

// startIPMBD starts ipmbd and returns when it says that it is ready, and the time that took.
func (s *stage) startIPMBD(o options, v variant, config object) (*process, time.Duration, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return nil, 0, err
	}
	file, path := s.path("ipmbd.json"), s.path("notify")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, 0, err
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, 0, err
	}
	defer os.Remove(path)
	defer notify.Close()
	cmd := exec.Command(o.ipmbd, "--config", file, "--bus", s.address(), "--log-level", "warn")
	cmd.Env = append(append(os.Environ(), "NOTIFY_SOCKET="+path), v.env...)
	var p *process
	run := func() (err error) {
		p, err = s.start(cmd)
		return err
	}
	begin := time.Now()
	if v.onOne {
		err = onFirstProcessor(run)
	} else {
		err = run()
	}
	if err == nil {
		err = awaitReady(notify, p)
	}
	return p, time.Since(begin), err
}

// awaitReady waits for READY=1 (sd_notify(3)).
func awaitReady(notify *net.UnixConn, p *process) error {
	late := time.AfterFunc(timeLimit, p.stop)
	defer late.Stop()
	go func() {
		<-p.done
		notify.Close()
	}()
	b := make([]byte, 512)
	for {
		n, err := notify.Read(b)
		if err != nil {
			return fmt.Errorf("ipmbd does not say that it is ready: %w", p.end())
		}
		if slices.Contains(strings.Split(string(b[:n]), "\n"), "READY=1") {
			return nil
		}
	}
}
