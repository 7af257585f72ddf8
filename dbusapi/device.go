package dbusapi

import (
	"context"
	"fmt"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Why a bus could not change its device, beside the errors of package ipmb.
// Their texts, with what is wrapped around them, are for the caller.
var (
	ErrNoAdapter = bus.ErrNoAdapter
	ErrInUse     = bus.ErrInUse
	ErrFixed     = bus.ErrFixed
	ErrDevice    = bus.ErrDevice
)

// bindBus serves xyz.openbmc_project.Ipmi.Channel.Ipmb.bind.
func bindBus(ctx context.Context, c *call) ([]any, error) {
	return nil, c.object.bus.bus.Bind(ctx)
}

// unbindBus serves xyz.openbmc_project.Ipmi.Channel.Ipmb.unbind.
func unbindBus(ctx context.Context, c *call) ([]any, error) {
	return nil, c.object.bus.bus.Unbind(ctx)
}

// setOwnAddress takes an 8-bit address, byte.
func setOwnAddress(ctx context.Context, o *BusObject, value any) error {
	address := ipmi.Address(value.(byte))
	if !address.IsSlave() {
		return fmt.Errorf("%w: own address %v: it must be even, and not 00h", ipmb.ErrInvalid, address)
	}
	return o.bus.SetOwnAddress(ctx, address)
}

// setIgnoreNACK and setVerifyChecksum take a bool.
func setIgnoreNACK(_ context.Context, o *BusObject, value any) error {
	return o.bus.SetIgnoreNACK(value.(bool))
}

func setVerifyChecksum(_ context.Context, o *BusObject, value any) error {
	return o.bus.SetVerifyChecksum(value.(bool))
}
