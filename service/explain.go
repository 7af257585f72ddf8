package service

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrWrongConfig: a key of the configuration asks for what cannot be here. Another
// start would not help.
var ErrWrongConfig = errors.New("wrong configuration")

// explainPath says what to do about an error at a path of the configuration, under a
// key, at which something is to be made.
func explainPath(key string, err error) error {
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %s: %w: ipmbd must be allowed to write there: its unit allows /var/lib/ipmbd and /run/ipmbd, "+
			"by StateDirectory= and ReadWritePaths=", ErrWrongConfig, key, err)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %s: %w", ErrWrongConfig, key, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}
