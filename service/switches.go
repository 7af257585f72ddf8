package service

import (
	"errors"
	"fmt"

	"ipmbd/dbusapi"
	"ipmbd/i2c"
	"ipmbd/ipmb"
)

// SetIgnoreNACK implements dbusapi.Bus.
func (b *engineBus) SetIgnoreNACK(on bool) error {
	return b.setSwitch(
		func(s i2c.Switcher) error { return s.SetIgnoreNACK(on) },
		func(wanted *i2c.Switches) { wanted.IgnoreNACK = on })
}

// SetVerifyChecksum implements dbusapi.Bus.
func (b *engineBus) SetVerifyChecksum(on bool) error {
	return b.setSwitch(
		func(s i2c.Switcher) error { return s.SetVerifyChecksum(on) },
		func(wanted *i2c.Switches) { wanted.VerifyChecksum = on })
}

// setSwitch sets a switch of the driver's, and when that has worked, what is
// wanted of the next device too.
func (b *engineBus) setSwitch(set func(i2c.Switcher) error, want func(*i2c.Switches)) error {
	t := b.opened()
	if t == nil {
		return ipmb.ErrClosed
	}
	switcher, ok := t.(i2c.Switcher)
	if !ok {
		return ipmb.ErrUnsupported
	}
	if err := set(switcher); err != nil {
		return switchError(err)
	}
	b.mu.Lock()
	want(&b.switches)
	b.mu.Unlock()
	b.observer.Changed()
	return nil
}

func switchError(err error) error {
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%w: %w", ipmb.ErrUnsupported, err)
	case errors.Is(err, i2c.ErrClosed):
		return err
	}
	return &deviceError{dbusapi.ErrDevice, err, ""}
}
