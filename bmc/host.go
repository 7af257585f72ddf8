package bmc

import (
	"context"
	"fmt"
	"maps"
	"time"

	"ipmbd/ipmi"
)

// Machine controls the hosts behind the interfaces of a BMC. Its methods may be called from
// several goroutines at once.
type Machine interface {
	// Act returns when the machine has accepted the action, not when it has finished it: the host
	// still waits for the response to its request. ipmi.CodeOf turns the errors into completion
	// codes; ipmi.ErrUnsupported (D5h) says that the machine has no way to do it.
	Act(ctx context.Context, iface string, host int, a Action) error
	// Power is the present state of a host. It must not block.
	Power(iface string, host int) PowerState
}

// Action is an action on a host, with its number in Chassis Control (IPMI v2.0, section 28.3).
type Action uint8

// Actions.
const (
	PowerDown  Action = iota // at once
	PowerUp                  // no effect if the host is on
	PowerCycle               // off and on
	HardReset
	PulseDiagnosticInterrupt // an NMI
	SoftShutdown             // asks the operating system to shut down
)

var actionNames = [...]string{
	PowerDown:                "power down",
	PowerUp:                  "power up",
	PowerCycle:               "power cycle",
	HardReset:                "hard reset",
	PulseDiagnosticInterrupt: "diagnostic interrupt",
	SoftShutdown:             "soft shutdown",
}

// String is the action in words: "power cycle".
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "unknown action"
}

// PowerState is whether a host has power.
type PowerState uint8

// States. A host whose state is unknown is on, as it sends requests.
const (
	PowerOn PowerState = iota
	PowerOff
)

// host is the state of a host that ends with the process.
type host struct {
	system, device byte // ACPI power states

	cause        restartCause
	causeChannel ipmi.Channel
	byCommand    bool // power was last switched on by a command

	identify      identifyState
	identifyUntil time.Time

	bootFlagsUntil time.Time // when they stop being valid
	bootFlagsEnded byte      // the bit of flag clearing that keeps them after the last reset; 0: none was

	info map[infoKey][infoBlock]byte // volatile texts of the system info

	// expected is until when a reset or loss of power is the effect of an action of ours.
	expected time.Time
}

// host is the state of a host; the caller holds mu.
func (b *BMC) host(number int) *host {
	h := b.hosts[number]
	if h == nil {
		h = &host{
			system: acpiUnknown, device: acpiUnknown, bootFlagsUntil: b.started.Add(bootFlagsTime),
			info: make(map[infoKey][infoBlock]byte),
		}
		b.hosts[number] = h
	}
	return h
}

// hostSetting is the name of a host's setting.
func hostSetting(number int, name string) string { return fmt.Sprintf("host/%d/%s", number, name) }

// origin is the interface whose request or watchdog causes an action.
type origin struct {
	iface   string
	host    int
	channel ipmi.Channel
	cause   restartCause
}

// restartCause is why a host has started (IPMI v2.0, section 28.11).
type restartCause uint8

const (
	causeUnknown  restartCause = 0x0
	causeCommand  restartCause = 0x1 // Chassis Control
	causeWatchdog restartCause = 0x4
)

// act has the machine act, and stores the effects of the action.
func (b *BMC) act(ctx context.Context, o origin, a Action) error {
	if b.config.Machine == nil {
		return ipmi.ErrUnsupported
	}
	asked, was := time.Now(), b.config.Machine.Power(o.iface, o.host)
	resets := a != PulseDiagnosticInterrupt && a != SoftShutdown && (a != PowerUp || was == PowerOff)
	if resets || a == SoftShutdown {
		b.expectReset(o.host, asked.Add(expectedTime))
	}
	if err := b.config.Machine.Act(ctx, o.iface, o.host, a); err != nil {
		b.expectReset(o.host, time.Time{})
		return err
	}
	if !resets {
		return nil // The host runs on.
	}
	b.noteRestart(o, a)
	if a != PowerUp {
		// The watchdogs guarded software that no longer runs. But a slow machine may have let the
		// host run again: watchdogs that were set or started since then go on.
		b.endHost(o.host, func(w *watchdog) bool {
			return w.host == o.host && !w.started.After(asked) && !w.set.After(asked)
		})
	}
	if o.cause == causeWatchdog {
		return b.clearBootFlags(o.host, keepAfterWatchdog)
	}
	return nil
}

// expectedTime is how long after an action its effect is expected: an operating system may take its
// time to shut down. It is how long Chassis Control keeps boot flags valid.
const expectedTime = bootFlagsTime

// expectReset sets until when a reset or loss of power of a host is our doing.
func (b *BMC) expectReset(number int, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host(number).expected = until
}

// endHost ends what a reset or loss of power of a host ends: the watchdogs that guarded its
// software, the texts that name this software, and the sets of parameters that it has begun.
func (b *BMC) endHost(number int, watchdogs func(*watchdog) bool) {
	b.resetWatchdogs((*watchdog).hostReset, watchdogs)
	b.mu.Lock()
	clear(b.host(number).info)
	maps.DeleteFunc(b.inProgress, func(_ string, by int) bool { return by == number })
	b.mu.Unlock()
	if b.config.HostReset != nil {
		b.config.HostReset(number)
	}
}

// sameReset is how long after the first sign of a reset others are signs of the same one: each
// interface of a host may have its own.
const sameReset = 2 * time.Second

// HostReset notes that a host was reset. If the BMC has not done that, the cause is unknown, and
// boot flags stop being valid unless flag clearing says otherwise.
func (b *BMC) HostReset(number int) { b.hostEnded(number, keepAfterReset) }

// HostGone notes that a host has lost its power. It works as HostReset.
func (b *BMC) HostGone(number int) { b.hostEnded(number, keepAfterPowerUp) }

func (b *BMC) hostEnded(number int, keptBy byte) {
	b.endHost(number, func(w *watchdog) bool { return w.host == number })
	b.mu.Lock()
	defer b.mu.Unlock()
	h, now := b.host(number), time.Now()
	if now.Before(h.expected) {
		if end := now.Add(sameReset); end.Before(h.expected) {
			h.expected = end
		}
		return
	}
	h.cause, h.causeChannel, h.byCommand = causeUnknown, 0, false
	h.bootFlagsEnded = keptBy
}

// noteRestart notes why a host starts.
func (b *BMC) noteRestart(o origin, a Action) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.host(o.host)
	if a != PowerDown {
		h.cause, h.causeChannel = o.cause, o.channel
	}
	if a == PowerUp || a == PowerCycle {
		h.byCommand = o.cause == causeCommand
	}
}

func (b *BMC) power(req *ipmi.Request) PowerState {
	if b.config.Machine == nil {
		return PowerOn
	}
	return b.config.Machine.Power(req.Interface, req.Host)
}
