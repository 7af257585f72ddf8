package i2c

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

// Names of transports. Those of kernel drivers are the names under which new_device knows them.
const (
	IPMBDev     = "ipmb-dev"
	IPMBDevice  = "ipmb-device"
	SlaveMqueue = "slave-mqueue" // also the name of the driver's attribute
	Seqpacket   = "seqpacket"
)

// drivers are the names of the drivers themselves, by transport.
var drivers = map[string]string{
	IPMBDev:     "ipmb-dev",
	IPMBDevice:  "ipmb-device",
	SlaveMqueue: "i2c-slave-mqueue",
}

var (
	// ErrUnknownDriver: sysfs does not show a driver whose framing is known.
	ErrUnknownDriver = errors.New("driver not known")
	// ErrOtherDriver: a driver with another framing serves the device.
	ErrOtherDriver = errors.New("another driver serves the device")
)

// system is the kernel's side of a machine: the files below /sys and /dev.
type system struct {
	root string // before every path, "" on a real machine
	// store writes the value of an attribute of sysfs in one system call. Its errors are the
	// system's.
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

// devices is the folder of sysfs with the devices of all adapters, and the adapters.
const devices = "/sys/bus/i2c/devices"

// adapterFolder is the folder of sysfs of the adapter with a number.
func (s system) adapterFolder(bus int) string {
	return filepath.Join(s.root, devices, fmt.Sprintf("i2c-%d", bus))
}

// clientFolder returns the sysfs folder of the I2C device whose driver made the character device
// at path. It finds the device by its number, so that the path may be a link that udev made.
func (s system) clientFolder(path string) (folder string, err error) {
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

// driverOf returns the name of the driver of the device with a sysfs folder, or "".
func driverOf(folder string) string {
	link, err := os.Readlink(filepath.Join(folder, "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Detect names the transport for path: Seqpacket for a socket, SlaveMqueue for its driver's
// attribute, and for a character device the transport of its driver, which sysfs shows. It opens
// and writes nothing. The errors are OpErrors that unwrap to ErrUnknownDriver,
// chardev.ErrNotDevice, or an error of the system.
func Detect(path string) (transport string, err error) { return thisSystem().detect(path) }

func (s system) detect(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", systemError("detect", path, err)
	}
	switch mode := info.Mode(); {
	case mode&os.ModeSocket != 0:
		return Seqpacket, nil
	case mode&os.ModeCharDevice != 0:
		return s.detectDriver(path)
	case mode.IsRegular() && filepath.Base(path) == SlaveMqueue:
		return SlaveMqueue, nil
	}
	return "", &OpError{Op: "detect", Device: path, Err: chardev.ErrNotDevice}
}

func (s system) detectDriver(path string) (string, error) {
	folder, err := s.clientFolder(path)
	if err != nil {
		return "", &OpError{Op: "detect", Device: path, Err: fmt.Errorf("%w: %w", ErrUnknownDriver, err)}
	}
	name := driverOf(folder)
	for transport, driver := range drivers {
		if driver == name {
			return transport, nil
		}
	}
	return "", &OpError{Op: "detect", Device: path, Err: fmt.Errorf("%w: %q", ErrUnknownDriver, name)}
}

// checkDriver refuses a device that is known to have another driver than the transport's.
func (s system) checkDriver(path, transport string) error {
	serving, err := s.detectDriver(path)
	if err != nil || serving == transport {
		return nil
	}
	err = fmt.Errorf("%w: %s, not %s", ErrOtherDriver, serving, transport)
	return &OpError{Op: "open", Device: path, Err: err}
}

// addressNACKDrivers are the drivers of adapters that report a NACK of the address byte as ENXIO,
// as Documentation/i2c/fault-codes.rst says, and a NACK of a later byte as EIO:
// drivers/i2c/busses/i2c-aspeed.c and i2c-gpio.c (on i2c-algo-bit.c). Many others, i2c-imx.c and
// i2c-npcm7xx.c among them, have one errno for both.
var addressNACKDrivers = []string{"aspeed-i2c-bus", "i2c-gpio"}

// tellsAddressNACK reports whether the adapter with this sysfs folder is known to distinguish a
// NACK of the address byte from a NACK of a later byte. A channel of a multiplexer does as the
// adapter before it, in whose folder it is.
func tellsAddressNACK(adapter string) bool {
	for isAdapter(adapter) {
		adapter = filepath.Dir(adapter)
	}
	return slices.Contains(addressNACKDrivers, driverOf(adapter))
}

// isAdapter reports whether a folder of sysfs has the name of an adapter, i2c-N.
func isAdapter(folder string) bool {
	number, ok := strings.CutPrefix(filepath.Base(folder), "i2c-")
	_, err := strconv.Atoi(number)
	return ok && err == nil
}

// tellsAddressNACKAt is tellsAddressNACK of the adapter of the character device at path.
func (s system) tellsAddressNACKAt(path string) bool {
	client, err := s.clientFolder(path)
	return err == nil && tellsAddressNACK(filepath.Dir(client))
}

// tellsAddressNACKOf is tellsAddressNACK of the adapter with a number.
func (s system) tellsAddressNACKOf(bus int) bool {
	adapter, err := filepath.EvalSymlinks(s.adapterFolder(bus))
	return err == nil && tellsAddressNACK(adapter)
}

// protocol is the form in which ipmb-dev puts a frame on the wire.
type protocol uint8

const (
	protocolUnknown protocol = iota
	protocolI2C              // as it is
	protocolSMBus            // as an SMBus block
)

// protocolOf returns the protocol of the ipmb-dev at path. The descriptor does not show it. sysfs
// shows the properties of a device of the device tree, and that a device can have no properties.
// It does not show the properties of ACPI and of software nodes.
func (s system) protocolOf(path string) protocol {
	folder, err := s.clientFolder(path)
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
