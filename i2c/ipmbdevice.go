package i2c

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"ipmbd/internal/chardev"
)

const (
	// ipmbDeviceMaxFrame is the longest frame the driver sends whole. It takes
	// 259 bytes, but counts them in a byte: of 257 to 259 the transfer would be
	// empty or a stump, and for 256 it would be the 65535 bytes that lie on the
	// kernel's stack.
	ipmbDeviceMaxFrame = 255
	// ipmbDeviceMinFrame is the header, which the driver checks.
	ipmbDeviceMinFrame = 3
	// ipmbDeviceWrap is where the driver's count of received bytes wraps.
	ipmbDeviceWrap = 256
)

// errHeader: the driver would answer EINVAL, which says nothing of the cause.
var errHeader = errors.New("wrong header checksum, which the driver does not send")

// ipmbDevice is the character device of the raw driver ipmb-device
// (github.com/enndubyu/ipmb_device). A packet is the frame.
//
// Its quirks, beside those of device:
//   - It checks the header checksum of what it sends, whatever its switches
//     say. The form of a general call has none where it looks.
//   - It delivers any write transfer. Of less than 3 bytes it miscounts the
//     length, by 256, and fills up with zeros: what a scan for I2C devices
//     leaves behind.
//   - An ioctl may fail with a positive number, and returns 0 for a request
//     that it does not know: success does not prove that a switch exists.
type ipmbDevice struct {
	*device
	ioctl   func(fd int, request uintptr) error
	warning string
	noise   atomic.Uint64

	// mu keeps two setters of a switch apart. The driver's ioctl waits for
	// nothing.
	mu       sync.Mutex
	switches Switches
}

// OpenIPMBDevice opens the device of the ipmb-device driver, such as
// /dev/ipmb-4, and sets its switches. One that cannot be set is left off, and
// Warner tells. The errors are those of OpenIPMBDev.
func OpenIPMBDevice(path string, switches Switches) (Transport, error) {
	return thisSystem().openIPMBDevice(path, switches)
}

func (s system) openIPMBDevice(path string, switches Switches) (Transport, error) {
	if err := s.checkDriver(path, IPMBDevice); err != nil {
		return nil, err
	}
	file, err := openDevice(path)
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
	d.device = newDevice(path, file, d.frame)
	return d
}

// frame drops what is no transfer of the bus's: a length that wrapped. All else
// is for the codec to judge and count.
func (d *ipmbDevice) frame(packet []byte) (int, error) {
	wrapped := len(packet) >= ipmbDeviceWrap && zero(packet[len(packet)-ipmbDeviceWrap:])
	if wrapped || len(packet) < ipmbDeviceMinFrame {
		d.noise.Add(1)
		return 0, errDropped
	}
	return 0, nil
}

func zero(b []byte) bool {
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
	number := uint8(ipmbDeviceRespectNACK)
	if on {
		number = ipmbDeviceIgnoreNACK
	}
	return d.set(&d.switches.IgnoreNACK, on, "set ignore-nack on", number)
}

// SetVerifyChecksum implements Switcher.
func (d *ipmbDevice) SetVerifyChecksum(on bool) error {
	number := uint8(ipmbDeviceTrustChecksum)
	if on {
		number = ipmbDeviceVerifyChecksum
	}
	return d.set(&d.switches.VerifyChecksum, on, "set verify-checksum on", number)
}

func (d *ipmbDevice) set(state *bool, on bool, op string, number uint8) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.file.Control(func(fd int) error { return d.ioctl(fd, chardev.Request(ipmbDeviceGroup, number)) })
	if err == nil {
		*state = on
	}
	return controlError(op, d.path, nil, err)
}

// setAll sets both switches, since the program that had the device before may have
// left them either way.
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

// Counters implements Counter.
func (d *ipmbDevice) Counters() map[string]uint64 {
	return map[string]uint64{
		"dropped-noise":      d.noise.Load(),
		"receive-queue-full": d.full.Load(),
	}
}
