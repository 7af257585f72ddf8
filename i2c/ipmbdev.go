package i2c

import (
	"errors"

	"golang.org/x/sys/unix"

	"ipmbd/internal/chardev"
)

const (
	// ipmbDevMaxFrame is the longest frame the driver sends: its limit is 240 bytes with the
	// length byte (MAX_MSG_LEN in drivers/char/ipmi/ipmb_dev_int.c).
	ipmbDevMaxFrame = 239
	// ipmbDevOldMaxFrame is the same for the driver's first versions, whose limit is 128 bytes.
	ipmbDevOldMaxFrame = 127
)

// ipmbDev is the character device of Linux's ipmb-dev driver, drivers/char/ipmi/ipmb_dev_int.c. A
// packet is a byte that gives the length of the frame, and the frame.
//
// It has the quirks of device, and these:
//   - It drops frames shorter than 7 bytes or with a wrong first checksum, and reports nothing. It
//     does not check the second checksum.
//   - It cuts a received frame at 238 bytes, one less than it sends.
//   - Without the property i2c-protocol it sends SMBus blocks. Writes succeed, but only nodes that
//     expect the byte count in them understand the frames.
type ipmbDev struct {
	*device
	protocol protocol
}

// OpenIPMBDev opens the device of Linux's ipmb-dev driver, such as /dev/ipmb-4. The errors are
// OpErrors that unwrap to chardev.ErrNotDevice, ErrOtherDriver, or an error of the system.
func OpenIPMBDev(path string) (Transport, error) { return thisSystem().openIPMBDev(path) }

func (s system) openIPMBDev(path string) (Transport, error) {
	file, err := s.openDevice(path, IPMBDev)
	if err != nil {
		return nil, err
	}
	d := newIPMBDev(path, file, s.protocolOf(path))
	d.tellsAddress = s.tellsAddressNACKAt(path)
	return d, nil
}

func newIPMBDev(path string, file *chardev.Device, protocol protocol) *ipmbDev {
	d := &ipmbDev{protocol: protocol}
	d.device = newDevice(path, file, "dropped-length-byte", d.frame)
	d.packet = make([]byte, 0, 1+ipmbDevMaxFrame)
	return d
}

// frame drops a packet whose length byte is not its length. The length bytes of the driver are
// always right. A wrong one comes from another driver with another framing, for example, and the
// packet holds no frame.
func (d *ipmbDev) frame(packet []byte) (int, error) {
	if len(packet) == 1 || int(packet[0]) != len(packet)-1 {
		return d.dropPacket()
	}
	return 1, nil
}

// WriteFrame implements Transport.
func (d *ipmbDev) WriteFrame(frame []byte) error {
	if err := d.Limits().Check(frame); err != nil {
		return err
	}
	d.packet = append(append(d.packet[:0], byte(len(frame))), frame...)
	err := d.writePacket()
	if len(frame) > ipmbDevOldMaxFrame && errors.Is(err, unix.EINVAL) {
		return &OpError{Op: "write", Device: d.path, Kind: ErrTooLong, Err: unix.EINVAL}
	}
	return err
}

// Limits implements Transport. Address 00h is a general call on the wire only if the driver sends
// frames as they are.
func (d *ipmbDev) Limits() Limits {
	return Limits{MaxFrame: ipmbDevMaxFrame, GeneralCall: d.protocol == protocolI2C}
}

// Warning implements Warner.
func (d *ipmbDev) Warning() string {
	if d.protocol == protocolSMBus {
		return "the device has no property i2c-protocol, so the driver puts a byte count into each frame, " +
			"cuts it at 34 bytes, and IPMB peers understand nothing: declare the device in the device " +
			"tree, with i2c-protocol"
	}
	return ""
}
