package i2c

import (
	"errors"
	"strings"
	"sync"

	"ipmbd/internal/chardev"
)

const (
	// ipmbDeviceMaxFrame is the longest frame the driver sends whole. It accepts 259 bytes, but
	// counts them in a byte: for 257 to 259 the transfer would be empty or a stump, and for 256 it
	// would be 65535 bytes of the kernel's stack.
	ipmbDeviceMaxFrame = 255
	// ipmbDeviceMinFrame is the header, which the driver checks.
	ipmbDeviceMinFrame = 3
	// ipmbDeviceWrap is the number at which the driver's count of received bytes wraps.
	ipmbDeviceWrap = 256
)

// ipmbDeviceGroup is IPMB_IOC_MAGIC of ipmb_device.h.
const ipmbDeviceGroup = 217

// Requests of the ipmb-device driver, by their numbers in ipmb_device.h. They are _IO: without an
// argument.
const (
	ipmbDeviceIgnoreNACK uint8 = iota + 1
	ipmbDeviceRespectNACK
	ipmbDeviceVerifyChecksum
	ipmbDeviceTrustChecksum
)

// errHeader stands for the driver's EINVAL, which does not name the cause.
var errHeader = errors.New("wrong header checksum, which the driver does not send")

// ipmbDevice is the character device of the raw driver ipmb-device
// (github.com/enndubyu/ipmb_device). A packet is the frame.
//
// It has the quirks of device, and these:
//   - It checks the header checksum of frames that it sends, with any switches. A general call has
//     no checksum in that place.
//   - It delivers any write transfer. For a transfer of less than 3 bytes the length that it
//     counts is wrong by 256, and it fills up with zeros. A scan for I2C devices makes such
//     transfers.
//   - An ioctl may fail with a positive number, and returns 0 for a request that the driver does
//     not know: success does not prove that a switch exists.
type ipmbDevice struct {
	*device
	ioctl   func(fd int, request uintptr) error
	warning string

	mu       sync.Mutex // held while a switch is set; the driver's ioctl waits for nothing
	switches Switches
}

// OpenIPMBDevice opens the device of the ipmb-device driver, such as /dev/ipmb-4, and sets its
// switches. A switch that cannot be set is left off, and Warning says so. It returns the errors of
// OpenIPMBDev.
func OpenIPMBDevice(path string, switches Switches) (Transport, error) {
	return thisSystem().openIPMBDevice(path, switches)
}

func (s system) openIPMBDevice(path string, switches Switches) (Transport, error) {
	file, err := s.openDevice(path, IPMBDevice)
	if err != nil {
		return nil, err
	}
	d := newIPMBDevice(path, file)
	d.tellsAddress = s.tellsAddressNACKAt(path)
	d.setAll(switches)
	return d, nil
}

func newIPMBDevice(path string, file *chardev.Device) *ipmbDevice {
	d := &ipmbDevice{ioctl: chardev.Ioctl}
	d.device = newDevice(path, file, "dropped-noise", d.frame)
	return d
}

// frame drops packets that are no transfer of the bus, because their length has wrapped. It leaves
// all others to the codec.
func (d *ipmbDevice) frame(packet []byte) (int, error) {
	wrapped := len(packet) >= ipmbDeviceWrap && isZero(packet[len(packet)-ipmbDeviceWrap:])
	if wrapped || len(packet) < ipmbDeviceMinFrame {
		return d.dropPacket()
	}
	return 0, nil
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// WriteFrame implements Transport.
func (d *ipmbDevice) WriteFrame(frame []byte) error {
	if err := d.Limits().Check(frame); err != nil {
		return err
	}
	if len(frame) < ipmbDeviceMinFrame || frame[0]+frame[1]+frame[2] != 0 {
		return errHeader
	}
	d.packet = frame
	err := d.writePacket()
	d.packet = nil
	return err
}

// Limits implements Transport.
func (d *ipmbDevice) Limits() Limits { return Limits{MaxFrame: ipmbDeviceMaxFrame} }

// Switches implements Switcher.
func (d *ipmbDevice) Switches() Switches {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.switches
}

// SetIgnoreNACK implements Switcher.
func (d *ipmbDevice) SetIgnoreNACK(on bool) error {
	request := ipmbDeviceRespectNACK
	if on {
		request = ipmbDeviceIgnoreNACK
	}
	return d.setSwitch(&d.switches.IgnoreNACK, on, "set ignore-nack on", request)
}

// SetVerifyChecksum implements Switcher.
func (d *ipmbDevice) SetVerifyChecksum(on bool) error {
	request := ipmbDeviceTrustChecksum
	if on {
		request = ipmbDeviceVerifyChecksum
	}
	return d.setSwitch(&d.switches.VerifyChecksum, on, "set verify-checksum on", request)
}

func (d *ipmbDevice) setSwitch(state *bool, on bool, op string, request uint8) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.file.Control(func(fd int) error { return d.ioctl(fd, chardev.Request(ipmbDeviceGroup, request)) })
	if err == nil {
		*state = on
	}
	return controlError(op, d.path, nil, err)
}

// setAll sets both switches, since the program that had the device before may have left them
// either way.
func (d *ipmbDevice) setAll(switches Switches) {
	var warnings []string
	for _, err := range []error{
		d.SetIgnoreNACK(switches.IgnoreNACK),
		d.SetVerifyChecksum(switches.VerifyChecksum),
	} {
		if err != nil {
			warnings = append(warnings, err.Error())
		}
	}
	d.warning = strings.Join(warnings, "; ")
}

// Warning implements Warner.
func (d *ipmbDevice) Warning() string { return d.warning }
