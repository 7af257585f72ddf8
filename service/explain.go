package service

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"ipmbd/dbusapi"
	"ipmbd/i2c"
)

// deviceError is a failure of the kernel's with what to do about it.
type deviceError struct {
	kind   error // of package dbusapi
	err    error
	advice string
}

// Error implements error.
func (e *deviceError) Error() string {
	if e.advice == "" {
		return e.err.Error()
	}
	return e.err.Error() + ": " + e.advice
}

// Unwrap gives the kind and the kernel's error.
func (e *deviceError) Unwrap() []error { return []error{e.kind, e.err} }

// deviceErrors are what the errors of i2c.Bind and i2c.Unbind are to the
// callers of a bus. The first row that matches is taken.
var deviceErrors = []deviceError{
	{dbusapi.ErrNoAdapter, i2c.ErrNoAdapter, "check the number in slave-path, or load the adapter's driver"},
	{dbusapi.ErrInUse, i2c.ErrInUse, "unbind what has it"},
	{dbusapi.ErrFixed, i2c.ErrFirmware, "change it there, for instance in the device tree"},
	{dbusapi.ErrDevice, i2c.ErrNoDriver, "load the driver's module (ipmb_dev_int for ipmb-dev), and see what dmesg says"},
	{dbusapi.ErrDevice, fs.ErrPermission, "ipmbd must run as root"},
	{dbusapi.ErrDevice, unix.EROFS, "ipmbd must be allowed to write below /sys/devices: see ReadWritePaths= of its unit"},
}

// explain says what to do about an error of the kernel's.
func explain(err error) error {
	for _, row := range deviceErrors {
		if errors.Is(err, row.err) {
			return &deviceError{row.kind, err, row.advice}
		}
	}
	return &deviceError{dbusapi.ErrDevice, err, ""}
}

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
