package service

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"ipmbd/bus"
)

// notifyTime is how long systemd may take to read a message.
const notifyTime = 2 * time.Second

// notify tells systemd, where it has started us (sd_notify(3)).
func notify(states ...string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyTime)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(strings.Join(states, "\n")))
	return err
}

// firstWait is how long a step of the start takes until it is logged.
const firstWait = time.Second

// logWait logs that the start waits for something, after 1, 2, 4 s and so on, until stop.
func (s *service) logWait(what string, fields ...zap.Field) (stop func()) {
	ended := make(chan struct{})
	var logging sync.WaitGroup
	logging.Go(func() {
		for wait := firstWait; ; wait *= 2 {
			select {
			case <-time.After(wait):
				s.log.Warn("the start waits", append(fields, zap.String("for", what))...)
				_ = notify("STATUS=waiting for " + what)
			case <-ended:
				return
			}
		}
	})
	return func() { close(ended); logging.Wait() }
}

// tellStatus keeps systemd's status line true until ctx ends.
func (s *service) tellStatus(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			_ = notify(s.status()) // A failure of READY=1 would have ended the start.
		}
	}
}

// statusChanged makes tellStatus look.
func (s *service) statusChanged() {
	select {
	case s.changed <- struct{}{}:
	default: // It has been woken already.
	}
}

// status is a line for systemctl status. That no machine is connected yet is no fault.
func (s *service) status() string {
	var buses, hosts int
	var down, waiting []string
	for _, e := range s.endpoints.all() {
		if e.isBus {
			buses++
		} else {
			hosts++
		}
		switch state, _ := e.State(); state {
		case bus.Up:
		case bus.Waiting:
			waiting = append(waiting, e.name)
		default:
			down = append(down, e.name+" "+string(state))
		}
	}
	if buses+hosts == 0 && s.servesFound.Load() {
		return "STATUS=waiting for an IPMB device"
	}
	text := "STATUS=" + counted(buses, hosts)
	if len(down) == 0 && len(waiting) == 0 {
		text += " up"
	}
	return text + listed(", not up: ", down) + listed(", waiting for a machine: ", waiting) +
		listed("; ", s.faults.list())
}

// counted says how many buses and host interfaces there are; it leaves out a kind with none.
func counted(buses, hosts int) string {
	ofBuses, ofHosts := fmt.Sprintf("%d buses", buses), fmt.Sprintf("%d host interfaces", hosts)
	if buses == 1 {
		ofBuses = "1 bus"
	}
	if hosts == 1 {
		ofHosts = "1 host interface"
	}
	switch {
	case hosts == 0:
		return ofBuses
	case buses == 0:
		return ofHosts
	}
	return ofBuses + ", " + ofHosts
}

// listed is a list in order behind its title, or nothing.
func listed(title string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return title + strings.Join(names, ", ")
}

// loops are loops that must make progress for the service to be of use.
type loops struct {
	name string
	// ping returns when they have had a turn. If one hangs, ping does not return.
	ping func(ctx context.Context)
}

// loops are those that must make progress now.
func (s *service) loops() []loops {
	all := []loops{{"D-Bus", s.server.Ping}}
	for _, e := range s.endpoints.all() {
		all = append(all, loops{e.entry.Title(), e.Ping})
	}
	return all
}

// feedWatchdog feeds systemd's watchdog until ctx ends, if there is one.
func (s *service) feedWatchdog(ctx context.Context) {
	const unsetEnvironment = true
	// An error says that the environment is not systemd's.
	limit, err := daemon.SdWatchdogEnabled(unsetEnvironment)
	if err != nil || limit == 0 {
		return
	}
	feed(ctx, limit/3, s.loops, s.log, func() {
		_ = notify("WATCHDOG=1") // systemd ends a service that it does not hear.
	})
}

// feed calls fed at intervals, each time after all loops have answered a ping. When one of them
// hangs, feed no longer calls fed, and systemd restarts the service.
//
// A loop that waits for the kernel does not hang. If a device takes a write and does not end it,
// its bus is Down, and the other buses are served. A new process could do no more, and this
// process could not even end before the write.
func feed(ctx context.Context, every time.Duration, all func() []loops, log *zap.Logger, fed func()) {
	timer := time.NewTicker(every)
	defer timer.Stop()
	for {
		for _, l := range all() {
			late := time.AfterFunc(every, func() {
				log.Error("no progress: systemd's watchdog gets no ping", zap.String("loop", l.name))
			})
			l.ping(ctx)
			late.Stop()
		}
		if ctx.Err() != nil {
			return
		}
		fed()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}
