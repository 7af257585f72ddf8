package dbusapi

import (
	"context"
	"errors"
	"fmt"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Why a Bus could not change its device, beside the errors of package ipmb.
// Their texts, with what is wrapped around them, are for the caller.
var (
	// ErrNoAdapter: there is no I2C bus of that number.
	ErrNoAdapter = errors.New("there is no such I2C adapter")
	// ErrInUse: something else has the address or the node.
	ErrInUse = errors.New("the device is in use")
	// ErrFixed: the device is none that can be bound, unbound or moved.
	ErrFixed = errors.New("the device cannot be changed")
	// ErrDevice: the kernel did not make, delete or change the device.
	ErrDevice = errors.New("the kernel did not change the device")
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
