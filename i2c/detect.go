package i2c

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ipmbd/internal/chardev"
)

// Names of transports. Those of kernel drivers are the names under which
// new_device knows them.
const (
	IPMBDev     = "ipmb-dev"
	IPMBDevice  = "ipmb-device"
	SlaveMqueue = "slave-mqueue"
	Seqpacket   = "seqpacket"
)

// drivers are the names of the drivers themselves, by transport.
var drivers = map[string]string{
	IPMBDev:     "ipmb-dev",
	IPMBDevice:  "ipmb-device",
	SlaveMqueue: "i2c-slave-mqueue",
}

func transportOf(driver string) (transport string, ok bool) {
	for transport, name := range drivers {
		if name == driver {
			return transport, true
		}
	}
	return "", false
}

var (
	// ErrUnknownDriver: sysfs does not show a driver whose framing is known.
	ErrUnknownDriver = errors.New("driver not known")
	// ErrOtherDriver: a driver with another framing serves the device.
	ErrOtherDriver = errors.New("another driver serves the device")
)

// Detect names the transport for path: Seqpacket for a socket, SlaveMqueue for
// its driver's attribute, and for a character device that of its driver, which
// sysfs tells; nothing is opened or written. The errors are OpErrors that
// unwrap to the system's, to ErrUnknownDriver, or to chardev.ErrNotDevice.
func Detect(path string) (transport string, err error) { return thisSystem().detect(path) }

func (s system) detect(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", &OpError{Op: "detect", Device: path, Err: cause(err)}
	}
	switch mode := info.Mode(); {
	case mode&os.ModeSocket != 0:
		return Seqpacket, nil
	case mode&os.ModeCharDevice != 0:
		return s.detectDriver(path)
	case mode.IsRegular() && filepath.Base(path) == mqueueAttribute:
		return SlaveMqueue, nil
	}
	return "", &OpError{Op: "detect", Device: path, Err: chardev.ErrNotDevice}
}

func (s system) detectDriver(path string) (string, error) {
	folder, err := s.client(path)
	if err != nil {
		return "", &OpError{Op: "detect", Device: path, Err: fmt.Errorf("%w: %w", ErrUnknownDriver, err)}
	}
	name := driver(folder)
	if transport, ok := transportOf(name); ok {
		return transport, nil
	}
	return "", &OpError{Op: "detect", Device: path, Err: fmt.Errorf("%w: %q", ErrUnknownDriver, name)}
}

// checkDriver refuses to open a device with the framing of another driver than
// the one that is known to serve it.
func (s system) checkDriver(path, transport string) error {
	serving, err := s.detectDriver(path)
	if err != nil || serving == transport {
		return nil
	}
	return &OpError{Op: "open", Device: path, Err: fmt.Errorf("%w: %s, not %s", ErrOtherDriver, serving, transport)}
}
