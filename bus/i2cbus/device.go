package i2cbus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// bindTime is how long the kernel has to make a node and to load the driver's module.
const bindTime = 2 * time.Second

// device is the device of a bus. It belongs to the goroutine that runs the bus.
type device struct {
	system
	path string
	// kind is the transport, as configured until it is known.
	kind string
	// autoBind: a device that is missing is bound, as ipmbbridge does.
	autoBind bool
	// unbound: Unbind has deleted it, and it stays so until Bind.
	unbound bool
	// missing: the last attempt to open it found nothing at path.
	missing bool
	// last is the newest binding that was seen, zero at first.
	last i2c.Binding
	// watch watches the path for a change since the last attempt to open it began.
	watch func() (bus.Watch, error)
}

func newDevice(c Config, on system) *device {
	return &device{system: on, path: c.Path, kind: c.Transport, autoBind: c.AutoBind}
}

// connect opens the transport of a bus. With autoBind, it first binds a device that is missing.
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

// try opens the device at the path.
func (d *device) try(switches i2c.Switches) (i2c.Transport, error) {
	d.watch = d.look(d.path)
	t, kind, err := d.open(d.path, switches)
	d.missing = errors.Is(err, fs.ErrNotExist)
	if kind != Auto {
		d.kind = kind
	}
	if err == nil {
		d.unbound = false // Another program may have bound it.
	}
	return t, err
}

// binding is the kernel device at the path, or the one that would be there for an own address.
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
	return i2c.Binding{}, bus.NotBindable(d.path)
}

// addressOr returns our own address at which the kernel has the device, or else an address.
func (d *device) addressOr(address uint8) uint8 {
	if present, err := d.bindingOf(d.path); err == nil {
		return present.Addr
	}
	return address
}

// driver is the driver that makes the device at the path, "" for a transport without one.
func (d *device) driver() string {
	switch d.kind {
	case i2c.IPMBDev, i2c.IPMBDevice, i2c.SlaveMqueue:
		return d.kind
	case Auto:
		if filepath.Base(d.path) == i2c.SlaveMqueue {
			return i2c.SlaveMqueue
		}
		return i2c.IPMBDev // as ipmbbridge does
	}
	return ""
}

// shown has the facts of a device that others may read.
type shown struct {
	path, kind string
	kernels    bool // the kernel answers at our own address in our place
}

func (d *device) shown() shown { return shown{d.path, d.kind, d.driver() != ""} }

// create binds the device, and takes the path at which it then is.
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

// move binds the closed device at another own address. An error says if it is not back.
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

// system has the functions of the machine that a bus needs. Tests replace it.
type system struct {
	// open opens the transport at a path and says which it is, Auto if that did not show.
	open func(path string, switches i2c.Switches) (t i2c.Transport, kind string, err error)
	// look looks at a path, and returns a function that watches it for changes since.
	look func(path string) (watch func() (bus.Watch, error))
	// bind, unbind, bindingOf and removable are as in package i2c.
	bind      func(ctx context.Context, b i2c.Binding) error
	unbind    func(b i2c.Binding) error
	bindingOf func(path string) (i2c.Binding, error)
	removable func(path string) error
}

func thisSystem(c Config) system {
	return system{
		open: func(path string, switches i2c.Switches) (i2c.Transport, string, error) {
			if c.Open != nil {
				t, err := c.Open()
				return t, c.Transport, err
			}
			return openTransport(c.Transport, c.Unknown, path, switches)
		},
		look: func(path string) func() (bus.Watch, error) {
			seen := i2c.Look(path)
			return func() (bus.Watch, error) { return i2c.OpenWatch(path, seen) }
		},
		bind: i2c.Bind, unbind: i2c.Unbind, bindingOf: i2c.BindingOf, removable: i2c.Removable,
	}
}

// openTransport opens a transport. What is at the path now decides about Auto.
func openTransport(kind, unknown, path string, switches i2c.Switches) (i2c.Transport, string, error) {
	if kind == Auto {
		detected, err := i2c.Detect(path)
		switch {
		case err == nil:
			kind = detected
		case !errors.Is(err, i2c.ErrUnknownDriver):
			return nil, kind, err
		case unknown == Auto:
			return nil, kind, fmt.Errorf("%w: say with the key transport which one it is", err)
		default:
			kind = unknown
		}
	}
	t, err := openNamed(kind, path, switches)
	return t, kind, err
}

func openNamed(name, path string, switches i2c.Switches) (i2c.Transport, error) {
	switch name {
	case i2c.IPMBDevice:
		return i2c.OpenIPMBDevice(path, switches)
	case i2c.SlaveMqueue:
		return i2c.OpenSlaveMqueue(path)
	case i2c.Seqpacket:
		return i2c.OpenSeqpacket(path)
	}
	return i2c.OpenIPMBDev(path)
}

// deviceError is an error of the kernel, with what to do about it.
type deviceError struct {
	kind   error // of package bus
	err    error
	advice string
}

func (e *deviceError) Error() string {
	if e.advice == "" {
		return e.err.Error()
	}
	return e.err.Error() + ": " + e.advice
}

// Unwrap gives the kind and the kernel's error.
func (e *deviceError) Unwrap() []error { return []error{e.kind, e.err} }

// deviceErrors maps the errors of i2c.Bind and i2c.Unbind to errors of a bus.
var deviceErrors = []deviceError{
	{bus.ErrNoAdapter, i2c.ErrNoAdapter, "check the number in slave-path, or load the adapter's driver"},
	{bus.ErrInUse, i2c.ErrInUse, "unbind what has it"},
	{bus.ErrFixed, i2c.ErrFirmware, "change it there, for instance in the device tree"},
	{bus.ErrDevice, i2c.ErrNoDriver, "load the driver's module (ipmb_dev_int for ipmb-dev), and see what dmesg says"},
	{bus.ErrDevice, fs.ErrPermission, "ipmbd must run as root"},
	{bus.ErrDevice, unix.EROFS, "ipmbd must be allowed to write below /sys/devices: see ReadWritePaths= of its unit"},
}

// explain says what to do about an error of the kernel.
func explain(err error) error {
	for _, row := range deviceErrors {
		if errors.Is(err, row.err) {
			return &deviceError{row.kind, err, row.advice}
		}
	}
	return &deviceError{bus.ErrDevice, err, ""}
}
