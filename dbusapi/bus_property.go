package dbusapi

import (
	"context"
	"fmt"
	"time"

	"ipmbd/ipmb"
)

// busProperties is the table of the properties of a bus.
func busProperties() []property {
	return []property{
		{name: "Bus", signature: "s", get: func(v view) any { return v.bus.Name }},
		{name: "Device", signature: "s", get: func(v view) any { return v.bus.Device }},
		{name: "Transport", signature: "s", get: func(v view) any { return v.bus.Transport }},
		{name: "Channel", signature: "y", get: func(v view) any { return byte(v.bus.Channel) }},
		{name: "Index", signature: "y", get: func(v view) any { return v.bus.Index }},
		{name: "OwnAddress", signature: "y", get: func(v view) any { return byte(v.bus.OwnAddress) }, set: setOwnAddress},
		{name: "RemoteAddress", signature: "y", get: func(v view) any { return byte(v.bus.RemoteAddress) }},
		{name: "State", signature: "s", get: func(v view) any { return string(v.bus.State) }},
		{name: "StateReason", signature: "s", get: func(v view) any { return v.bus.Reason }},
		{name: "Handler", signature: "s", get: func(v view) any { return v.bus.Handler }},
		{name: "TimeoutMs", signature: "u", get: getTimeout, set: ofPolicy(setTimeout)},
		{name: "Tries", signature: "u", get: getTries, set: ofPolicy(setTries)},
		{name: "IgnoreNack", signature: "b", get: func(v view) any { return v.bus.IgnoreNACK }, set: setIgnoreNACK},
		{name: "VerifyHeaderChecksum", signature: "b", get: func(v view) any { return v.bus.VerifyChecksum }, set: setVerifyChecksum},
		{name: "Statistics", signature: "a{st}", get: func(v view) any { return v.object.bus.statistics() }, silent: true},
	}
}

func getTimeout(v view) any {
	return uint32(v.bus.Policy.Or(ipmb.RetryPolicy{}).Timeout.Milliseconds())
}

func getTries(v view) any {
	return uint32(v.bus.Policy.Or(ipmb.RetryPolicy{}).Tries)
}

// ofPolicy is the setter of a part of the policy.
func ofPolicy(set func(*ipmb.RetryPolicy, any) error) func(context.Context, *BusObject, any) error {
	return func(_ context.Context, o *BusObject, value any) error {
		return o.changePolicy(func(p *ipmb.RetryPolicy) error { return set(p, value) })
	}
}

// setTimeout takes milliseconds, uint32.
func setTimeout(p *ipmb.RetryPolicy, value any) error {
	timeout := time.Duration(value.(uint32)) * time.Millisecond
	if timeout < ipmb.MinTimeout || timeout > ipmb.MaxTimeout {
		return fmt.Errorf("%w: time-out of %v: it must be %v to %v", ipmb.ErrInvalid, timeout, ipmb.MinTimeout, ipmb.MaxTimeout)
	}
	p.Timeout = timeout
	return nil
}

// setTries takes a number, uint32.
func setTries(p *ipmb.RetryPolicy, value any) error {
	tries := value.(uint32)
	if tries < 1 || tries > ipmb.MaxTries {
		return fmt.Errorf("%w: %d tries: they must be 1 to %d", ipmb.ErrInvalid, tries, ipmb.MaxTries)
	}
	p.Tries = int(tries)
	return nil
}
