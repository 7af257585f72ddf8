package i2c

import "errors"

// errEmpty: a frame of no bytes. Drivers answer it with EINVAL, and some sent
// kernel memory to the bus instead (drivers/char/ipmi/ipmb_dev_int.c before
// Linux 6.1.192), so none gets to see it.
var errEmpty = errors.New("empty frame")

// checkLength refuses what no transport sends: an empty frame, and one of more
// than limit bytes.
func checkLength(frame []byte, limit int) error {
	switch {
	case len(frame) == 0:
		return errEmpty
	case len(frame) > limit:
		return ErrTooLong
	}
	return nil
}
