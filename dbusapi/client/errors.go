package client

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/xml"
)

// Errors of a Client, beside the error of a context. Requests on a bus can also return
// ipmb.ErrTimeout, ErrBusy, ErrInvalid and ErrUnsupported.
var (
	// ErrDisconnected: the connection to the message bus is closed or lost.
	ErrDisconnected = dbuswire.ErrDisconnected
	// ErrNoMessageBus: there is no connection to the message bus.
	ErrNoMessageBus = errors.New("no connection to the message bus")
	// ErrBusSilent: the message bus accepts connections, and has not answered for 2.5 s.
	ErrBusSilent = errors.New("the message bus does not answer")
	// ErrSilent: ipmbd is on the message bus, and has not answered for 2.5 s.
	ErrSilent = errors.New("ipmbd is on the message bus and does not answer")
	// ErrNotRunning: no program has ipmbd's name, and the message bus cannot start one.
	ErrNotRunning = errors.New("ipmbd is not running")
	// ErrNotStarted: the message bus tried to start ipmbd and failed, or has waited for it for
	// 2.5 s.
	ErrNotStarted = errors.New("ipmbd did not start")
	// ErrLeft: ipmbd left the message bus during the call.
	ErrLeft = errors.New("ipmbd stopped during the call")
	// ErrOtherService: the program that has ipmbd's name does not have its API.
	ErrOtherService = errors.New("the service is not ipmbd")
	// ErrAccessDenied: the message bus or ipmbd forbids the call.
	ErrAccessDenied = errors.New("access denied")
	// ErrUnavailable: no node acknowledged the request, or the bus is Down.
	ErrUnavailable = errors.New("not acknowledged or bus down")
	// ErrWriteFailure: the bus did not carry the request.
	ErrWriteFailure = errors.New("bus did not carry the request")
	// ErrNoAdapter: there is no I2C adapter with that number.
	ErrNoAdapter = errors.New("there is no such I2C adapter")
	// ErrNotAllowed: ipmbd refuses the call.
	ErrNotAllowed = errors.New("not allowed")
)

// NotFoundError reports that no bus, or no bus and no host interface, has a name.
type NotFoundError struct {
	Name      string
	OnlyBuses bool     // the name is not one of a bus, but may be one of a host interface
	Known     []string // the names that exist
}

// Error implements error.
func (e *NotFoundError) Error() string {
	if e.OnlyBuses {
		return fmt.Sprintf("no bus %q", e.Name)
	}
	return fmt.Sprintf("no bus and no host interface %q", e.Name)
}

// ServiceError is an error that came over the message bus, from ipmbd or the message bus itself.
type ServiceError struct {
	Name string // of the D-Bus error
	Text string // for people
	Err  error  // one of the variables, or nil
}

// Error implements error.
func (e *ServiceError) Error() string {
	if e.Text == "" && e.Err != nil {
		return e.Err.Error()
	}
	return cmp.Or(e.Text, e.Name)
}

// Unwrap returns Err.
func (e *ServiceError) Unwrap() error { return e.Err }

// errorNames are the D-Bus errors and their meanings. A name with a dot at its end is a prefix.
var errorNames = []struct {
	name string
	err  error
}{
	{xml.ErrorTimeout, ipmb.ErrTimeout},
	{xml.ErrorUnavailable, ErrUnavailable},
	{xml.ErrorNotFound, ErrNoAdapter},
	{xml.ErrorTooMany, ipmb.ErrBusy},
	{xml.ErrorInvalidArgument, ipmb.ErrInvalid},
	{xml.ErrorUnsupported, ipmb.ErrUnsupported},
	{xml.ErrorNotAllowed, ErrNotAllowed},
	{xml.ErrorWriteFailure, ErrWriteFailure},

	{xml.ErrorAccessDenied, ErrAccessDenied},
	{"org.freedesktop.DBus.Error.ServiceUnknown", ErrNotRunning},
	{xml.ErrorNoOwner, ErrNotRunning},
	{"org.freedesktop.DBus.Error.Spawn.", ErrNotStarted},
	{"org.freedesktop.DBus.Error.TimedOut", ErrNotStarted},
	{"org.freedesktop.systemd1.", ErrNotStarted},
	{"org.freedesktop.DBus.Error.NoReply", ErrLeft},
	{"org.freedesktop.DBus.Error.UnknownObject", ErrOtherService},
	{"org.freedesktop.DBus.Error.NoSuchObject", ErrOtherService},
	{"org.freedesktop.DBus.Error.UnknownInterface", ErrOtherService},
	{"org.freedesktop.DBus.Error.UnknownMethod", ErrOtherService},
}

// serviceError makes a ServiceError of an error of a peer. Other errors stay as they are.
func serviceError(err error) error {
	peer, ok := errors.AsType[dbus.Error](err)
	if !ok {
		return err
	}
	service := &ServiceError{Name: peer.Name}
	if len(peer.Body) > 0 {
		service.Text, _ = peer.Body[0].(string)
	}
	for _, row := range errorNames {
		if row.name == peer.Name || strings.HasSuffix(row.name, ".") && strings.HasPrefix(peer.Name, row.name) {
			service.Err = row.err
			break
		}
	}
	return service
}
