package bmc

import (
	"context"
	"sync"
	"time"

	"ipmbd/ipmi"
)

const (
	// idleTime is how often Run looks at the watchdogs when none of them runs.
	idleTime = time.Hour
	// effectTime is how long the machine and the log have, each, for an expiration.
	effectTime = 10 * time.Second
	// maxPendingReports is how many expirations of a watchdog may wait for a slow log. The next
	// one comes when fewer wait.
	maxPendingReports = 8
)

// Run lets watchdogs expire until ctx ends. Each acts in time: it waits neither for the others,
// nor for the effects of its pre-timeout, nor for the log. The expirations of a watchdog are
// reported and logged in their order.
func (b *BMC) Run(ctx context.Context) {
	var effects sync.WaitGroup
	defer effects.Wait()
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	hours := time.NewTicker(time.Hour)
	defer hours.Stop()
	retries := time.NewTicker(retryTime)
	defer retries.Stop()
	for ctx.Err() == nil {
		due, next := b.expireWatchdogs(time.Now())
		for _, e := range due {
			effects.Go(func() { b.handleExpiration(context.WithoutCancel(ctx), e) })
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-hours.C:
			effects.Go(b.storeHours)
		case <-retries.C:
			effects.Go(func() { _ = b.journal.restoreDisk() }) // DiskState has told of the fault.
		case <-b.changed:
		}
	}
}

// wake makes Run look at the watchdogs.
func (b *BMC) wake() {
	select {
	case b.changed <- struct{}{}:
	default: // It has been woken already.
	}
}

// expiration is an Expiry whose effects are to come.
type expiration struct {
	Expiry
	watchdog *watchdog
	origin   origin
	log      bool
	previous <-chan struct{} // closed when the one before has been reported; nil for the first one
	reported chan struct{}
}

// expireWatchdogs returns the expirations that are due, and when to look again.
func (b *BMC) expireWatchdogs(now time.Time) (due []expiration, next time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next = idleTime
	for _, w := range b.watchdogs {
		at, ready := w.next()
		switch {
		case !w.running || !ready:
		case now.Before(at):
			next = min(next, at.Sub(now))
		default:
			due = append(due, w.expire())
			next = 0 // It may have more to come.
		}
	}
	return due, next
}

// handleExpiration acts before it reports and logs: a slow log must not keep a host hanging. Run
// waits for it, also when its context has ended.
func (b *BMC) handleExpiration(ctx context.Context, e expiration) {
	e.Err = b.causeEffect(ctx, e)
	b.updateWatchdog(func() { e.watchdog.acting[e.kind()] = false })
	if e.previous != nil {
		<-e.previous
	}
	if b.config.Watchdog != nil {
		b.config.Watchdog(e.origin.iface, e.origin.host, e.Expiry)
	}
	if e.log {
		b.logEvent(ctx, b.watchdogEvent(e.origin, e.Expiry))
	}
	close(e.reported)
	b.updateWatchdog(func() { e.watchdog.pendingReports-- })
}

// updateWatchdog changes the state of a watchdog, after which it may expire.
func (b *BMC) updateWatchdog(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	b.wake()
}

// timeoutActions are the actions of the machine.
var timeoutActions = map[TimeoutAction]Action{
	TimeoutHardReset:  HardReset,
	TimeoutPowerDown:  PowerDown,
	TimeoutPowerCycle: PowerCycle,
}

// causeEffect carries out the action of the watchdog.
func (b *BMC) causeEffect(ctx context.Context, e expiration) error {
	ctx, cancel := context.WithTimeout(ctx, effectTime)
	defer cancel()
	switch action, ok := timeoutActions[e.Action]; {
	case e.PreTimeout && e.Interrupt == InterruptNMI:
		return b.act(ctx, e.origin, PulseDiagnosticInterrupt)
	case e.PreTimeout:
		b.reportPreTimeout(e.watchdog)
	case ok:
		return b.act(ctx, e.origin, action)
	}
	return nil
}

func (b *BMC) logEvent(ctx context.Context, e ipmi.Event) {
	ctx, cancel := context.WithTimeout(ctx, effectTime)
	defer cancel()
	if b.config.LogEvent != nil {
		b.config.LogEvent(ctx, e)
		return
	}
	// A full log has raised its overflow flag: there is nothing else to do.
	_ = b.log.Add(ctx, e)
}

// ClearPreTimeout ends the pending messaging interrupt of an interface's watchdog, as Clear
// Message Flags requests. Config.PreTimeout has been called when it returns.
func (b *BMC) ClearPreTimeout(iface string) {
	b.mu.Lock()
	w := b.watchdogs[iface]
	cleared := w != nil && w.pending
	if cleared {
		w.pending = false
	}
	b.mu.Unlock()
	if cleared {
		b.reportPreTimeout(w)
	}
}

// reportPreTimeout calls Config.PreTimeout with the present state. The lock is held over the
// call, so that the last call reports the last state.
func (b *BMC) reportPreTimeout(w *watchdog) {
	if b.config.PreTimeout == nil {
		return
	}
	b.reporting.Lock()
	defer b.reporting.Unlock()
	b.mu.Lock()
	iface, pending := w.iface, w.pending
	b.mu.Unlock()
	b.config.PreTimeout(iface, pending)
}
