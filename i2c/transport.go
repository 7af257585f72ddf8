package i2c

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"ipmbd/internal/chardev"
)

// Errors of a transfer, as the bus saw it. NotDelivered returns true for those that prove that
// nothing was delivered.
var (
	// ErrNotAcknowledged: a byte was not acknowledged. If it was the last one, the node still has
	// the frame.
	ErrNotAcknowledged = errors.New("not acknowledged")
	// ErrAddressNotAcknowledged is the ErrNotAcknowledged of a driver that names the byte: the
	// address byte, so no node is there. Nothing was delivered.
	ErrAddressNotAcknowledged = fmt.Errorf("address %w", ErrNotAcknowledged)
	// ErrArbitrationLost: another master won the bus. Nothing was delivered.
	ErrArbitrationLost = errors.New("arbitration lost")
	// ErrStuck: the bus did not carry the frame in the driver's time, because the clock or the
	// data line was held low, the controller was busy, or for any other reason.
	ErrStuck = errors.New("bus stuck")
	// ErrTooLong: the frame is longer than Limits.MaxFrame. Nothing was sent.
	ErrTooLong = errors.New("frame too long for the transport")
	// ErrClosed: the transport was closed. Nothing was sent.
	ErrClosed = errors.New("transport closed")
)

// errEmpty is the error of a frame of no bytes. Drivers answer it with EINVAL, and some sent
// kernel memory to the bus instead (drivers/char/ipmi/ipmb_dev_int.c before Linux 6.1.192), so no
// driver gets such a frame.
var errEmpty = errors.New("empty frame")

// NotDelivered reports whether an error of WriteFrame proves that no node has received the frame.
// All other failures leave it open.
func NotDelivered(err error) bool {
	for _, proof := range []error{ErrAddressNotAcknowledged, ErrArbitrationLost, ErrTooLong, ErrClosed} {
		if errors.Is(err, proof) {
			return true
		}
	}
	return false
}

// OpError is a failure that the system reported.
type OpError struct {
	Op     string // "open", "read", "write", "bind", ...
	Device string // path of the device or socket, or a Binding
	Kind   error  // one of the package's errors, or nil
	Err    error  // of the system, usually a syscall.Errno
}

// Error is operation, device and cause: "write /dev/ipmb-4: not acknowledged (ENXIO...)".
func (e *OpError) Error() string {
	text := e.Op + " " + e.Device + ": "
	switch {
	case e.Kind == nil:
		return text + e.Err.Error()
	case e.Err == nil:
		return text + e.Kind.Error()
	}
	return text + e.Kind.Error() + " (" + e.Err.Error() + ")"
}

// Unwrap returns the kind and the system's error.
func (e *OpError) Unwrap() []error {
	return slices.DeleteFunc([]error{e.Kind, e.Err}, func(err error) bool { return err == nil })
}

// systemError makes an OpError of an error of the standard library. It keeps only the errno of the
// error, so that the text does not name device and operation twice.
func systemError(op, device string, err error) error {
	return &OpError{Op: op, Device: device, Err: cause(err)}
}

// cause is the errno in an error, or the error itself if it has no errno.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// Limits are the limits of a transport.
type Limits struct {
	// MaxFrame is the longest frame that it sends, in bytes, the destination address included.
	MaxFrame int
	// GeneralCall: a frame to address 00h reaches every node on the bus.
	GeneralCall bool
	// CopyTime is how long after a frame a copy of it may arrive: a node on I2C that has missed
	// the acknowledgement of its frame writes the frame again. 0 is DefaultCopyTime. NoCopies
	// means that each frame arrives once.
	CopyTime time.Duration
}

const (
	// DefaultCopyTime is long enough for a node that tries again at once, or after the 20 ms of
	// facebook's ipmbd and a frame of another node in between.
	DefaultCopyTime = 40 * time.Millisecond
	// NoCopies is the CopyTime of a transport that delivers each frame once.
	NoCopies time.Duration = -1
)

// Copies returns CopyTime with its default, and 0 for NoCopies.
func (l Limits) Copies() time.Duration {
	if l.CopyTime == 0 {
		return DefaultCopyTime
	}
	return max(l.CopyTime, 0)
}

// Check returns the error of a frame that no transport with these limits sends: an empty frame, or
// a frame longer than MaxFrame, which is ErrTooLong.
func (l Limits) Check(frame []byte) error {
	switch {
	case len(frame) == 0:
		return errEmpty
	case len(frame) > l.MaxFrame:
		return ErrTooLong
	}
	return nil
}

// Transport carries frames to and from one bus.
type Transport interface {
	// ReadFrames waits for at least one frame, then takes all others that have arrived, up to the
	// room in b. The frames in b are valid until the next call with the same batch.
	ReadFrames(b *Batch) error
	// WriteFrame sends one frame and returns when the bus has taken it (nil) or not. It does not
	// keep the frame.
	WriteFrame(frame []byte) error
	// Limits is constant.
	Limits() Limits
	// Close ends the transport.
	Close() error
}

// DirectWriter is a Transport whose writes usually need no wait: a socket, for example.
type DirectWriter interface {
	// TryWriteFrame sends one frame if that needs no wait. It returns true when the frame was sent
	// or has failed. Otherwise the caller sends the frame with WriteFrame before all others.
	TryWriteFrame(frame []byte) (done bool, err error)
}

// Counter is a Transport that counts the frames that it dropped.
type Counter interface {
	// Counters returns a snapshot of the counters by name, usually "dropped-...". They start at 0
	// with the transport and only grow.
	Counters() map[string]uint64
}

// Warner is a Transport that can report that it works, but not as it should.
type Warner interface {
	// Warning says what is wrong and how to correct it, or is "". It does not change while the
	// transport is open.
	Warning() string
}

// Switches are settings of the ipmb-device driver. They belong to the device: they outlive the
// program that set them, and apply to all programs that have the device open.
type Switches struct {
	// IgnoreNACK: the driver sends a frame to its end even if no node acknowledges it. Then no
	// write is ErrNotAcknowledged.
	IgnoreNACK bool
	// VerifyChecksum: the driver drops frames with a wrong header checksum, and refuses them on
	// the bus where the adapter can.
	VerifyChecksum bool
}

// Switcher is a Transport whose driver has Switches. Its methods may be called from any goroutine.
type Switcher interface {
	// Switches returns the switches that were set with success.
	Switches() Switches
	// SetIgnoreNACK returns an OpError that unwraps to errors.ErrUnsupported when the adapter
	// cannot, or ErrClosed.
	SetIgnoreNACK(on bool) error
	// SetVerifyChecksum is as SetIgnoreNACK.
	SetVerifyChecksum(on bool) error
}

// Watch reports when the device or socket of a transport appears or goes.
type Watch = chardev.Watch

// Sight is the device or socket that was at a path when Look looked.
type Sight = chardev.Sight

// Look looks at the path of a device or a socket, for OpenWatch.
func Look(path string) Sight { return chardev.Look(path) }

// OpenWatch begins to watch the path of a device or a socket, which need not exist. Wait returns
// when it has appeared, gone or been replaced since it was seen. The errors are OpErrors that
// unwrap to an error of the system.
func OpenWatch(path string, seen Sight) (*Watch, error) {
	watch, err := chardev.OpenWatch(path, seen)
	if err != nil {
		return nil, &OpError{Op: "watch", Device: path, Err: err}
	}
	return watch, nil
}
