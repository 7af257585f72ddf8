package service

import (
	"context"

	"ipmbd/dbusapi"
)

// Bind implements dbusapi.Bus.
func (b *engineBus) Bind(ctx context.Context) error {
	if err := b.bindable(); err != nil || b.opened() != nil {
		return err
	}
	return b.change(ctx, "being bound", func(ctx context.Context) error {
		b.device.unbound = false
		binding, err := b.device.binding(b.engine.Address())
		if err == nil {
			err = b.device.create(ctx, binding)
		}
		if err != nil {
			b.setClosed(b.whyClosed(err))
			return err
		}
		return b.connect(ctx)
	})
}

// Unbind implements dbusapi.Bus.
func (b *engineBus) Unbind(ctx context.Context) error {
	if err := b.bindable(); err != nil {
		return err
	}
	return b.change(ctx, "being unbound", func(ctx context.Context) error {
		binding, err := b.device.binding(b.engine.Address())
		if err == nil {
			err = b.device.remove(binding)
		}
		if err != nil {
			return b.reconnect(ctx, err)
		}
		b.device.unbound = true
		b.setClosed(dbusapi.Unbound)
		return nil
	})
}

// bindable refuses a transport that no kernel driver is behind.
func (b *engineBus) bindable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown.kernels {
		return nil
	}
	return notBindable(b.shown.path)
}
