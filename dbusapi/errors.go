package dbusapi

import (
	"context"
	"errors"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

var (
	// errUnknownChannel: no bus has the index.
	errUnknownChannel = errors.New("unknown channel")
	// errUnknownID: no request waits for an answer under the id.
	errUnknownID = errors.New("no request waits for an answer under this id: it is unknown, answered or too late")
	// errNotBySignal: no client answers the requests of the bus by sendResponse.
	errNotBySignal = errors.New("the handler of this bus is not \"signal\"")
)

// errorNames is the one table from error to D-Bus error. The first row that matches counts. If a
// row has no text, the text is the error's.
var errorNames = []struct {
	matches func(error) bool
	name    string
	text    string
}{
	{is(bus.ErrNoAdapter), xml.ErrorNotFound, ""},
	{is(bus.ErrInUse), xml.ErrorNotAllowed, ""},
	{is(bus.ErrFixed), xml.ErrorUnsupported, ""},
	{is(bus.ErrDevice), xml.ErrorUnavailable, ""},

	// These are also ipmb.ErrBusy and ipmb.ErrClosed.
	{is(bus.ErrNoRemote), xml.ErrorInvalidArgument, "the bus has no remote address: name the responder, " +
		"or give the channel the key remote-addr in the configuration"},
	{is(ErrLimit), xml.ErrorTooMany, "too many calls are in progress: wait for some of them to end"},
	{is(bus.ErrLimit), xml.ErrorTooMany, "too many calls are in progress: wait for some of them to end"},
	{is(bus.ErrRemoved), xml.ErrorUnavailable, "the bus has been removed"},

	{is(ipmb.ErrTimeout), xml.ErrorTimeout, "the responder took the request and did not answer in time"},
	{is(ipmb.ErrNotAcknowledged), xml.ErrorUnavailable, "nobody acknowledged the request: check the address and the responder's power"},
	{is(ipmb.ErrArbitrationLost), xml.ErrorWriteFailure, "another master kept the bus: try again"},
	{is(ipmb.ErrStuck), xml.ErrorWriteFailure, "the bus did not carry the request: see the properties State and StateReason"},
	{is(ipmb.ErrTooLong), xml.ErrorInvalidArgument, "the request is longer than a frame of this bus"},
	{is(ipmb.ErrClosed), xml.ErrorUnavailable, "the bus is down: see the property StateReason"},
	{is(ipmb.ErrBusy), xml.ErrorTooMany, "too many requests of this kind are in progress: try again"},
	{is(ipmb.ErrInvalid), xml.ErrorInvalidArgument, ""},
	{is(ipmb.ErrAnswered), xml.ErrorNotAllowed, ""},
	{is(ipmb.ErrUnsupported), xml.ErrorUnsupported, "the driver of this bus cannot do that"},

	{is(errUnknownChannel), xml.ErrorInvalidArgument, ""},
	{is(errUnknownID), xml.ErrorInvalidArgument, ""},
	{is(errNotBySignal), xml.ErrorNotAllowed, ""},
	{is(errGone), xml.ErrorUnavailable, "the service is stopping"},
	{is(dbuswire.ErrDisconnected), xml.ErrorUnavailable, "the service has lost the message bus"},

	{is(errNotRoot), xml.ErrorAccessDenied, errNotRoot.Error()},
	{is(errSecretPattern), xml.ErrorAccessDenied, ""},
	{is(ErrConfig), xml.ErrorInvalidArgument, ""},
	{is(ErrTaken), xml.ErrorNotAllowed, ""},
	{is(ErrNameTaken), xml.ErrorNotAllowed, ""},
	{is(ErrNoEndpoint), xml.ErrorNotFound, ""},
	{is(ErrRestart), xml.ErrorNotAllowed, ""},
	{is(ErrNoFile), xml.ErrorUnsupported, ""},
	{is(ErrStopping), xml.ErrorUnavailable, ""},

	{isA[*ipmi.OverlapError], xml.ErrorNotAllowed, ""},
	{isA[*ipmi.PatternError], xml.ErrorInvalidArgument, ""},
	{is(errRegistered), xml.ErrorNotAllowed, ""},
	{is(errNotRegistered), xml.ErrorNotFound, ""},
	{is(errNoCommands), xml.ErrorInvalidArgument, ""},
	{is(errLongPath), xml.ErrorInvalidArgument, ""},
	{is(errTooMany), xml.ErrorTooMany, ""},

	{is(ipmi.ErrNoHandler), xml.ErrorUnsupported, "nobody serves this command"},
	{is(ipmi.ErrBusy), xml.ErrorTooMany, "too many requests are being served: try again"},
	{is(ipmi.ErrDenied), xml.ErrorNotAllowed, "the configuration denies this command"},
	{is(ipmi.ErrNotPresent), xml.ErrorUnavailable, "the one who serves this command is not running"},
	{is(ipmi.ErrAbandoned), xml.ErrorUnavailable, "the one who serves this command stopped while it did"},
	{is(ipmi.ErrTooSlow), xml.ErrorTimeout, "the one who serves this command did not answer in time"},
	{is(ipmi.ErrNoSpace), xml.ErrorTooMany, "out of space"},
	{is(ipmi.ErrResponseTooLong), xml.ErrorInvalidArgument, "the answer is longer than a frame of this bus"},
	{is(ipmi.ErrUnsupported), xml.ErrorUnsupported, "there is no way to do that here"},
	{is(ipmi.ErrPanic), xml.ErrorInternal, "see the journal of ipmbd"},

	{is(context.DeadlineExceeded), xml.ErrorTimeout, "the time for the call is over"},
	{is(context.Canceled), xml.ErrorUnavailable, "the call was ended"},
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

// asDBusError returns the error that a caller gets. An error in no row becomes InternalFailure,
// and its text stays here.
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
	return &dbus.Error{Name: xml.ErrorInternal, Body: []any{"see the journal of ipmbd"}}
}

// statusOf returns the status in org.openbmc.Ipmb of an error of the engine or of this package.
func statusOf(err error) int32 {
	switch {
	case errors.Is(err, errUnknownChannel):
		return int32(ipmb.StatusInvalid)
	case errors.Is(err, ErrLimit):
		return int32(ipmb.StatusBusy)
	}
	return int32(ipmb.StatusOf(err))
}
