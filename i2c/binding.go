package i2c

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Binding is a kernel device that makes an adapter answer at an address of our
// own: what new_device of the adapter makes.
type Binding struct {
	Bus    int    // the adapter's number
	Driver string // IPMBDev, IPMBDevice or SlaveMqueue
	Addr   uint8  // our own address
}

// String is such as "ipmb-dev at 20h on i2c-4".
func (b Binding) String() string {
	return fmt.Sprintf("%s at %02Xh on i2c-%d", b.Driver, b.Addr, b.Bus)
}

// Node is the path at which a transport opens the device.
func (b Binding) Node() string {
	if b.Driver == SlaveMqueue {
		return filepath.Join(devices, b.client(), mqueueAttribute)
	}
	return fmt.Sprintf("/dev/ipmb-%d", b.Bus)
}

const (
	// devices is where sysfs has the devices of all adapters, and the adapters.
	devices = "/sys/bus/i2c/devices"
	// ownSlave marks an address that is to be answered at
	// (I2C_ADDR_OFFSET_SLAVE in drivers/i2c/i2c-core-base.c).
	ownSlave = 0x1000
)

// address is our own address as the kernel has it.
func (b Binding) address() int { return ownSlave | int(b.Addr>>1) }

// client is the name of the device.
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

// validate refuses what is not a binding. The addresses are those for which the
// kernel's i2c_slave_register takes a slave, 08h to 77h in its form.
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

// BindingOf is the binding that the character device at path belongs to. The
// errors are those of Detect.
func BindingOf(path string) (Binding, error) { return thisSystem().bindingOf(path) }

func (s system) bindingOf(path string) (Binding, error) {
	transport, err := s.detectDriver(path)
	if err != nil {
		return Binding{}, err
	}
	folder, err := s.client(path)
	if err == nil {
		var b Binding
		if b, err = parseClient(filepath.Base(folder)); err == nil {
			b.Driver = transport
			return b, nil
		}
	}
	return Binding{}, &OpError{Op: "detect", Device: path, Err: err}
}
