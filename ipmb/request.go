package ipmb

import (
	"fmt"

	"ipmbd/ipmi"
)

// Request is a request to be sent.
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
	// NoWait ends the call with ErrBusy rather than wait for a number, but for
	// one that only rests: that is free within 40 ms on I2C, as a rule.
	NoWait bool
	// GeneralCall sends to all nodes and lets Responder answer (IPMI v2.0,
	// section 20.9): Get Device ID only, one try.
	GeneralCall bool
}

// Check finds what is wrong with a request on its own: ErrInvalid.
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
