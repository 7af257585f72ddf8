package bmc

import (
	"time"

	"ipmbd/ipmi"
)

// watchdogUnit is the unit of countdowns (IPMI v2.0, section 27.6).
const watchdogUnit = 100 * time.Millisecond

// Fields of Set Watchdog Timer (IPMI v2.0, section 27.6).
type (
	TimerUse      uint8 // what the watchdog guards
	TimeoutAction uint8 // the action at its time-out
	Interrupt     uint8 // the action at its pre-timeout
)

// Uses of a watchdog.
const (
	UseBIOSFRB2 TimerUse = iota + 1
	UseBIOSPOST
	UseOSLoad
	UseSMSOS // a running operating system
	UseOEM
)

// Actions of a watchdog.
const (
	TimeoutNone TimeoutAction = iota
	TimeoutHardReset
	TimeoutPowerDown
	TimeoutPowerCycle
)

// Pre-timeout interrupts.
const (
	InterruptNone Interrupt = iota
	InterruptSMI
	InterruptNMI
	InterruptMessaging
)

// Expiry is an expiration of a watchdog.
type Expiry struct {
	// PreTimeout reports that this is the pre-timeout, at which Interrupt was due; otherwise it is
	// the time-out, at which Action was due.
	PreTimeout bool
	Use        TimerUse
	Action     TimeoutAction
	Interrupt  Interrupt
	// Err is why the machine has not acted, nil if it has or if no action was due.
	Err error
}

// Kinds of expirations. One of each kind may act at a time.
const (
	kindPreTimeout = iota
	kindTimeout
	expirationKinds
)

func (e Expiry) kind() int {
	if e.PreTimeout {
		return kindPreTimeout
	}
	return kindTimeout
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

	set         time.Time // by Set Watchdog Timer since the last reset; zero: not initialized
	running     bool
	started     time.Time
	deadline    time.Time // while it runs
	left        uint16    // in watchdogUnit, while it does not run
	interrupted bool      // the pre-timeout of this countdown has expired
	pending     bool      // the messaging interrupt is pending

	expirations
}

// expirations are the expirations of a watchdog whose effects are in progress.
type expirations struct {
	acting         [expirationKinds]bool // the machine acts
	pendingReports int
	last           chan struct{} // closed when the last one has been reported
}

// start counts down from the initial value.
func (w *watchdog) start(now time.Time) {
	w.running, w.interrupted, w.started = true, false, now
	w.deadline = now.Add(time.Duration(w.initial) * watchdogUnit)
}

// countdown is the rest of the countdown in watchdogUnit, rounded up.
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

// next returns the time of the next expiration. ready is false while effects of earlier
// expirations must end first.
func (w *watchdog) next() (at time.Time, ready bool) {
	ready = w.pendingReports < maxPendingReports
	if w.isPreTimeoutNext() {
		return w.deadline.Add(-w.preTimeout), ready
	}
	return w.deadline, ready && !w.acting[kindTimeout]
}

// isPreTimeoutNext reports whether the next expiration is a pre-timeout. A countdown has no
// pre-timeout while the pre-timeout of an earlier countdown still acts.
func (w *watchdog) isPreTimeoutNext() bool {
	return w.interrupt != InterruptNone && !w.interrupted && !w.acting[kindPreTimeout]
}

// expire returns the expiration that is due: the pre-timeout, then the time-out.
func (w *watchdog) expire() expiration {
	e := expiration{
		Expiry:   Expiry{PreTimeout: w.isPreTimeoutNext(), Use: w.use, Action: w.action, Interrupt: w.interrupt},
		watchdog: w, origin: w.origin, log: !w.dontLog, previous: w.last, reported: make(chan struct{}),
	}
	if e.PreTimeout {
		w.interrupted = true
		w.pending = w.interrupt == InterruptMessaging
	} else {
		w.running, w.left, w.dontLog = false, 0, false
		w.expired |= 1 << w.use
	}
	w.acting[e.kind()] = true
	w.pendingReports++
	w.last = e.reported
	return e
}

// hostReset is what a reset of the host leaves of a watchdog: it does not run, logs again, and is
// not initialized; what it was set to and its expiration flags stay (IPMI v2.0, sections 27.2, 27.5
// and 27.7).
func (w *watchdog) hostReset() {
	w.stop()
	w.dontLog, w.set = false, time.Time{}
}

// coldReset is what a reset of the BMC leaves of a watchdog: nothing.
func (w *watchdog) coldReset() { *w = watchdog{origin: w.origin, expirations: w.expirations} }

// resetWatchdogs resets some watchdogs and ends their messaging interrupts, as resets of the system
// and of the BMC do (IPMI v2.0, section 27.6).
func (b *BMC) resetWatchdogs(reset func(*watchdog), which func(*watchdog) bool) {
	var interrupted []*watchdog
	b.mu.Lock()
	for _, w := range b.watchdogs {
		if !which(w) {
			continue
		}
		wasPending := w.pending
		w.pending = false
		reset(w)
		if wasPending {
			interrupted = append(interrupted, w)
		}
	}
	b.mu.Unlock()
	for _, w := range interrupted {
		b.reportPreTimeout(w)
	}
}

// InterfaceGone removes the watchdog of an interface that no longer exists. Another interface of
// its name gets a watchdog of its own.
func (b *BMC) InterfaceGone(iface string) {
	b.resetWatchdogs((*watchdog).hostReset, func(w *watchdog) bool { return w == b.watchdogs[iface] })
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watchdogs, iface)
}

// Numbers of events (IPMI v2.0, sections 29.7, 32.1 and 42.1).
const (
	sensorSpecific = 0x6F
	eventRevision  = 0x04
	noEventData    = 0xFF
	bmcGenerator   = 0x0020 // the BMC's address, channel and LUN 0
)

// Numbers of the sensor (IPMI v2.0, table 42-3, Watchdog 2). The offset of an event is the
// action, or 8 for the interrupt; event data 2 is interrupt and use.
const (
	watchdogSensorType   = 0x23
	dataIsSpecific       = 0xC0 // event data 2 is a sensor-specific extension
	offsetTimerInterrupt = 8
)

// watchdogEvent is an expiration as the log has it.
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
