package bmc

import (
	"context"
	"sync"
	"time"

	"ipmbd/ipmi"
)

const (
	// idle is how often Run looks after the watchdogs when none of them runs.
	idle = time.Hour
	// deedTime is how long machine and log have for what an expiry has caused.
	deedTime = 10 * time.Second
)

// maxUntold is how many expiries of a watchdog may wait for a log that is slow;
// the next one comes when there is room.
const maxUntold = 8

// Run lets watchdogs expire until ctx ends. Each acts in time: it waits neither
// for the others, nor for what its pre-timeout has caused, nor for the log. Each
// watchdog's expiries are told of and logged in their order.
func (b *BMC) Run(ctx context.Context) {
	var deeds sync.WaitGroup
	defer deeds.Wait()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	hours := time.NewTicker(time.Hour)
	defer hours.Stop()
	for ctx.Err() == nil {
		due, next := b.due(time.Now())
		for _, d := range due {
			deeds.Go(func() { b.carryOut(ctx, d) })
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-hours.C:
			deeds.Go(b.keepHours)
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

// deed is what a watchdog has caused.
type deed struct {
	watchdog *watchdog
	origin   origin
	expiry   Expiry
	log      bool
	before   <-chan struct{} // closed when the one before has been told of
	told     chan struct{}
}

// due is what is to be carried out now, and when to look again.
func (b *BMC) due(now time.Time) (deeds []deed, next time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next = idle
	for _, w := range b.watchdogs {
		at, ready := w.next()
		switch {
		case !w.running || !ready:
		case now.Before(at):
			next = min(next, at.Sub(now))
		default:
			deeds = append(deeds, w.cause())
			next = 0 // It may have more to come.
		}
	}
	return deeds, next
}

// carryOut acts before it tells and writes: a slow log does not keep a host
// hanging. What has begun is done when ctx ends.
func (b *BMC) carryOut(ctx context.Context, d deed) {
	ctx = context.WithoutCancel(ctx)
	d.expiry.Err = b.perform(ctx, d)
	b.settle(func() { d.watchdog.acting[d.expiry.kind()] = false })
	if d.before != nil {
		<-d.before
	}
	if b.config.Watchdog != nil {
		b.config.Watchdog(d.origin.iface, d.origin.host, d.expiry)
	}
	if d.log {
		b.logEvent(ctx, b.watchdogEvent(d.origin, d.expiry))
	}
	close(d.told)
	b.settle(func() { d.watchdog.untold-- })
}

// settle notes that part of what a watchdog has caused is done.
func (b *BMC) settle(note func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	note()
	b.wake()
}

// timeoutActions are what the machine is to do.
var timeoutActions = map[TimeoutAction]Action{
	TimeoutHardReset:  HardReset,
	TimeoutPowerDown:  PowerDown,
	TimeoutPowerCycle: PowerCycle,
}

// perform does what a watchdog was set to do.
func (b *BMC) perform(ctx context.Context, d deed) error {
	ctx, cancel := context.WithTimeout(ctx, deedTime)
	defer cancel()
	e := d.expiry
	switch action, ok := timeoutActions[e.Action]; {
	case e.PreTimeout && e.Interrupt == InterruptNMI:
		return b.act(ctx, d.origin, PulseDiagnosticInterrupt)
	case e.PreTimeout:
		b.tellPreTimeout(d.watchdog)
	case ok:
		return b.act(ctx, d.origin, action)
	}
	return nil
}

func (b *BMC) logEvent(ctx context.Context, e ipmi.Event) {
	ctx, cancel := context.WithTimeout(ctx, deedTime)
	defer cancel()
	if b.config.LogEvent != nil {
		b.config.LogEvent(ctx, e)
		return
	}
	// A full log has raised its overflow flag: that is all there is to do.
	_ = b.log.Add(ctx, e)
}

// ClearPreTimeout ends the pending messaging interrupt of an interface's
// watchdog, as Clear Message Flags asks. Config.PreTimeout has been told when it
// returns.
func (b *BMC) ClearPreTimeout(iface string) {
	b.mu.Lock()
	w := b.watchdogs[iface]
	cleared := w != nil && w.pending
	if cleared {
		w.pending = false
	}
	b.mu.Unlock()
	if cleared {
		b.tellPreTimeout(w)
	}
}

// tellPreTimeout tells what is so now, in order: hence the one lock that is held
// over a call. Whoever comes last tells the last state.
func (b *BMC) tellPreTimeout(w *watchdog) {
	if b.config.PreTimeout == nil {
		return
	}
	b.telling.Lock()
	defer b.telling.Unlock()
	b.mu.Lock()
	iface, pending := w.iface, w.pending
	b.mu.Unlock()
	b.config.PreTimeout(iface, pending)
}
