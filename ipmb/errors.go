package ipmb

import (
	"errors"

	"ipmbd/i2c"
)

// How a call ends without an answer. A call whose context ended returns the
// context's error.
var (
	// ErrTimeout: the bus took the request and the responder stayed silent.
	ErrTimeout = errors.New("no answer in time")
	// ErrNotAcknowledged: no transmission of the request was acknowledged. Where the
	// driver does not tell a NACK of the last byte from others the responder may
	// have the request all the same, as after ErrStuck.
	ErrNotAcknowledged = i2c.ErrNotAcknowledged
	// ErrArbitrationLost: as ErrNotAcknowledged; another master won the bus.
	ErrArbitrationLost = i2c.ErrArbitrationLost
	// ErrStuck: as ErrNotAcknowledged; the bus did not carry the request.
	ErrStuck = i2c.ErrStuck
	// ErrTooLong: the request does not fit a frame of the transport.
	ErrTooLong = i2c.ErrTooLong
	// ErrClosed: the engine runs on no transport, or stopped under the call.
	ErrClosed = i2c.ErrClosed
	// ErrBusy: no sequence number was free in time, or a limit was reached. The
	// request was not sent.
	ErrBusy = errors.New("no sequence number free")
	// ErrInvalid: an argument is out of range. The error's text names it.
	ErrInvalid = errors.New("invalid argument")
	// ErrAnswered: the request has its answer already.
	ErrAnswered = errors.New("the request is answered already")
	// ErrUnsupported: the transport cannot do what was asked.
	ErrUnsupported = errors.New("not supported by the transport")
)
