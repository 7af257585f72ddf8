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

// Run lets watchdogs expire until ctx ends. What one has caused is carried out
// before the same one expires again, and does not hold up the others.
func (b *BMC) Run(ctx context.Context) {
	var deeds sync.WaitGroup
	defer deeds.Wait()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for ctx.Err() == nil {
		due, next := b.due(time.Now())
		for _, d := range due {
			deeds.Go(func() { b.carryOut(ctx, d) })
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
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
}

// due is what is to be carried out now, and when to look again.
func (b *BMC) due(now time.Time) (deeds []deed, next time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next = idle
	for _, w := range b.watchdogs {
		switch {
		case !w.running || w.busy:
		case now.Before(w.next()):
			next = min(next, w.next().Sub(now))
		default:
			w.busy = true
			deeds = append(deeds, deed{w, w.origin, w.expire(), !w.dontLog})
		}
	}
	return deeds, next
}

// carryOut acts before it writes: a slow log does not keep a host hanging. What
// has begun is done when ctx ends.
func (b *BMC) carryOut(ctx context.Context, d deed) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deedTime)
	defer cancel()
	defer b.done(d)
	d.expiry.Err = b.perform(ctx, d)
	if b.config.Watchdog != nil {
		b.config.Watchdog(d.origin.iface, d.origin.host, d.expiry)
	}
	if d.log {
		b.logEvent(ctx, b.watchdogEvent(d.origin, d.expiry))
	}
}

// done lets the watchdog expire again.
func (b *BMC) done(d deed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d.watchdog.busy = false
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
	e := d.expiry
	if !e.PreTimeout {
		if action, ok := timeoutActions[e.Action]; ok {
			return b.act(ctx, d.origin, action)
		}
		return nil
	}
	switch e.Interrupt {
	case InterruptMessaging:
		b.tellPreTimeout(d.watchdog)
		return nil
	case InterruptNMI:
		return b.act(ctx, d.origin, PulseDiagnosticInterrupt)
	}
	return ipmi.ErrCannot // No host interface has a way to an SMI.
}

func (b *BMC) logEvent(ctx context.Context, e ipmi.Event) {
	if b.config.LogEvent != nil {
		b.config.LogEvent(ctx, e)
		return
	}
	// A full log has raised its overflow flag: that is all there is to do.
	_ = b.log.Add(ctx, e)
}
