// Package readfile reads files within a size and a time. The file of a kernel's driver or of
// another program may have no end, and a read of it may never return.
package readfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"ipmbd/internal/fdtrace"
)

// Limits of a file whose owner knows none.
const (
	// Time is how long a file may take to be read.
	Time = 2 * time.Second
	// Size is how many bytes the file of one value may have.
	Size = 4 << 10
)

var (
	// ErrTooSlow: the file did not return its bytes in time.
	ErrTooSlow = errors.New("a read of it does not return")
	// ErrTooLong: the file has more bytes than it may have.
	ErrTooLong = errors.New("it is too long")
)

// Bounded reads a file of at most size bytes. It does not wait for the writer of a FIFO, and for a
// FIFO without data only for Time. A driver that hangs in the kernel can still block it for ever.
// The error is an *os.PathError, of ErrTooLong or ErrTooSlow or of the system.
func Bounded(path string, size int) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	fdtrace.OpenedFile(file)
	defer file.Close()
	_ = file.SetReadDeadline(time.Now().Add(Time)) // fails for files for which the kernel has no poll(2)
	data, err := io.ReadAll(io.LimitReader(file, int64(size)+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &os.PathError{Op: "read", Path: path, Err: ErrTooSlow}
	case err != nil:
		return nil, err
	case len(data) > size:
		return nil, &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: more than %d bytes", ErrTooLong, size)}
	}
	return data, nil
}

// InTime is Bounded, but returns after Time in any case. Nothing can end a read that hangs in the
// kernel: its goroutine is left behind, with the thread that it occupies.
func InTime(path string, size int) ([]byte, error) {
	return inTime(path, func() ([]byte, error) { return Bounded(path, size) })
}

// IsFolder returns nil if there is a folder at a path, an error of syscall.ENOTDIR if there is
// anything else there or above it, and otherwise why that is not known, within Time.
func IsFolder(path string) error {
	_, err := inTime(path, func() (struct{}, error) {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = &os.PathError{Op: "stat", Path: path, Err: syscall.ENOTDIR}
		}
		return struct{}{}, err
	})
	return err
}

// inTime calls a function that may hang.
func inTime[T any](path string, do func() (T, error)) (got T, err error) {
	type result struct {
		got T
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := do()
		done <- result{got, err}
	}()
	timer := time.NewTimer(Time)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.got, r.err
	case <-timer.C:
		return got, &os.PathError{Op: "read", Path: path, Err: ErrTooSlow}
	}
}
