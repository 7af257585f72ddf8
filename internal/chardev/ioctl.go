package chardev

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Request is the number of _IO(group, number), a request of a driver's without
// an argument, on this machine.
func Request(group, number uint8) uintptr { return request(runtime.GOARCH, none, group, number, 0) }

// ReadRequest is the number of _IOR(group, number, T) on this machine; size is
// that of T in bytes.
func ReadRequest(group, number uint8, size uintptr) uintptr {
	return request(runtime.GOARCH, read, group, number, size)
}

// ReadWriteRequest is ReadRequest of _IOWR.
func ReadWriteRequest(group, number uint8, size uintptr) uintptr {
	return request(runtime.GOARCH, readWrite, group, number, size)
}

// direction is which way an argument goes, as the number says.
type direction int

const (
	none direction = iota
	read
	readWrite
)

// request is the number of an architecture. Most have the direction in the
// topmost two bits and 0 for none (include/uapi/asm-generic/ioctl.h); MIPS and
// PowerPC have it in the topmost three and 1 for none (their own asm/ioctl.h).
func request(goarch string, d direction, group, number uint8, size uintptr) uintptr {
	bits, shift := [...]uintptr{none: 0, read: 2, readWrite: 3}[d], 30
	if strings.HasPrefix(goarch, "mips") || strings.HasPrefix(goarch, "ppc64") {
		bits, shift = [...]uintptr{none: 1, read: 2, readWrite: 6}[d], 29
	}
	return bits<<shift | size<<16 | uintptr(group)<<8 | uintptr(number)
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
