package bmc

import (
	"context"
	"fmt"
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
	causeCommand  restartCause = 0x1 // Chassis Control
	causeWatchdog restartCause = 0x4
)

// act has the machine act, and stores the effects of the action.
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
	b.noteRestart(o, a)
	if a != PowerUp {
		// The watchdogs guarded software that no longer runs. But a slow machine may have let the
		// host run again: watchdogs that were started since then go on.
		b.stopWatchdogs(func(w *watchdog) bool { return w.host == o.host && !w.started.After(asked) })
	}
	if o.cause == causeWatchdog {
		if err := b.clearBootFlags(o.host, keepAfterWatchdog); err != nil {
			return err
		}
	}
	return b.forgetOS(o.host)
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
