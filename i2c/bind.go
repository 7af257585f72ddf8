package i2c

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// What Bind and Unbind fail of, beside the system's errors.
var (
	// ErrNoAdapter: there is no I2C adapter of that number.
	ErrNoAdapter = errors.New("no such I2C adapter")
	// ErrNoDriver: the driver did not take the device, as its module is not
	// loaded or its probe failed. The kernel's log has more.
	ErrNoDriver = errors.New("the driver did not take the device")
	// ErrInUse: another device has the address or the node.
	ErrInUse = errors.New("in use")
	// ErrFirmware: the device tree or the firmware declares the device, so it
	// cannot be deleted.
	ErrFirmware = errors.New("declared by the firmware")
)

// Bind creates the kernel device of a binding and returns when its node is
// there to be opened, at the latest when ctx ends. A device that is there
// already, with the same driver at the same address, is left as it is. One that
// no driver took is deleted again.
//
// The errors are OpErrors that unwrap to ErrNoAdapter, ErrNoDriver, ErrInUse,
// ctx's or the system's.
func Bind(ctx context.Context, b Binding) error { return thisSystem().bind(ctx, b) }

// Unbind deletes the kernel device of a binding. Its node must have been closed
// before: the driver frees what an open one uses. It is no error that there is
// no such device.
//
// The errors are OpErrors that unwrap to ErrInUse when another driver has the
// device, to ErrFirmware, or to the system's.
func Unbind(b Binding) error { return thisSystem().unbind(b) }

func (s system) bind(ctx context.Context, b Binding) error {
	err := b.validate()
	if err == nil {
		err = s.bindValid(ctx, b)
	}
	return bindError("bind", b, err)
}

func (s system) unbind(b Binding) error {
	err := b.validate()
	if err == nil {
		err = s.unbindValid(b)
	}
	return bindError("unbind", b, err)
}

func bindError(op string, b Binding, err error) error {
	if err == nil {
		return nil
	}
	return &OpError{Op: op, Device: b.String(), Err: err}
}

func (s system) bindValid(ctx context.Context, b Binding) error {
	if !exists(s.adapter(b)) {
		return ErrNoAdapter
	}
	taken, err := s.taken(b)
	if err != nil {
		return err
	}
	if taken {
		return s.awaitNode(ctx, b)
	}
	loaded := exists(filepath.Join(s.root, "/sys/bus/i2c/drivers", drivers[b.Driver]))
	if err := s.create(b); err != nil {
		return err
	}
	// new_device succeeds whether or not the driver's probe does.
	if loaded && driver(s.folder(b)) == "" {
		err = ErrNoDriver
	} else {
		err = s.awaitNode(ctx, b)
	}
	if err != nil && driver(s.folder(b)) == "" {
		s.remove(b)
	}
	return err
}

func (s system) unbindValid(b Binding) error {
	folder := s.folder(b)
	if !exists(folder) {
		return nil
	}
	if serving := driver(folder); serving != "" && serving != drivers[b.Driver] {
		return fmt.Errorf("%w: driver %s has %s", ErrInUse, serving, b.client())
	}
	err := s.remove(b)
	if err == unix.ENOENT {
		if !exists(folder) {
			return nil
		}
		return ErrFirmware
	}
	return err
}

// taken reports whether the driver has the device of the binding already. What
// stands in its way is an error; a device that nobody serves is deleted.
func (s system) taken(b Binding) (bool, error) {
	if owner := s.nodeOwner(b); owner != "" && owner != b.client() {
		return false, fmt.Errorf("%w: %s of driver %s has %s",
			ErrInUse, owner, driver(filepath.Join(s.root, devices, owner)), b.Node())
	}
	folder := s.folder(b)
	if !exists(folder) {
		return false, nil
	}
	switch serving := driver(folder); serving {
	case drivers[b.Driver]:
		return true, nil
	case "":
		if err := s.remove(b); err != nil {
			return false, fmt.Errorf("%w: %s is there, and cannot be deleted (%w)", ErrNoDriver, b.client(), err)
		}
		return false, nil
	default:
		return false, fmt.Errorf("%w: driver %s has %s", ErrInUse, serving, b.client())
	}
}

// nodeOwner is the name of the I2C device that has the node of the binding, of
// which there is one for each adapter. It is "" for none.
func (s system) nodeOwner(b Binding) string {
	link, err := os.Readlink(filepath.Join(s.root, "/sys/class/misc", filepath.Base(b.Node()), "device"))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}

// awaitNode waits until the driver has the device and its node is there.
func (s system) awaitNode(ctx context.Context, b Binding) error {
	node := filepath.Join(s.root, b.Node())
	there := func() bool { return driver(s.folder(b)) != "" && exists(node) }
	if there() {
		return nil
	}
	watch, err := chardev.OpenWatch(node)
	if err != nil {
		return err
	}
	defer watch.Close()
	for !there() {
		err := watch.Wait(ctx)
		switch {
		case err == nil:
		case driver(s.folder(b)) == "":
			return fmt.Errorf("%w: %w", ErrNoDriver, err)
		default:
			return fmt.Errorf("%s has not come: %w", b.Node(), err)
		}
	}
	return nil
}

func (s system) create(b Binding) error {
	err := s.store(filepath.Join(s.adapter(b), "new_device"), fmt.Sprintf("%s 0x%04x\n", b.Driver, b.address()))
	switch err {
	case unix.EBUSY, unix.EEXIST:
		return fmt.Errorf("%w: address %02Xh (%w)", ErrInUse, b.Addr, err)
	case unix.ENOENT:
		return ErrNoAdapter
	}
	return err
}

// remove deletes a device that new_device made; any other is ENOENT.
func (s system) remove(b Binding) error {
	return s.store(filepath.Join(s.adapter(b), "delete_device"), fmt.Sprintf("0x%04x\n", b.address()))
}

// adapter is the folder of the adapter, folder that of the device.
func (s system) adapter(b Binding) string {
	return filepath.Join(s.root, devices, fmt.Sprintf("i2c-%d", b.Bus))
}

func (s system) folder(b Binding) string { return filepath.Join(s.root, devices, b.client()) }
