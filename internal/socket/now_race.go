//go:build race

package socket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// ReadNow reads from a descriptor that does not block. It calls package syscall, whose calls the
// race detector takes for an order between the two ends.
func ReadNow(fd uintptr, p []byte) (int, error) { return now(syscall.Read, fd, p) }

// WriteNow writes to a descriptor that does not block.
func WriteNow(fd uintptr, p []byte) (int, error) { return now(syscall.Write, fd, p) }

func now(call func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		if n, err := call(int(fd), p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
