package chardev

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Request returns the number of _IO(group, number) on this machine: an ioctl without an
// argument.
func Request(group, number uint8) uintptr { return request(runtime.GOARCH, none, group, number, 0) }

// ReadRequest returns the number of _IOR(group, number, T) on this machine. size is the size of
// T in bytes.
func ReadRequest(group, number uint8, size uintptr) uintptr {
	return request(runtime.GOARCH, read, group, number, size)
}

// ReadWriteRequest is ReadRequest for _IOWR.
func ReadWriteRequest(group, number uint8, size uintptr) uintptr {
	return request(runtime.GOARCH, readWrite, group, number, size)
}

// direction is the way of an ioctl's argument.
type direction int

const (
	none direction = iota
	read
	readWrite
)

// request returns the number on an architecture. Most have the direction in the topmost two bits,
// where 0 is no direction (include/uapi/asm-generic/ioctl.h); MIPS and PowerPC have it in the
// topmost three, where 1 is no direction (their own asm/ioctl.h).
func request(goarch string, d direction, group, number uint8, size uintptr) uintptr {
	bits, shift := [...]uintptr{none: 0, read: 2, readWrite: 3}[d], 30
	if strings.HasPrefix(goarch, "mips") || strings.HasPrefix(goarch, "ppc64") {
		bits, shift = [...]uintptr{none: 1, read: 2, readWrite: 6}[d], 29
	}
	return bits<<shift | size<<16 | uintptr(group)<<8 | uintptr(number)
}

// Ioctl makes an ioctl without an argument. The errors are the system's.
func Ioctl(fd int, request uintptr) error {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, 0)
	return ioctlResult(result, errno)
}

// ioctlResult returns the error of an ioctl without an argument. A positive result is an error
// number, too, although the C library does not notice: ipmb-device returns EOPNOTSUPP like that.
func ioctlResult(result uintptr, errno unix.Errno) error {
	switch {
	case errno != 0:
		return errno
	case result != 0:
		return unix.Errno(result)
	}
	return nil
}
