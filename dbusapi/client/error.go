package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/xml"
)

// Why a Client could not do what it was asked, beside the error of a context. What a request on a bus can end with are the errors of
// package ipmb; ErrUnavailable is not acknowledged, or the bus is Down.
var (
	// ErrDisconnected: the connection to the message bus is closed or lost.
	ErrDisconnected = dbuswire.ErrDisconnected
	// ErrNoMessageBus: no connection to the message bus.
	ErrNoMessageBus = errors.New("no connection to the message bus")
	// ErrNotRunning: nobody has the service's name and nothing starts it.
	ErrNotRunning = errors.New("ipmbd is not running")
	// ErrNotStarted: the message bus tried to start the service.
	ErrNotStarted = errors.New("ipmbd did not start")
	// ErrLeft: the service left the message bus during the call.
	ErrLeft = errors.New("ipmbd stopped during the call")
	// ErrOtherService: who has the service's name does not speak its API.
	ErrOtherService = errors.New("the service is not ipmbd")
	// ErrAccessDenied: the message bus or the service forbids the call.
	ErrAccessDenied = errors.New("access denied")
	// ErrUnavailable: no node acknowledged the request, or the bus is Down.
	ErrUnavailable = errors.New("not acknowledged or bus down")
	// ErrWriteFailure: the bus did not carry the request.
	ErrWriteFailure = errors.New("bus did not carry the request")
	// ErrNoAdapter: there is no I2C bus of that number.
	ErrNoAdapter = errors.New("there is no such I2C adapter")
	// ErrNotAllowed: the service refuses the call.
	ErrNotAllowed = errors.New("not allowed")
)

// UnknownBusError says that there is no bus of a name.
type UnknownBusError struct {
	Name  string
	Known []string // the buses there are
}

// Error implements error.
func (e *UnknownBusError) Error() string { return fmt.Sprintf("no bus %q", e.Name) }

// ServiceError is an error that came over the message bus.
type ServiceError struct {
	Name string // of the D-Bus error
	Text string // for people, from whoever sent it
	Err  error  // what it means; nil for a name that is in no row
}

// Error implements error.
func (e *ServiceError) Error() string {
	switch {
	case e.Text != "":
		return e.Text
	case e.Err != nil:
		return e.Err.Error()
	}
	return e.Name
}

// Unwrap is what the error means.
func (e *ServiceError) Unwrap() error { return e.Err }

// clientErrors are the meanings of D-Bus errors; a name that ends in a dot
// stands for all that begin with it.
var clientErrors = []struct {
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

// clientError gives an error of a dbuswire.Conn its meaning.
func clientError(err error) error {
	var peer dbus.Error
	if !errors.As(err, &peer) {
		return err
	}
	service := &ServiceError{Name: peer.Name}
	if len(peer.Body) > 0 {
		service.Text, _ = peer.Body[0].(string)
	}
	for _, row := range clientErrors {
		if row.name == peer.Name || strings.HasSuffix(row.name, ".") && strings.HasPrefix(peer.Name, row.name) {
			service.Err = row.err
			break
		}
	}
	return service
}
