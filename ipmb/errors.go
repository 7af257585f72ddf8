package ipmb

import (
	"errors"

	"ipmbd/i2c"
)

// How a call ends without a response. Those of package i2c have one name in both packages.
var (
	// ErrTimeout: the bus took the request, and no response came.
	ErrTimeout = errors.New("no answer in time")
	// ErrNotAcknowledged: no transmission of the request was acknowledged. If the driver does not
	// distinguish a NACK of the last byte from others, the responder may still have the request,
	// as it may after ErrArbitrationLost and ErrStuck.
	ErrNotAcknowledged = i2c.ErrNotAcknowledged
	// ErrArbitrationLost: another master won the bus at each transmission.
	ErrArbitrationLost = i2c.ErrArbitrationLost
	// ErrStuck: the bus did not carry the request.
	ErrStuck = i2c.ErrStuck
	// ErrTooLong: the request does not fit a frame of the transport.
	ErrTooLong = i2c.ErrTooLong
	// ErrClosed: the engine has no transport, or stopped while the call was in progress.
	ErrClosed = i2c.ErrClosed
	// ErrBusy: no sequence number was free in time, or a limit was reached. Nothing was sent.
	ErrBusy = errors.New("no sequence number free")
	// ErrInvalid: an argument is out of range. The error's text names it.
	ErrInvalid = errors.New("invalid argument")
	// ErrAnswered: the request has its response already.
	ErrAnswered = errors.New("the request is answered already")
	// ErrUnsupported: the transport does not support the operation.
	ErrUnsupported = errors.New("not supported by the transport")
)

// failureOf is the error of this file for an error of a write, nil for nil.
func failureOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotAcknowledged):
		return ErrNotAcknowledged
	case errors.Is(err, ErrArbitrationLost):
		return ErrArbitrationLost
	case errors.Is(err, ErrClosed):
		return ErrClosed
	}
	return ErrStuck
}

// Status says how a request ended, for clients that get only a number: the clients of
// org.openbmc.Ipmb and of the frame socket (ipmbbridge, ipmbbridged.hpp).
type Status int32

// The statuses.
const (
	StatusOK      Status = iota // there is a response
	StatusTooLong               // the request fits no frame; ipmbbridge: "error"
	StatusInvalid               // an argument is out of range, or no bus has the index
	StatusBusy                  // no sequence number is free, or a limit was reached
	StatusFailed                // all else: no response, no acknowledge, no bus; ipmbbridge: "timeout"
)

var statusTexts = [...]string{
	StatusOK:      "answered",
	StatusTooLong: "request too long",
	StatusInvalid: "bad argument or unknown channel",
	StatusBusy:    "too many requests in progress",
	StatusFailed:  "no answer",
}

// String returns the meaning of a status.
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusTexts) {
		return "unknown"
	}
	return statusTexts[s]
}

// StatusOf returns the status of a request that ended with an error, or with nil.
func StatusOf(err error) Status {
	switch {
	case err == nil:
		return StatusOK
	case errors.Is(err, ErrTooLong):
		return StatusTooLong
	case errors.Is(err, ErrInvalid):
		return StatusInvalid
	case errors.Is(err, ErrBusy):
		return StatusBusy
	}
	return StatusFailed
}
