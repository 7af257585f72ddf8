package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"ipmbd/dbusapi"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// sentences say in this program's words what some errors are; others speak for
// themselves.
var sentences = []struct {
	err  error
	text string
}{
	{context.Canceled, "interrupted"},
	{dbusapi.ErrNotRunning, "ipmbd is not running on this message bus"},
	{dbusapi.ErrAccessDenied, "you may not do this"},
	{dbusapi.ErrLeft, "ipmbd stopped before it answered"},
	{dbusapi.ErrOtherService, "the service with the name " + dbusapi.ServiceName + " is not ipmbd"},
}

// sentence is what went wrong, for people.
func sentence(err error) string {
	for _, row := range sentences {
		if errors.Is(err, row.err) {
			return row.text
		}
	}
	var socket *net.OpError
	var cause syscall.Errno
	if errors.Is(err, dbusapi.ErrNoMessageBus) && errors.As(err, &socket) && errors.As(err, &cause) {
		return fmt.Sprintf("no message bus at %v: %v", socket.Addr, cause)
	}
	return err.Error()
}

// advice is what to do about an error, one or more lines; none when its own
// text says it.
func (a *app) advice(err error) []string {
	var unknown *dbusapi.UnknownBusError
	var onBus *busError
	var taken *takenError
	var nobody *dbusapi.UnknownMemberError
	switch {
	case errors.As(err, &nobody):
		return membersAdvice(nobody.Known)
	case errors.As(err, new(*rootError)):
		return []string{"do it as root: what ipmbd serves is not for the group ipmbd to change"}
	case errors.As(err, &unknown):
		return busAdvice(unknown.Known)
	case errors.Is(err, dbusapi.ErrNoMessageBus):
		return a.messageBusAdvice()
	case errors.Is(err, dbusapi.ErrNotRunning):
		return a.notRunningAdvice()
	case errors.Is(err, dbusapi.ErrDisconnected):
		return []string{"see why: systemctl status dbus; then try again"}
	case errors.Is(err, dbusapi.ErrNotStarted), errors.Is(err, dbusapi.ErrLeft):
		return []string{"see why: systemctl status ipmbd; journalctl -u ipmbd"}
	case errors.Is(err, dbusapi.ErrOtherService):
		return []string{
			"see which it is: busctl status " + dbusapi.ServiceName,
			"if it is ipmbbridge, put ipmbd in its place: systemctl disable --now ipmb; systemctl enable --now ipmbd",
		}
	case errors.Is(err, dbusapi.ErrAccessDenied):
		return []string{"do it as root, or join the group ipmbd: usermod -aG ipmbd USER, and log in again"}
	case errors.As(err, &taken):
		return []string{"see who answers what: ipmbctl handlers"}
	case errors.As(err, &onBus):
		return onBus.advice()
	}
	return nil
}

func busAdvice(known []string) []string {
	if len(known) == 0 {
		return []string{"ipmbd serves no bus; see what it serves: ipmbctl list"}
	}
	return []string{"the buses are: " + strings.Join(known, ", ")}
}

// nothingServed is what there is to say when there are no buses and no hosts.
const nothingServed = "ipmbd serves no bus and no host interface; add one to its configuration (man ipmbd.json), or with ipmbctl add"

func membersAdvice(known []string) []string {
	if len(known) == 0 {
		return []string{nothingServed}
	}
	return []string{"there are: " + strings.Join(known, ", ")}
}

func (a *app) messageBusAdvice() []string {
	switch a.address {
	case dbusapi.SystemBus:
		return []string{"start it (systemctl start dbus) or name another: --bus session, --bus unix:path=/PATH"}
	case dbusapi.SessionBus:
		return []string{"log in to a session or name another: --bus system, --bus unix:path=/PATH"}
	}
	return []string{"check the address given with --bus"}
}

func (a *app) notRunningAdvice() []string {
	if a.address == dbusapi.SystemBus {
		return []string{
			"start it now and at every boot: systemctl enable --now ipmbd",
			"or look on another message bus: --bus session, --bus unix:path=/PATH",
		}
	}
	return []string{fmt.Sprintf("start it there: ipmbd --bus '%s'", a.address)}
}

// busError is a request without an answer.
type busError struct {
	bus  dbusapi.BusInfo
	node ipmi.Address
	err  error
}

// Error implements error.
func (e *busError) Error() string {
	if e.isDown() {
		return fmt.Sprintf("%s is down: %s", e.bus.Name, e.bus.Reason)
	}
	return fmt.Sprintf("%s %s: %v", e.bus.Name, e.node, e.err)
}

// Unwrap is the cause.
func (e *busError) Unwrap() error { return e.err }

func (e *busError) isDown() bool {
	return e.bus.State == dbusapi.Down && errors.Is(e.err, dbusapi.ErrUnavailable)
}

func (e *busError) advice() []string {
	switch {
	case e.isDown() && e.bus.Reason == dbusapi.Unbound:
		return []string{"bind it again: ipmbctl bind " + e.bus.Name}
	case e.isDown():
		return []string{
			"ipmbd opens it again as soon as it can",
			fmt.Sprintf("see how it does: ipmbctl info %s; journalctl -u ipmbd", e.bus.Name),
		}
	case errors.Is(e.err, dbusapi.ErrWriteFailure):
		return []string{fmt.Sprintf("see how it does: ipmbctl info %s; journalctl -u ipmbd", e.bus.Name)}
	case errors.Is(e.err, dbusapi.ErrUnavailable):
		return []string{"see which addresses answer: ipmbctl scan " + e.bus.Name}
	case errors.Is(e.err, ipmb.ErrTimeout):
		return []string{"wait longer (--timeout 2s), or see which addresses answer: ipmbctl scan " + e.bus.Name}
	}
	return logAdvice(e.err, fmt.Sprintf("%s %s", e.bus.Name, e.node))
}
