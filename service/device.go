package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/i2c"
	"ipmbd/ipmi"
	"ipmbd/service/config"
)

// bindTime is how long the kernel has to make a node: enough to load the
// driver's module on a slow controller.
const bindTime = 2 * time.Second

// device is what the transport of a bus opens. It belongs to the goroutine that
// runs the bus.
type device struct {
	system
	path string
	// kind is the transport, as configured until it is known.
	kind string
	// autoBind: a device that is missing is bound, as ipmbbridge does.
	autoBind bool
	// unbound: it was asked to be, and is to stay so.
	unbound bool
	// missing: the last attempt to open it found nothing at path.
	missing bool
	// last is the binding that was there last, zero while none has been seen.
	last i2c.Binding
}

// newDevice is the device of a channel on a machine.
func newDevice(ch config.Channel, on system, autoBind bool) *device {
	return &device{system: on, path: ch.SlavePath, kind: ch.Transport.String(), autoBind: autoBind}
}

// connect opens the transport of a bus with an own address, and binds the
// device before if that is its way.
func (d *device) connect(ctx context.Context, own ipmi.Address, switches i2c.Switches) (i2c.Transport, error) {
	t, err := d.try(switches)
	if !d.missing || !d.autoBind || d.unbound {
		return t, err
	}
	b, unbindable := d.binding(own)
	if unbindable != nil {
		return t, err
	}
	if err := d.create(ctx, b); err != nil {
		return nil, err
	}
	return d.try(switches)
}

// try opens what is at the path.
func (d *device) try(switches i2c.Switches) (i2c.Transport, error) {
	t, kind, err := d.open(d.path, switches)
	d.missing = errors.Is(err, fs.ErrNotExist)
	if kind != config.TransportAuto.String() {
		d.kind = kind
	}
	if err == nil {
		d.unbound = false // Somebody else may have bound it.
	}
	return t, err
}

// binding is the kernel device at the path or, when nothing is there, the one
// that would be for an own address.
func (d *device) binding(own ipmi.Address) (i2c.Binding, error) {
	if present, err := d.bindingOf(d.path); err == nil {
		d.last = present
		return present, nil
	}
	if d.last != (i2c.Binding{}) {
		again := d.last
		again.Addr = uint8(own)
		return again, nil
	}
	wanted := i2c.Binding{Driver: d.driver(), Addr: uint8(own)}
	if number, err := strconv.Atoi(bus.Number(d.path)); err == nil {
		wanted.Bus = number
		if wanted.Driver != "" && wanted.Node() == filepath.Clean(d.path) {
			return wanted, nil
		}
	}
	return i2c.Binding{}, notBindable(d.path)
}

func notBindable(path string) error {
	return fmt.Errorf("%w: %s is no node that a driver makes of an I2C bus and an address", dbusapi.ErrFixed, path)
}

// driver is what makes the device at the path, "" for a transport without a
// kernel driver.
func (d *device) driver() string {
	switch d.kind {
	case i2c.IPMBDev, i2c.IPMBDevice, i2c.SlaveMqueue:
		return d.kind
	case config.TransportAuto.String():
		if filepath.Base(d.path) == i2c.SlaveMqueue {
			return i2c.SlaveMqueue
		}
		return i2c.IPMBDev // as ipmbbridge does
	}
	return ""
}

// shown is what others may know.
func (d *device) shown() shown { return shown{d.path, d.kind, d.driver() != ""} }

// create binds the device, and moves to where it then is.
func (d *device) create(ctx context.Context, b i2c.Binding) error {
	ctx, cancel := context.WithTimeout(ctx, bindTime)
	defer cancel()
	if err := d.bind(ctx, b); err != nil {
		return explain(err)
	}
	d.last, d.unbound = b, false
	if b.Driver == i2c.SlaveMqueue {
		d.path = b.Node() // The address is in it.
	}
	return nil
}

// remove unbinds the device, which must be closed.
func (d *device) remove(b i2c.Binding) error {
	if err := d.unbind(b); err != nil {
		return explain(err)
	}
	d.last = b
	return nil
}

// move binds the device, which must be closed, at another own address. After an
// error it is where it was, or else the error says so.
func (d *device) move(ctx context.Context, from i2c.Binding, to ipmi.Address) error {
	if err := d.remove(from); err != nil {
		return err
	}
	there := from
	there.Addr = uint8(to)
	err := d.create(ctx, there)
	if err == nil {
		return nil
	}
	if back := d.create(ctx, from); back != nil {
		return fmt.Errorf("%w; and the device is gone, since it could not be bound at %v again: %w",
			err, ipmi.Address(from.Addr), back)
	}
	return fmt.Errorf("%w; it is bound at %v again", err, ipmi.Address(from.Addr))
}
