package chardev

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Request is the number of _IO(group, number), a request of a driver's without
// an argument, on this machine.
func Request(group, number uint8) uintptr { return request(runtime.GOARCH, group, number) }

// request is _IO(group, number) of an architecture. Most say "no argument" with
// 0 in the topmost two bits (include/uapi/asm-generic/ioctl.h); MIPS and PowerPC
// have 1 in the topmost three (their own asm/ioctl.h).
func request(goarch string, group, number uint8) uintptr {
	request := uintptr(group)<<8 | uintptr(number)
	if strings.HasPrefix(goarch, "mips") || strings.HasPrefix(goarch, "ppc64") {
		request |= 1 << 29
	}
	return request
}

// Ioctl makes a request without an argument. The errors are the system's.
func Ioctl(fd int, request uintptr) error {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, 0)
	return ioctlResult(result, errno)
}

// ioctlResult is what came of a request without an argument. A driver that
// returns a positive error number has failed as well, though the C library does
// not notice: ipmb-device does, with EOPNOTSUPP.
func ioctlResult(result uintptr, errno unix.Errno) error {
	switch {
	case errno != 0:
		return errno
	case result != 0:
		return unix.Errno(result)
	}
	return nil
}
