package ipmb

import (
	"cmp"
	"fmt"
	"time"

	"ipmbd/ipmi"
)

// Request is a request that an engine sends.
type Request struct {
	Responder    ipmi.Address
	NetFn        ipmi.NetFn // even
	LUN          ipmi.LUN   // the responder's
	RequesterLUN ipmi.LUN
	Command      ipmi.Command
	Data         []byte

	// RetryPolicy overrides the engine's where it is not zero.
	RetryPolicy RetryPolicy
	// FailFast ends the call when a slot's writes were not acknowledged.
	FailFast bool
	// NoWait ends the call with ErrBusy if no sequence number is free. It still waits for a
	// number in quarantine, which is free within 40 ms on I2C as a rule.
	NoWait bool
	// GeneralCall sends the request to all nodes, and Responder answers it (IPMI v2.0, section
	// 20.9). It is possible for Get Device ID only, with one try.
	GeneralCall bool
}

// RetryPolicy says how long and how often a request is sent. Zero is 6 times, 250 ms apart.
type RetryPolicy struct {
	// Tries is how many slots of Timeout a call has. In each slot the request is written, and
	// once more if the first write was not acknowledged or lost arbitration. 0 is 6.
	Tries int
	// Timeout is the length of a slot. 0 is 250 ms.
	Timeout time.Duration
}

// Defaults and bounds of a RetryPolicy.
const (
	DefaultTries   = 6
	DefaultTimeout = 250 * time.Millisecond
	MaxTries       = 64
	MinTimeout     = 10 * time.Millisecond
	MaxTimeout     = time.Minute
)

// Or fills the zero fields of p from d, and then from the defaults.
func (p RetryPolicy) Or(d RetryPolicy) RetryPolicy {
	return RetryPolicy{
		Tries:   cmp.Or(p.Tries, d.Tries, DefaultTries),
		Timeout: cmp.Or(p.Timeout, d.Timeout, DefaultTimeout),
	}
}

// Duration is the whole time of a policy, from the first transmission.
func (p RetryPolicy) Duration() time.Duration { return time.Duration(p.Tries) * p.Timeout }

// Check returns ErrInvalid if a field of the request is out of range.
func (req *Request) Check() error {
	policy := req.RetryPolicy.Or(RetryPolicy{})
	switch {
	case !req.Responder.IsSlave():
		return invalid("responder address %02Xh", uint8(req.Responder))
	case req.NetFn > ipmi.MaxNetFn:
		return invalid("netFn %02Xh", uint8(req.NetFn))
	case req.NetFn.IsResponse():
		return invalid("netFn %02Xh of a response", uint8(req.NetFn))
	case req.LUN > ipmi.MaxLUN:
		return invalid("LUN %d", req.LUN)
	case req.RequesterLUN > ipmi.MaxLUN:
		return invalid("requester LUN %d", req.RequesterLUN)
	case policy.Tries < 1 || policy.Tries > MaxTries:
		return invalid("%d tries: 1 to %d are possible", policy.Tries, MaxTries)
	case policy.Timeout < MinTimeout || policy.Timeout > MaxTimeout:
		return invalid("time-out of %v: %v to %v are possible", policy.Timeout, MinTimeout, MaxTimeout)
	case req.GeneralCall && (req.NetFn != ipmi.NetFnApp || req.Command != ipmi.CommandGetDeviceID):
		return invalid("general call with another command than Get Device ID")
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
