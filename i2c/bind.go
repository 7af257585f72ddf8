package i2c

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// Errors of Bind and Unbind, beside the system's.
var (
	// ErrNoAdapter: there is no I2C adapter with that number.
	ErrNoAdapter = errors.New("no such I2C adapter")
	// ErrNoDriver: the driver did not take the device, because its module is not loaded or its
	// probe failed. The kernel's log has more.
	ErrNoDriver = errors.New("the driver did not take the device")
	// ErrInUse: another device has the address or the node.
	ErrInUse = errors.New("in use")
	// ErrFirmware: the device tree or the firmware declares the device, so it cannot be deleted.
	ErrFirmware = errors.New("declared by the firmware")
)

// Binding is a kernel device that makes an adapter answer at an address of our own. A write to the
// adapter's new_device makes it.
type Binding struct {
	Bus    int    // the adapter's number
	Driver string // IPMBDev, IPMBDevice or SlaveMqueue
	Addr   uint8  // our own address, in its 8-bit form
}

// String is such as "ipmb-dev at 20h on i2c-4".
func (b Binding) String() string {
	return fmt.Sprintf("%s at %02Xh on i2c-%d", b.Driver, b.Addr, b.Bus)
}

// Node returns the path at which a transport opens the device.
func (b Binding) Node() string {
	if b.Driver == SlaveMqueue {
		return filepath.Join(devices, b.client(), SlaveMqueue)
	}
	return fmt.Sprintf("/dev/ipmb-%d", b.Bus)
}

// ownSlave marks an address of our own (I2C_ADDR_OFFSET_SLAVE in drivers/i2c/i2c-core-base.c).
const ownSlave = 0x1000

// address is our own address in the kernel's form.
func (b Binding) address() int { return ownSlave | int(b.Addr>>1) }

// client is the name of the device in sysfs.
func (b Binding) client() string { return fmt.Sprintf("%d-%04x", b.Bus, b.address()) }

// parseClient is the reverse of client; the driver is not in the name.
func parseClient(name string) (Binding, error) {
	bus, address, _ := strings.Cut(name, "-")
	n, err := strconv.ParseUint(bus, 10, 31)
	if err == nil {
		var a uint64
		a, err = strconv.ParseUint(address, 16, 16)
		if err == nil && a&^0x7F == ownSlave {
			return Binding{Bus: int(n), Addr: uint8(a << 1)}, nil
		}
	}
	return Binding{}, fmt.Errorf("%q is not an address of our own on an I2C bus", name)
}

// validate refuses a binding that cannot exist. Valid addresses are those for which the kernel's
// i2c_slave_register accepts a slave, 08h to 77h in 7-bit form.
func (b Binding) validate() error {
	if _, ok := drivers[b.Driver]; !ok {
		return fmt.Errorf("driver %q is not one that can be bound", b.Driver)
	}
	if b.Bus < 0 {
		return fmt.Errorf("bus %d: %w", b.Bus, ErrNoAdapter)
	}
	if addr7 := b.Addr >> 1; b.Addr&1 != 0 || addr7 < 0x08 || addr7 > 0x77 {
		return fmt.Errorf("own address %02Xh is not an even one from 10h to EEh", b.Addr)
	}
	return nil
}

// BindingOf returns the binding of the character device or the attribute of slave-mqueue at path.
// It returns the errors of Detect.
func BindingOf(path string) (Binding, error) { return thisSystem().bindingOf(path) }

func (s system) bindingOf(path string) (Binding, error) {
	if filepath.Base(path) == SlaveMqueue {
		return mqueueBinding(path)
	}
	transport, err := s.detectDriver(path)
	if err != nil {
		return Binding{}, err
	}
	folder, err := s.clientFolder(path)
	if err == nil {
		var b Binding
		if b, err = parseClient(filepath.Base(folder)); err == nil {
			b.Driver = transport
			return b, nil
		}
	}
	return Binding{}, &OpError{Op: "detect", Device: path, Err: err}
}

// mqueueBinding is bindingOf for an attribute of slave-mqueue: the folder has bus and address.
func mqueueBinding(path string) (Binding, error) {
	_, err := os.Stat(path)
	if err != nil {
		return Binding{}, systemError("detect", path, err)
	}
	b, err := parseClient(filepath.Base(filepath.Dir(path)))
	if err != nil {
		return Binding{}, &OpError{Op: "detect", Device: path, Err: err}
	}
	b.Driver = SlaveMqueue
	return b, nil
}

// Bind creates the kernel device of a binding and returns when its node can be opened, at the
// latest when ctx ends. If the device exists already, with the same driver at the same address,
// Bind changes nothing. If no driver takes the device, Bind deletes it again.
//
// The errors are OpErrors that unwrap to ErrNoAdapter, ErrNoDriver, ErrInUse, or an error of ctx
// or of the system.
func Bind(ctx context.Context, b Binding) error { return thisSystem().bind(ctx, b) }

// Unbind deletes the kernel device of a binding. Its node must be closed before: the driver frees
// memory that an open node uses. A device that does not exist is no error.
//
// The errors are OpErrors that unwrap to ErrInUse when another driver has the device, to
// ErrFirmware, or to an error of the system.
func Unbind(b Binding) error { return thisSystem().unbind(b) }

// Removable reports, before a device is closed, that Unbind could not delete the one that a
// transport opens at path: it returns an OpError that unwraps to ErrFirmware for a device that the
// device tree or ACPI declares, and otherwise nil. Only Unbind finds a device of board code.
func Removable(path string) error { return thisSystem().removable(path) }

func (s system) removable(path string) error {
	folder, err := s.clientFolder(path)
	if filepath.Base(path) == SlaveMqueue {
		folder, err = filepath.Dir(filepath.Join(s.root, path)), nil
	}
	if err != nil {
		return nil
	}
	for _, node := range []string{"of_node", "firmware_node"} {
		if exists(filepath.Join(folder, node)) {
			return &OpError{Op: "unbind", Device: path, Err: ErrFirmware}
		}
	}
	return nil
}

// asBindError makes an error of an operation on a binding an OpError.
func asBindError(op string, b Binding, err *error) {
	if *err != nil {
		*err = &OpError{Op: op, Device: b.String(), Err: *err}
	}
}

func (s system) bind(ctx context.Context, b Binding) (err error) {
	defer asBindError("bind", b, &err)
	if err := b.validate(); err != nil {
		return err
	}
	if !exists(s.adapterFolder(b.Bus)) {
		return ErrNoAdapter
	}
	bound, err := s.isBound(b)
	if err != nil {
		return err
	}
	if bound {
		return s.awaitNode(ctx, b)
	}
	loaded := exists(filepath.Join(s.root, "/sys/bus/i2c/drivers", drivers[b.Driver]))
	if err := s.createDevice(b); err != nil {
		return err
	}
	// new_device succeeds whether or not the driver's probe does.
	if loaded && driverOf(s.folder(b)) == "" {
		err = ErrNoDriver
	} else {
		err = s.awaitNode(ctx, b)
	}
	if err != nil && driverOf(s.folder(b)) == "" {
		s.deleteDevice(b)
	}
	return err
}

func (s system) unbind(b Binding) (err error) {
	defer asBindError("unbind", b, &err)
	if err := b.validate(); err != nil {
		return err
	}
	folder := s.folder(b)
	if !exists(folder) {
		return nil
	}
	if serving := driverOf(folder); serving != "" && serving != drivers[b.Driver] {
		return fmt.Errorf("%w: driver %s has %s", ErrInUse, serving, b.client())
	}
	if err = s.deleteDevice(b); err != unix.ENOENT {
		return err
	}
	if !exists(folder) {
		return nil
	}
	return ErrFirmware
}

// isBound reports whether the driver has the device of the binding already. It deletes the device
// if no driver has it. Another device in its place is an error.
func (s system) isBound(b Binding) (bool, error) {
	if owner := s.nodeOwner(b); owner != "" && owner != b.client() {
		return false, fmt.Errorf("%w: %s of driver %s has %s",
			ErrInUse, owner, driverOf(filepath.Join(s.root, devices, owner)), b.Node())
	}
	folder := s.folder(b)
	if !exists(folder) {
		return false, nil
	}
	switch serving := driverOf(folder); serving {
	case drivers[b.Driver]:
		return true, nil
	case "":
		if err := s.deleteDevice(b); err != nil {
			return false, fmt.Errorf("%w: %s is there, and cannot be deleted (%w)", ErrNoDriver, b.client(), err)
		}
		return false, nil
	default:
		return false, fmt.Errorf("%w: driver %s has %s", ErrInUse, serving, b.client())
	}
}

// nodeOwner returns the name of the I2C device that has the node of the binding, or "". There is
// one node for each adapter.
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
	there := func() bool { return driverOf(s.folder(b)) != "" && exists(node) }
	if there() {
		return nil
	}
	watch, err := chardev.OpenWatch(node, chardev.Look(node))
	if err != nil {
		return err
	}
	defer watch.Close()
	for !there() {
		err := watch.Wait(ctx)
		switch {
		case err == nil:
		case driverOf(s.folder(b)) == "":
			return fmt.Errorf("%w: %w", ErrNoDriver, err)
		default:
			return fmt.Errorf("%s has not appeared: %w", b.Node(), err)
		}
	}
	return nil
}

func (s system) createDevice(b Binding) error {
	attribute := filepath.Join(s.adapterFolder(b.Bus), "new_device")
	switch err := s.store(attribute, fmt.Sprintf("%s 0x%04x\n", b.Driver, b.address())); err {
	case unix.EBUSY, unix.EEXIST:
		return fmt.Errorf("%w: address %02Xh (%w)", ErrInUse, b.Addr, err)
	case unix.ENOENT:
		return ErrNoAdapter
	default:
		return err
	}
}

// deleteDevice deletes a device that new_device made. For any other it returns ENOENT.
func (s system) deleteDevice(b Binding) error {
	return s.store(filepath.Join(s.adapterFolder(b.Bus), "delete_device"), fmt.Sprintf("0x%04x\n", b.address()))
}

// folder is the folder of sysfs of the device.
func (s system) folder(b Binding) string { return filepath.Join(s.root, devices, b.client()) }
