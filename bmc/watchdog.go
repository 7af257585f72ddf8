package bmc

import (
	"time"

	"ipmbd/ipmi"
)

// watchdogUnit is what a watchdog counts in (IPMI v2.0, section 27.6).
const watchdogUnit = 100 * time.Millisecond

// TimerUse is what a watchdog is used for (IPMI v2.0, section 27.6).
type TimerUse uint8

// Uses of a watchdog.
const (
	UseBIOSFRB2 TimerUse = iota + 1
	UseBIOSPOST
	UseOSLoad
	UseSMSOS // a running operating system
	UseOEM
)

// TimeoutAction is what a watchdog does at its end (IPMI v2.0, section 27.6).
type TimeoutAction uint8

// Actions of a watchdog.
const (
	TimeoutNone TimeoutAction = iota
	TimeoutHardReset
	TimeoutPowerDown
	TimeoutPowerCycle
)

// Interrupt is what a watchdog does some time before its end (IPMI v2.0, section
// 27.6).
type Interrupt uint8

// Pre-timeout interrupts.
const (
	InterruptNone Interrupt = iota
	InterruptSMI
	InterruptNMI
	InterruptMessaging
)

// Expiry is what has happened to a watchdog.
type Expiry struct {
	// PreTimeout: the time-out is near, and Interrupt was due; else it has come,
	// and Action was.
	PreTimeout bool
	Use        TimerUse
	Action     TimeoutAction
	Interrupt  Interrupt
	// Err is why the machine has not done it, nil if it has or had nothing to do.
	Err error
}

// watchdog is the timer of an interface. The BMC's mu guards it.
type watchdog struct {
	origin

	use        TimerUse
	dontLog    bool
	action     TimeoutAction
	interrupt  Interrupt
	preTimeout time.Duration
	initial    uint16 // in watchdogUnit
	expired    byte   // bit n: it expired while its use was n

	running     bool
	started     time.Time
	deadline    time.Time // while it runs
	left        uint16    // in watchdogUnit, while it does not
	interrupted bool      // the pre-timeout of this countdown has come
	pending     bool      // its messaging interrupt is

	deeds
}

// deeds are what a watchdog has caused and is not done yet.
type deeds struct {
	acting [expiryKinds]bool // the machine is being told
	untold int               // expiries that are not told of yet
	last   chan struct{}     // closed when the last of them has been
}

// Kinds of expiries, of which one each may act at a time.
const (
	kindPreTimeout = iota
	kindTimeout
	expiryKinds
)

func (e Expiry) kind() int {
	if e.PreTimeout {
		return kindPreTimeout
	}
	return kindTimeout
}

// start counts down from the initial value.
func (w *watchdog) start(now time.Time) {
	w.running, w.interrupted, w.started = true, false, now
	w.deadline = now.Add(time.Duration(w.initial) * watchdogUnit)
}

// countdown is what is left of it, in watchdogUnit, a part of one as a whole.
func (w *watchdog) countdown(now time.Time) uint16 {
	if !w.running {
		return w.left
	}
	return uint16((max(w.deadline.Sub(now), 0) + watchdogUnit - 1) / watchdogUnit)
}

func (w *watchdog) stop() {
	if w.running {
		w.running, w.left = false, w.initial
	}
}

// next is when something happens to it, if nothing is in the way of that.
func (w *watchdog) next() (at time.Time, ready bool) {
	if w.interrupts() {
		return w.deadline.Add(-w.preTimeout), w.untold < maxUntold
	}
	return w.deadline, w.untold < maxUntold && !w.acting[kindTimeout]
}

// interrupts reports whether its pre-timeout is to come. While that of an earlier
// countdown goes on there is no other.
func (w *watchdog) interrupts() bool {
	return w.interrupt != InterruptNone && !w.interrupted && !w.acting[kindPreTimeout]
}

// cause is what is to be done now that next has come.
func (w *watchdog) cause() deed {
	e := w.expire()
	d := deed{watchdog: w, origin: w.origin, expiry: e, log: !w.dontLog, before: w.last, told: make(chan struct{})}
	w.acting[e.kind()] = true
	w.untold++
	w.last = d.told
	return d
}

// expire is what happens now that next has come: the pre-timeout, then the end.
func (w *watchdog) expire() Expiry {
	e := Expiry{Use: w.use, Action: w.action, Interrupt: w.interrupt}
	if w.interrupts() {
		e.PreTimeout, w.interrupted = true, true
		w.pending = w.interrupt == InterruptMessaging
		return e
	}
	w.running, w.left = false, 0
	w.expired |= 1 << w.use
	return e
}

// stopWatchdogs stops some of them and ends their messaging interrupts, as resets
// of the system and of the BMC do (IPMI v2.0, section 27.6).
func (b *BMC) stopWatchdogs(which func(*watchdog) bool) {
	for _, w := range b.haltWatchdogs(which) {
		b.tellPreTimeout(w)
	}
}

// HostGone tells that the host behind an interface was reset or has lost its
// power. What its watchdog guarded runs no more: what runs next must not be reset
// for it.
func (b *BMC) HostGone(iface string) {
	b.stopWatchdogs(func(w *watchdog) bool { return w == b.watchdogs[iface] })
}

// InterfaceGone tells that an interface is no more. Another one of its name has a
// watchdog of its own.
func (b *BMC) InterfaceGone(iface string) {
	b.HostGone(iface)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watchdogs, iface)
}

// haltWatchdogs returns those that had a messaging interrupt pending.
func (b *BMC) haltWatchdogs(which func(*watchdog) bool) (interrupted []*watchdog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.watchdogs {
		if !which(w) {
			continue
		}
		w.stop()
		if w.pending {
			w.pending = false
			interrupted = append(interrupted, w)
		}
	}
	return interrupted
}

// Event data of the sensor (IPMI v2.0, table 42-3, Watchdog 2): the offset is that
// of the action, or of the interrupt; data 2 says interrupt and use.
const (
	watchdogSensorType   = 0x23
	sensorSpecific       = 0x6F
	eventRevision        = 0x04
	dataIsSpecific       = 0xC0 // event data 2 is a sensor-specific extension
	offsetTimerInterrupt = 8
	noEventData          = 0xFF
	bmcGenerator         = 0x0020 // the BMC's address, channel and LUN 0
)

// watchdogEvent is an expiry as the log has it.
func (b *BMC) watchdogEvent(o origin, e Expiry) ipmi.Event {
	offset := byte(e.Action)
	if e.PreTimeout {
		offset = offsetTimerInterrupt
	}
	return ipmi.Event{
		Interface: o.iface,
		Channel:   o.channel,
		Host:      o.host,
		Generator: bmcGenerator,
		Message: [7]byte{eventRevision, watchdogSensorType, b.config.WatchdogSensor, sensorSpecific,
			dataIsSpecific | offset, byte(e.Interrupt)<<4 | byte(e.Use), noEventData},
	}
}
