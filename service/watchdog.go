package service

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// vital is something that must go on for the service to be of use.
type vital struct {
	name string
	// pulse returns when its loops have had a turn. Where one hangs, so does it.
	pulse func(ctx context.Context)
}

// vitals are what must go on now.
func (s *service) vitals() []vital {
	vitals := []vital{{"D-Bus", s.server.Pulse}}
	for _, m := range s.members.all() {
		vitals = append(vitals, vital{m.config.entry().Title(), m.Pulse})
	}
	return vitals
}

// feedWatchdog feeds systemd's watchdog until ctx ends, if there is one.
func (s *service) feedWatchdog(ctx context.Context) {
	const unsetEnvironment = true
	// An error is that of an environment which is not systemd's.
	limit, err := daemon.SdWatchdogEnabled(unsetEnvironment)
	if err != nil || limit == 0 {
		return
	}
	feed(ctx, limit/3, s.vitals, s.log, func() {
		// systemd ends a service that it does not hear: an error needs no words.
		_ = notify("WATCHDOG=1")
	})
}

// feed calls fed at intervals, each time after every vital has answered its check. When one
// of them hangs, fed is called no more, and systemd starts the service anew.
//
// A vital that waits for the kernel does not hang. A device that takes a write and does not
// end it makes its bus Down, and the other buses are served. A new process could do no more,
// and this one could not even end before the write.
func feed(ctx context.Context, every time.Duration, vitals func() []vital, log *zap.Logger, fed func()) {
	timer := time.NewTicker(every)
	defer timer.Stop()
	for {
		for _, v := range vitals() {
			v.check(ctx, every, log)
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

// check goes through it, and says so if that takes long.
func (v vital) check(ctx context.Context, long time.Duration, log *zap.Logger) {
	late := time.AfterFunc(long, func() {
		log.Error("no progress: systemd's watchdog is not fed", zap.String("part", v.name))
	})
	defer late.Stop()
	v.pulse(ctx)
}
