package bmc

import (
	"context"
	"fmt"
	"time"

	"ipmbd/ipmi"
)

// host is what the BMC remembers of a host until its own end.
type host struct {
	system, device byte // ACPI power states

	cause        restartCause
	causeChannel ipmi.Channel
	byCommand    bool // power was last switched on by a command

	identify      identifyState
	identifyUntil time.Time

	bootFlagsUntil time.Time // when they stop being valid
}

// host is the state of a host; the caller holds mu.
func (b *BMC) host(number int) *host {
	h := b.hosts[number]
	if h == nil {
		h = &host{system: acpiUnknown, device: acpiUnknown, bootFlagsUntil: b.started.Add(bootFlagsTime)}
		b.hosts[number] = h
	}
	return h
}

// hostSetting is the name of a host's setting.
func hostSetting(number int, name string) string { return fmt.Sprintf("host/%d/%s", number, name) }

// origin is where a wish to act on a host comes from.
type origin struct {
	iface   string
	host    int
	channel ipmi.Channel
	cause   restartCause
}

// restartCause is why a host has started (IPMI v2.0, section 28.11).
type restartCause uint8

const (
	causeCommand  restartCause = 0x1 // Chassis Control
	causeWatchdog restartCause = 0x4
)

// act has the machine do something, and remembers it.
func (b *BMC) act(ctx context.Context, o origin, a Action) error {
	if b.config.Machine == nil {
		return ipmi.ErrUnsupported
	}
	asked, was := time.Now(), b.config.Machine.Power(o.iface, o.host)
	if err := b.config.Machine.Act(ctx, o.iface, o.host, a); err != nil {
		return err
	}
	if a == PulseDiagnosticInterrupt || a == SoftShutdown || a == PowerUp && was == PowerOn {
		return nil // The host runs on.
	}
	b.remember(o, a)
	if a != PowerUp {
		// They guarded software that no longer runs; but those that were started
		// since do not: a slow machine has let the host run again.
		b.stopWatchdogs(func(w *watchdog) bool { return w.host == o.host && !w.started.After(asked) })
	}
	if o.cause == causeWatchdog {
		if err := b.endBootFlags(o.host); err != nil {
			return err
		}
	}
	return b.forgetOS(o.host)
}

// remember notes why a host starts.
func (b *BMC) remember(o origin, a Action) {
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

// Machine is what a BMC controls: the hosts behind its interfaces. Its methods
// may be called from several goroutines at once.
type Machine interface {
	// Act returns when the machine has been told, not when it has obeyed: the
	// request that asks for it is still to be answered. Its errors are those of an
	// ipmi.Handler; ipmi.ErrUnsupported, of a machine that has no way to do it, becomes
	// D5h.
	Act(ctx context.Context, iface string, host int, a Action) error
	// Power is the state of a host now. It must not block.
	Power(iface string, host int) PowerState
}

// Action is what can be done to a host.
type Action uint8

// Actions, by their numbers in Chassis Control (IPMI v2.0, section 28.3).
const (
	PowerDown  Action = iota // at once
	PowerUp                  // nothing where it is on
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

// States. A host of which nothing is known has asked something: it is on.
const (
	PowerOn PowerState = iota
	PowerOff
)
