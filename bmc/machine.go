package bmc

import "context"

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
