package i2c

import (
	"errors"
	"syscall"
)

// cause is the errno inside what the standard library made of it, so that an
// OpError does not name the device and the operation twice. Other errors are
// returned as they are.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
