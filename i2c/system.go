package i2c

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// system is the kernel's side of a machine: what is below /sys and /dev.
type system struct {
	root string // before every path, "" on a real machine
	// store writes the value of an attribute of sysfs in one system call. Its
	// errors are the system's.
	store func(path, value string) error
}

func thisSystem() system { return system{store: storeAttribute} }

func storeAttribute(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return cause(err)
	}
	defer file.Close()
	_, err = file.WriteString(value)
	return cause(err)
}

// client is the folder of the I2C device whose driver made the character
// device at path. The device is found by its number, so that the path may be a
// link that udev made.
func (s system) client(path string) (folder string, err error) {
	var node unix.Stat_t
	if err := unix.Stat(path, &node); err != nil {
		return "", err
	}
	if node.Mode&unix.S_IFMT != unix.S_IFCHR {
		return "", chardev.ErrNotDevice
	}
	number := fmt.Sprintf("%d:%d", unix.Major(uint64(node.Rdev)), unix.Minor(uint64(node.Rdev)))
	folder, err = filepath.EvalSymlinks(filepath.Join(s.root, "/sys/dev/char", number, "device"))
	return folder, cause(err)
}

// driver is the name of the driver that serves the device of a folder of
// sysfs, "" when none does.
func driver(folder string) string {
	link, err := os.Readlink(filepath.Join(folder, "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}

// addressNACKDrivers are the drivers of adapters that report a NACK of the address
// byte as ENXIO, as Documentation/i2c/fault-codes.rst has it, and one of a later
// byte as EIO: drivers/i2c/busses/i2c-aspeed.c and i2c-gpio.c (on i2c-algo-bit.c).
// Many others, i2c-imx.c and i2c-npcm7xx.c among them, have one errno for both.
var addressNACKDrivers = []string{"aspeed-i2c-bus", "i2c-gpio"}

// tellsAddressNACK reports whether an adapter, whose folder of sysfs is given, is
// known to tell a NACK of the address byte from one of a later byte. A channel of
// a multiplexer does as the adapter before it, in whose folder it is.
func tellsAddressNACK(adapter string) bool {
	for isAdapter(adapter) {
		adapter = filepath.Dir(adapter)
	}
	return slices.Contains(addressNACKDrivers, driver(adapter))
}

// isAdapter reports whether a folder of sysfs has the name of an adapter, i2c-N.
func isAdapter(folder string) bool {
	number, ok := strings.CutPrefix(filepath.Base(folder), "i2c-")
	_, err := strconv.Atoi(number)
	return ok && err == nil
}

// tellsAddressNACKAt is tellsAddressNACK of the adapter that the character device
// at path writes to.
func (s system) tellsAddressNACKAt(path string) bool {
	client, err := s.client(path)
	return err == nil && tellsAddressNACK(filepath.Dir(client))
}

// tellsAddressNACKOf is tellsAddressNACK of the adapter with a number.
func (s system) tellsAddressNACKOf(bus int) bool {
	adapter, err := filepath.EvalSymlinks(filepath.Join(s.root, fmt.Sprintf("%s/i2c-%d", devices, bus)))
	return err == nil && tellsAddressNACK(adapter)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// protocol is how ipmb-dev puts a frame on the wire.
type protocol uint8

const (
	protocolUnknown protocol = iota
	protocolI2C              // as it is
	protocolSMBus            // as an SMBus block
)

// protocolOf tells how the ipmb-dev at path sends. The descriptor does not
// say; sysfs shows the properties of a device of the device tree, and that a
// device has nowhere to have properties from. Those of ACPI and of software
// nodes it does not show.
func (s system) protocolOf(path string) protocol {
	folder, err := s.client(path)
	switch {
	case err != nil:
		return protocolUnknown
	case exists(filepath.Join(folder, "of_node/i2c-protocol")):
		return protocolI2C
	case exists(filepath.Join(folder, "software_node")), exists(filepath.Join(folder, "firmware_node")):
		return protocolUnknown
	}
	return protocolSMBus
}
