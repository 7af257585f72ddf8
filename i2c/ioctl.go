package i2c

import (
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ipmbDeviceGroup is IPMB_IOC_MAGIC of ipmb_device.h.
const ipmbDeviceGroup = 217

// Requests of the ipmb-device driver, by their numbers in ipmb_device.h. They
// are _IO: without an argument.
const (
	ipmbDeviceIgnoreNACK = iota + 1
	ipmbDeviceRespectNACK
	ipmbDeviceVerifyChecksum
	ipmbDeviceTrustChecksum
)

// i2cRDWR is I2C_RDWR of include/uapi/linux/i2c-dev.h, a plain number on every
// architecture.
const i2cRDWR = 0x0707

// i2cMsg is struct i2c_msg of include/uapi/linux/i2c.h.
type i2cMsg struct {
	addr   uint16 // 7 bits
	flags  uint16
	length uint16
	buf    *byte
}

// i2cRDWRData is struct i2c_rdwr_ioctl_data of include/uapi/linux/i2c-dev.h.
type i2cRDWRData struct {
	msgs  *i2cMsg
	nmsgs uint32
}

// writeI2C writes to the device at a 7-bit address, in one transfer of an
// adapter that is open at fd. At most 8192 bytes. A write has no flags.
func writeI2C(fd int, addr7 uint8, b []byte) error {
	msg := i2cMsg{addr: uint16(addr7), flags: 0, length: uint16(len(b)), buf: unsafe.SliceData(b)}
	data := i2cRDWRData{msgs: &msg, nmsgs: 1}
	done, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), i2cRDWR, uintptr(unsafe.Pointer(&data)))
	return writeResult(done, errno)
}

// writeResult is what came of I2C_RDWR, which returns how many transfers were
// made.
func writeResult(done uintptr, errno unix.Errno) error {
	switch {
	case errno != 0:
		return errno
	case done != 1:
		return io.ErrShortWrite
	}
	return nil
}
