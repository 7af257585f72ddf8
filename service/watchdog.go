package service

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// part is something that must go on for the service to be of use.
type part struct {
	name string
	// pulse returns when the part's loops have had a turn. Where one hangs, so
	// does it.
	pulse func(ctx context.Context)
}

// parts are those that run now.
func (s *service) parts() []part {
	parts := []part{{"D-Bus", s.server.Pulse}}
	for _, bus := range s.buses {
		parts = append(parts, part{"bus " + bus.name, bus.Pulse})
	}
	for _, h := range s.hosts {
		parts = append(parts, part{"host " + h.config.Name, h.loop.Pulse})
	}
	return parts
}

// feedWatchdog feeds systemd's watchdog until ctx ends, if there is one.
func (s *service) feedWatchdog(ctx context.Context) {
	const unsetEnvironment = true
	// An error is that of an environment which is not systemd's.
	limit, err := daemon.SdWatchdogEnabled(unsetEnvironment)
	if err != nil || limit == 0 {
		return
	}
	feed(ctx, limit/3, s.parts, s.log, func() {
		// systemd ends a service that it does not hear: an error needs no words.
		_ = notify("WATCHDOG=1")
	})
}

// feed feeds the watchdog at intervals. The hand that feeds has gone through every
// part before: where one hangs, the watchdog gets nothing any more, and systemd
// starts the service anew.
//
// A part that waits for the kernel does not hang. A device that takes a write and
// does not end it is Down for itself, the others are served, and another process
// could do no more: this one would not even end before the write.
func feed(ctx context.Context, every time.Duration, parts func() []part, log *zap.Logger, fed func()) {
	timer := time.NewTicker(every)
	defer timer.Stop()
	for {
		for _, p := range parts() {
			p.check(ctx, every, log)
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

// check goes through the part, and says so if that takes long.
func (p part) check(ctx context.Context, long time.Duration, log *zap.Logger) {
	late := time.AfterFunc(long, func() {
		log.Error("no progress: systemd's watchdog is not fed", zap.String("part", p.name))
	})
	defer late.Stop()
	p.pulse(ctx)
}
