package service

import (
	"context"
	"fmt"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The own addresses that the kernel takes, 08h to 77h in its 7-bit form
// (i2c_check_7bit_addr_validity_strict in drivers/i2c/i2c-core-base.c).
const (
	lowestKernelAddress  ipmi.Address = 0x10
	highestKernelAddress ipmi.Address = 0xEE
)

// SetOwnAddress implements dbusapi.Bus.
func (b *engineBus) SetOwnAddress(ctx context.Context, a ipmi.Address) error {
	switch {
	case !a.IsSlave():
		return fmt.Errorf("%w: own address %v: it must be even, and not 00h", ipmb.ErrInvalid, a)
	case a == b.engine.Address():
		return nil
	case b.bindable() != nil:
		b.setAddress(a)
		return nil
	case a < lowestKernelAddress || a > highestKernelAddress:
		return fmt.Errorf("%w: own address %v: the kernel answers at %v to %v",
			ipmb.ErrInvalid, a, lowestKernelAddress, highestKernelAddress)
	}
	return b.change(ctx, fmt.Sprintf("changing to own address %v", a), func(ctx context.Context) error {
		return b.moveTo(ctx, a)
	})
}

// moveTo takes the device to another own address. One that is not there is
// bound at it when it is bound.
func (b *engineBus) moveTo(ctx context.Context, a ipmi.Address) error {
	d := b.device
	if d.unbound || d.missing {
		b.setAddress(a)
		return b.reconnect(ctx, nil)
	}
	binding, err := d.binding(b.engine.Address())
	if err == nil {
		err = d.move(ctx, binding, a)
	}
	if err != nil {
		return b.reconnect(ctx, err)
	}
	b.setAddress(a)
	return b.connect(ctx)
}

// reconnect opens the device again after a change that made no difference to
// it, with its error.
func (b *engineBus) reconnect(ctx context.Context, err error) error {
	_ = b.connect(ctx) // It is in the state if that fails.
	return err
}

func (b *engineBus) setAddress(a ipmi.Address) {
	b.engine.SetAddress(a)
	b.observer.Changed()
}
