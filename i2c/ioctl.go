package i2c

import (
	"io"
	"strings"
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

// ioNone is the request _IO(group, number) of an architecture. Most say "no
// argument" with 0 in the topmost two bits (include/uapi/asm-generic/ioctl.h);
// MIPS and PowerPC have 1 in the topmost three (their own asm/ioctl.h).
func ioNone(goarch string, group, number uint8) uintptr {
	request := uintptr(group)<<8 | uintptr(number)
	if strings.HasPrefix(goarch, "mips") || strings.HasPrefix(goarch, "ppc64") {
		request |= 1 << 29
	}
	return request
}

// ioctlNone makes a request without an argument.
func ioctlNone(fd int, request uintptr) error {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, 0)
	return noneResult(result, errno)
}

// noneResult is what came of a request without an argument. A driver that
// returns a positive error number has failed as well, though the C library does
// not notice: ipmb-device does, with EOPNOTSUPP.
func noneResult(result uintptr, errno unix.Errno) error {
	switch {
	case errno != 0:
		return errno
	case result != 0:
		return unix.Errno(result)
	}
	return nil
}

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
