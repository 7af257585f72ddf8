//go:build !race

package socket

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadNow reads from a descriptor that does not block. It does not tell Go's scheduler of the
// system call, which would wake its monitor each time to look after a call that may last.
func ReadNow(fd uintptr, p []byte) (int, error) { return now(unix.SYS_READ, fd, p) }

// WriteNow writes to a descriptor that does not block, as ReadNow reads.
func WriteNow(fd uintptr, p []byte) (int, error) { return now(unix.SYS_WRITE, fd, p) }

func now(call, fd uintptr, p []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
