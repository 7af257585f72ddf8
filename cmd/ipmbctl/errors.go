package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"ipmbd/bmc/record"
	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// problems are errors with texts of our own and advice; either may be empty.
var problems = []struct {
	err          error
	text, advice string
}{
	{context.Canceled, "interrupted", ""},
	{client.ErrNotRunning, "ipmbd is not running on this message bus", ""},
	{client.ErrAccessDenied, "you may not do this",
		"do it as root, or join the group ipmbd: usermod -aG ipmbd USER, and log in again"},
	{client.ErrLeft, "ipmbd stopped before it replied", seeJournal},
	{client.ErrNotStarted, "", seeJournal},
	{client.ErrSilent, "", seeJournal},
	{client.ErrBusSilent, "", "see what has its socket: systemctl status dbus; ss -xlp"},
	{client.ErrDisconnected, "", "see why: systemctl status dbus; then try again"},
	{client.ErrOtherService, "the service with the name " + xml.ServiceName + " is not ipmbd",
		"see which it is: busctl status " + xml.ServiceName + "\n" +
			"if it is ipmbbridge, replace it: systemctl disable --now ipmb; systemctl enable --now ipmbd"},
}

const seeJournal = "see why: systemctl status ipmbd; journalctl -u ipmbd"

// sentence describes an error in one line.
func sentence(err error) string {
	for _, p := range problems {
		if p.text != "" && errors.Is(err, p.err) {
			return p.text
		}
	}
	var socket *net.OpError
	var cause syscall.Errno
	if errors.Is(err, client.ErrNoMessageBus) && errors.As(err, &socket) && errors.As(err, &cause) {
		missing := "no message bus at"
		if errors.Is(err, fs.ErrPermission) {
			missing = "no access to the message bus at"
		}
		return fmt.Sprintf("%s %v: %v", missing, socket.Addr, cause)
	}
	// The text of a message bus need not say that it was to start a program.
	var ofBus *client.ServiceError
	if errors.Is(err, client.ErrNotStarted) && errors.As(err, &ofBus) {
		return fmt.Sprintf("%v: %v", client.ErrNotStarted, err)
	}
	return err.Error()
}

// advisedError is an error that carries its own advice.
type advisedError struct {
	error
	advice string // one or more lines, or none
	kind   error  // what the error is beside its own kinds, or nil
}

func (e *advisedError) Unwrap() error { return e.error }

// Is is for errors.Is.
func (e *advisedError) Is(kind error) bool { return e.kind != nil && e.kind == kind }

// advise adds advice to an error if it is of a kind.
func advise(err, kind error, advice string) error {
	if errors.Is(err, kind) {
		return &advisedError{err, advice, nil}
	}
	return err
}

// nothingServed describes an ipmbd without buses and host interfaces, and howToServe is the advice
// for it. The device tree is that of Documentation/driver-api/ipmb.rst; without i2c-protocol no
// other node understands the frames of ipmb-dev.
const (
	nothingServed = "ipmbd serves no bus and no host interface"
	howToServe    = `without a configuration file it serves each IPMB device as soon as the kernel has it:
  driver:       ipmb-dev of Linux (modprobe ipmb_dev_int); ipmb-device or slave-mqueue of OpenBMC
  device tree:  in the node of the I2C bus
    multi-master;
    ipmb@10 { compatible = "ipmb-dev"; reg = <(0x10 | I2C_OWN_SLAVE_ADDRESS)>; i2c-protocol; };
with a configuration file, add an entry to it, or use ipmbctl add: see man ipmbd.json`
)

// advice says in one or more lines what the user can do about an error. It is empty for errors
// whose text already says it.
func (a *app) advice(err error) string {
	var advised *advisedError
	var notFound *client.NotFoundError
	switch {
	case errors.As(err, &advised) && advised.advice != "":
		return advised.advice
	case errors.As(err, &notFound):
		known, none := "there are: ", nothingServed+"; see how it could: ipmbctl list"
		if notFound.OnlyBuses {
			known, none = "the buses are: ", "ipmbd serves no bus; see what it serves: ipmbctl list"
		}
		if len(notFound.Known) == 0 {
			return none
		}
		return known + strings.Join(notFound.Known, ", ")
	case errors.Is(err, client.ErrNoMessageBus) && errors.Is(err, fs.ErrPermission):
		return "do it as a user who may use this socket"
	case errors.Is(err, client.ErrNoMessageBus) && a.address == client.SystemBus:
		return "start it (systemctl start dbus) or name another: --dbus session, --dbus unix:path=/PATH"
	case errors.Is(err, client.ErrNoMessageBus) && a.address == client.SessionBus:
		return "log in to a session or name another: --dbus system, --dbus unix:path=/PATH"
	case errors.Is(err, client.ErrNoMessageBus):
		return "check the address given with --dbus"
	case errors.Is(err, client.ErrNotRunning) && a.address == client.SystemBus:
		return "start it now and at every boot: systemctl enable --now ipmbd\n" +
			"or look on another message bus: --dbus session, --dbus unix:path=/PATH"
	case errors.Is(err, client.ErrNotRunning):
		return fmt.Sprintf("start it there: ipmbd --dbus '%s'", a.address)
	}
	for _, p := range problems {
		if errors.Is(err, p.err) {
			return p.advice
		}
	}
	return ""
}

// explainError returns the error of a request to a node on a bus that was not Down before it.
func explainError(ctx context.Context, ipmbd *client.Client, bus client.Bus, node ipmi.Address, err error) error {
	if errors.Is(err, client.ErrUnavailable) {
		starts := ipmbd.NoAutoStart
		ipmbd.NoAutoStart = true // It may have ended the call because it stops.
		now, lookErr := ipmbd.Bus(ctx, bus.Name)
		ipmbd.NoAutoStart = starts
		switch {
		case lookErr == nil:
			bus = now
		case errors.Is(lookErr, client.ErrNotRunning):
			return fmt.Errorf("%s %s: %w", bus.Name, node, client.ErrLeft)
		}
	}
	return requestError(bus, node, err)
}

// requestError returns the error of a request to a node, with advice.
func requestError(bus client.Bus, node ipmi.Address, err error) error {
	name := fmt.Sprintf("%s %s", bus.Name, node)
	if bus.State == client.Down && errors.Is(err, client.ErrUnavailable) {
		return downError(bus)
	}
	advice, kind := "", error(nil)
	var refused *record.CodeError
	switch {
	case errors.Is(err, client.ErrWriteFailure):
		advice = fmt.Sprintf("see its state: ipmbctl info %s; journalctl -u ipmbd", bus.Name)
	case errors.Is(err, client.ErrUnavailable):
		advice, kind = "see which addresses answer: ipmbctl scan "+bus.Name, errNotAcknowledged
	case errors.Is(err, ipmb.ErrTimeout):
		advice = "wait longer (--timeout TIME), or see which addresses answer: ipmbctl scan " + bus.Name
	case !errors.As(err, &refused):
	case refused.Code == ipmi.CodeInvalidCommand, refused.Code == ipmi.CodeInvalidForLUN:
		advice = "it may have no log; see what it supports: ipmbctl send " + name + " app get-device-id"
	case refused.Code == codeErasing:
		advice = "try again when it is done"
	}
	return &advisedError{fmt.Errorf("%s: %w", name, err), advice, kind}
}

// codeErasing is the code of the commands of a log (IPMI v2.0, section 31).
const codeErasing ipmi.CompletionCode = 0x81

// downError says that a bus is down, and what the user can do.
func downError(bus client.Bus) error {
	advice := "bind it again: ipmbctl bind " + bus.Name
	if bus.Reason != client.Unbound {
		advice = fmt.Sprintf("ipmbd opens it again as soon as it can\n"+
			"see its state: ipmbctl info %s; journalctl -u ipmbd", bus.Name)
	}
	return &advisedError{fmt.Errorf("%s is down: %s", bus.Name, bus.Reason), advice, client.ErrUnavailable}
}
