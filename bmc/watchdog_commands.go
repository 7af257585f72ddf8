package bmc

import (
	"encoding/binary"
	"time"

	"ipmbd/ipmi"
)

// watchdogCommands act on the watchdog of the interface that a request comes from (IPMI v2.0,
// section 27).
var watchdogCommands = []command{
	{ipmi.NetFnApp, 0x22, 0, 0, atOnce, resetWatchdog},
	{ipmi.NetFnApp, 0x24, 6, 6, atOnce, setWatchdog},
	{ipmi.NetFnApp, 0x25, 0, 0, atOnce, getWatchdog},
}

// codeNotInitialized: there has been no Set Watchdog Timer since the last reset (section 27.5).
const codeNotInitialized ipmi.CompletionCode = 0x80

// Bits of requests and responses (sections 27.6 and 27.7).
const (
	watchdogDontLog  = 1 << 7
	watchdogDontStop = 1 << 6 // in a request
	watchdogRunning  = 1 << 6 // in a response
	useBits          = 0x07
	reservedUseBits  = 0x38
	actionBits       = 0x07
	interruptShift   = 4
	reservedActions  = 0x88
	reservedExpired  = 0xC1 // of the expiration flags
)

// resetWatchdog starts the countdown, except between pre-timeout and time-out: then only Set
// Watchdog Timer can stop it (section 27.5).
func resetWatchdog(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.watchdogs[req.Interface]
	switch {
	case w == nil || w.set.IsZero():
		return refuse(codeNotInitialized)
	case w.running && w.interrupted:
		return refuse(ipmi.CodeNotInState)
	}
	w.start(time.Now())
	b.wake()
	return answer()
}

// setWatchdog takes use and flags, interrupt and action, pre-timeout in seconds, expiration flags
// to clear, and the countdown. It ends a pending messaging interrupt. A pre-timeout of 0 comes with
// the time-out; another one must be shorter than the countdown. No host interface carries an SMI;
// whether the machine has an NMI shows when the interrupt is due.
func setWatchdog(b *BMC, req *ipmi.Request) ipmi.Response {
	set := watchdog{
		origin:     origin{req.Interface, req.Host, req.Channel, causeWatchdog},
		use:        TimerUse(req.Data[0] & useBits),
		dontLog:    req.Data[0]&watchdogDontLog != 0,
		action:     TimeoutAction(req.Data[1] & actionBits),
		interrupt:  Interrupt(req.Data[1] >> interruptShift & 0x07),
		preTimeout: time.Duration(req.Data[2]) * time.Second,
		initial:    binary.LittleEndian.Uint16(req.Data[4:]),
		set:        time.Now(),
	}
	if req.Data[0]&reservedUseBits != 0 || req.Data[1]&reservedActions != 0 || req.Data[3]&reservedExpired != 0 ||
		set.use < UseBIOSFRB2 || set.use > UseOEM || set.action > TimeoutPowerCycle ||
		set.interrupt > InterruptMessaging || set.interrupt == InterruptSMI ||
		set.preTimeout != 0 && set.preTimeout >= time.Duration(set.initial)*watchdogUnit {
		return refuse(ipmi.CodeInvalidField)
	}
	b.mu.Lock()
	w := b.watchdogs[set.iface]
	if w == nil {
		w = new(watchdog)
		b.watchdogs[set.iface] = w
	}
	set.left, set.expired, set.expirations = set.initial, w.expired&^req.Data[3], w.expirations
	interrupted := w.pending
	if w.running && req.Data[0]&watchdogDontStop != 0 {
		set.start(time.Now())
	}
	*w = set
	b.wake()
	b.mu.Unlock()
	if interrupted {
		b.reportPreTimeout(w)
	}
	return answer()
}

// getWatchdog answers with the settings, the expiration flags, and the initial and the present
// countdown.
func getWatchdog(b *BMC, req *ipmi.Request) ipmi.Response {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.watchdogs[req.Interface]
	if w == nil {
		w = new(watchdog)
	}
	use := byte(w.use)
	if w.dontLog {
		use |= watchdogDontLog
	}
	if w.running {
		use |= watchdogRunning
	}
	data := []byte{use, byte(w.interrupt)<<interruptShift | byte(w.action), byte(w.preTimeout / time.Second), w.expired}
	return answer(append(data, words(int(w.initial), int(w.countdown(time.Now())))...)...)
}
