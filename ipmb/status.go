package ipmb

import "errors"

// Status is how a request ended, for clients that are told no more: those of
// org.openbmc.Ipmb and of the frame socket (ipmbbridge, ipmbbridged.hpp).
type Status int32

// The statuses.
const (
	StatusOK      Status = iota // there is an answer
	StatusTooLong               // the request fits no frame; ipmbbridge: "error"
	StatusInvalid               // an argument is out of range, or no bus has the index
	StatusBusy                  // no sequence number is free, or a limit was reached
	StatusFailed                // all else: silence, no acknowledge, the bus is down; ipmbbridge: "timeout"
)

var statusTexts = [...]string{
	StatusOK:      "answered",
	StatusTooLong: "request too long",
	StatusInvalid: "bad argument or unknown channel",
	StatusBusy:    "too many requests in progress",
	StatusFailed:  "no answer",
}

// String is what a status means.
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusTexts) {
		return "unknown"
	}
	return statusTexts[s]
}

// statuses is the table from error to status. What is in no row is StatusFailed.
var statuses = []struct {
	err    error
	status Status
}{
	{ErrTooLong, StatusTooLong},
	{ErrInvalid, StatusInvalid},
	{ErrBusy, StatusBusy},
}

// StatusOf is the status of a request that ended with an error, or with nil.
func StatusOf(err error) Status {
	if err == nil {
		return StatusOK
	}
	for _, row := range statuses {
		if errors.Is(err, row.err) {
			return row.status
		}
	}
	return StatusFailed
}
