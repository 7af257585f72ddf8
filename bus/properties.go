package bus

import (
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Properties is what a bus shows of itself. It is comparable.
type Properties struct {
	Name      string // as in the configuration
	Device    string // path of the device or socket
	Transport string
	Channel   ipmi.Channel
	Index     uint8 // devIndex<<2 | type

	OwnAddress    ipmi.Address
	RemoteAddress ipmi.Address
	State         State
	Reason        string // of State, a sentence; "" when Up
	Handler       string // "host", "signal", "bmc" or "none"
	Policy        ipmb.Policy

	// IgnoreNACK: frames are sent to their end even if nobody takes them.
	IgnoreNACK bool
	// VerifyChecksum: the driver checks the header checksum of what it receives.
	VerifyChecksum bool
}

// State is whether a bus works.
type State string

// States of a bus.
const (
	Up       State = "Up"
	Degraded State = "Degraded"
	Down     State = "Down"
)

// Unbound is the Reason of a bus that is Down since its kernel device was unbound.
const Unbound = "unbound"
