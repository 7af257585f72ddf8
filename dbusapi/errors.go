package dbusapi

import (
	"context"
	"errors"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

var (
	// errUnknownChannel: no bus has the index.
	errUnknownChannel = errors.New("unknown channel")
	// errUnknownID: no request waits for an answer under the id.
	errUnknownID = errors.New("no request waits for an answer under this id: it is unknown, answered or too late")
	// errNotAnswered: the bus is not answered by way of signals.
	errNotAnswered = errors.New("the handler of this bus is not \"signal\"")
)

// Names of errors (phosphor-dbus-interfaces, xyz/openbmc_project/Common).
const (
	errorTimeout         = "xyz.openbmc_project.Common.Error.Timeout"
	errorUnavailable     = "xyz.openbmc_project.Common.Error.Unavailable"
	errorNotFound        = "xyz.openbmc_project.Common.Error.ResourceNotFound"
	errorTooMany         = "xyz.openbmc_project.Common.Error.TooManyResources"
	errorInvalidArgument = "xyz.openbmc_project.Common.Error.InvalidArgument"
	errorNotAllowed      = "xyz.openbmc_project.Common.Error.NotAllowed"
	errorUnsupported     = "xyz.openbmc_project.Common.Error.UnsupportedRequest"
	errorInternal        = "xyz.openbmc_project.Common.Error.InternalFailure"
	errorWriteFailure    = "xyz.openbmc_project.Common.Device.Error.WriteFailure"
	errorAccessDenied    = "org.freedesktop.DBus.Error.AccessDenied" // as the message bus says it
)

// errorNames is the one table from error to D-Bus error. The first row that
// matches is taken; without a text the error speaks for itself.
var errorNames = []struct {
	matches func(error) bool
	name    string
	text    string
}{
	{is(ErrNoAdapter), errorNotFound, ""},
	{is(ErrInUse), errorNotAllowed, ""},
	{is(ErrFixed), errorUnsupported, ""},
	{is(ErrDevice), errorUnavailable, ""},

	// These are also ipmb.ErrBusy and ipmb.ErrClosed.
	{is(ErrLimit), errorTooMany, "too many calls are in progress: wait for some of them to end"},
	{is(bus.ErrLimit), errorTooMany, "too many calls are in progress: wait for some of them to end"},
	{is(bus.ErrRemoved), errorUnavailable, "the bus has been removed"},

	{is(ipmb.ErrTimeout), errorTimeout, "the responder took the request and did not answer in time"},
	{is(ipmb.ErrNotAcknowledged), errorUnavailable, "nobody acknowledged the request: check the address and the responder's power"},
	{is(ipmb.ErrArbitrationLost), errorWriteFailure, "another master kept the bus: try again"},
	{is(ipmb.ErrStuck), errorWriteFailure, "the bus did not carry the request: see the properties State and StateReason"},
	{is(ipmb.ErrTooLong), errorInvalidArgument, "the request is longer than a frame of this bus"},
	{is(ipmb.ErrClosed), errorUnavailable, "the bus is down: see the property StateReason"},
	{is(ipmb.ErrBusy), errorTooMany, "too many requests of this kind are in progress: try again"},
	{is(ipmb.ErrInvalid), errorInvalidArgument, ""},
	{is(ipmb.ErrAnswered), errorNotAllowed, ""},
	{is(ipmb.ErrUnsupported), errorUnsupported, "the driver of this bus cannot do that"},

	{is(errUnknownChannel), errorInvalidArgument, ""},
	{is(errUnknownID), errorInvalidArgument, ""},
	{is(errNotAnswered), errorNotAllowed, ""},
	{is(errGone), errorUnavailable, "the service is stopping"},
	{is(ErrDisconnected), errorUnavailable, "the service has lost the message bus"},

	{is(errNotRoot), errorAccessDenied, errNotRoot.Error()},
	{is(ErrConfig), errorInvalidArgument, ""},
	{is(ErrTaken), errorNotAllowed, ""},
	{is(ErrNameTaken), errorNotAllowed, ""},
	{is(ErrNoMember), errorNotFound, ""},
	{is(ErrRestart), errorNotAllowed, ""},
	{is(ErrNoFile), errorUnsupported, ""},
	{is(ErrStopping), errorUnavailable, ""},

	{isA[*ipmi.OverlapError], errorNotAllowed, ""},
	{isA[*ipmi.PatternError], errorInvalidArgument, ""},
	{is(errRegistered), errorNotAllowed, ""},
	{is(errNotRegistered), errorNotFound, ""},
	{is(errNoCommands), errorInvalidArgument, ""},
	{is(errLongPath), errorInvalidArgument, ""},
	{is(errTooMany), errorTooMany, ""},

	{is(ipmi.ErrNoHandler), errorUnsupported, "nobody serves this command"},
	{is(ipmi.ErrBusy), errorTooMany, "too many requests are being served: try again"},
	{is(ipmi.ErrDenied), errorNotAllowed, "the configuration denies this command"},
	{is(ipmi.ErrNotPresent), errorUnavailable, "the one who serves this command is not running"},
	{is(ipmi.ErrAbandoned), errorUnavailable, "the one who serves this command stopped while it did"},
	{is(ipmi.ErrTooSlow), errorTimeout, "the one who serves this command did not answer in time"},
	{is(ipmi.ErrNoSpace), errorTooMany, "out of space"},
	{is(ipmi.ErrResponseTooLong), errorInvalidArgument, "the answer is longer than a frame of this bus"},
	{is(ipmi.ErrUnsupported), errorUnsupported, "there is no way to do that here"},
	{is(ipmi.ErrPanic), errorInternal, "see the journal of ipmbd"},

	{is(context.DeadlineExceeded), errorTimeout, "the time for the call is over"},
	{is(context.Canceled), errorUnavailable, "the call was ended"},
}

// is matches an error and what wraps it.
func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// isA matches errors of a type and what wraps them.
func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// asDBusError is the error that a caller is told. What is in no row is
// InternalFailure, and its text stays here.
func asDBusError(err error) *dbus.Error {
	var already *dbus.Error
	if errors.As(err, &already) {
		return already
	}
	for _, row := range errorNames {
		if !row.matches(err) {
			continue
		}
		text := row.text
		if text == "" {
			text = err.Error()
		}
		return &dbus.Error{Name: row.name, Body: []any{text}}
	}
	return &dbus.Error{Name: errorInternal, Body: []any{"see the journal of ipmbd"}}
}

// statusOf is the status of org.openbmc.Ipmb: that of the engine's error, or of one
// of our own.
func statusOf(err error) int32 {
	switch {
	case errors.Is(err, errUnknownChannel):
		return int32(ipmb.StatusInvalid)
	case errors.Is(err, ErrLimit):
		return int32(ipmb.StatusBusy)
	}
	return int32(ipmb.StatusOf(err))
}
