package i2c

import "errors"

// Errors of a transfer, as the bus saw it.
var (
	// ErrNotAcknowledged: nobody took the frame. Nothing was delivered.
	ErrNotAcknowledged = errors.New("not acknowledged")
	// ErrArbitrationLost: another master won the bus. Nothing was delivered.
	ErrArbitrationLost = errors.New("arbitration lost")
	// ErrStuck: the bus did not carry the frame in the time the driver gives
	// it (clock or data held low, controller busy, or any other failure).
	ErrStuck = errors.New("bus stuck")
	// ErrTooLong: the frame is longer than Limits.MaxFrame. Nothing was sent.
	ErrTooLong = errors.New("frame too long for the transport")
	// ErrClosed: the transport was closed.
	ErrClosed = errors.New("transport closed")
)

// OpError is a failure that the system reported.
type OpError struct {
	Op     string // "open", "read", "write", "bind", ...
	Device string // path of the device or socket, or a Binding
	Kind   error  // one of the package's errors, or nil
	Err    error  // what the system said, a syscall.Errno as a rule
}

// Error gives operation, device and cause: "write /dev/ipmb-4: not
// acknowledged (ENXIO...)".
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

// Unwrap gives the kind and the system's error.
func (e *OpError) Unwrap() []error {
	errs := make([]error, 0, 2)
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Limits is what a transport can carry.
type Limits struct {
	// MaxFrame is the longest frame it sends, in bytes, the destination
	// address included.
	MaxFrame int
	// GeneralCall: a frame to address 00h reaches every node on the bus.
	GeneralCall bool
}

// DirectWriter is a Transport whose writes need no wait as a rule, as those to a socket.
type DirectWriter interface {
	// TryWriteFrame sends one frame if it can be sent at once, and reports whether it was,
	// or has failed. One that was not is to be sent by WriteFrame, before all others.
	TryWriteFrame(frame []byte) (done bool, err error)
}

// Transport carries frames to and from one bus.
type Transport interface {
	// ReadFrames waits for at least one frame, then takes what else has
	// arrived, up to the room in b. The frames in b are valid until the next
	// call with the same batch.
	ReadFrames(b *Batch) error
	// WriteFrame sends one frame and returns when the bus has taken it (nil)
	// or not. The frame is not kept.
	WriteFrame(frame []byte) error
	// Limits is constant.
	Limits() Limits
	// Close ends the transport.
	Close() error
}
