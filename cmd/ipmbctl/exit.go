package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ipmbd/bmc/record"
	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
)

// The exit codes, in the order of statuses.
const (
	exitOK              = 0
	exitFailed          = 1
	exitUsage           = 2
	exitBadCode         = 3
	exitTimeout         = 4
	exitNotAcknowledged = 5
	exitRefused         = 6
	exitNotRunning      = 7
	exitNoPermission    = 8
	exitBusDown         = 9
	exitInterrupted     = 130 // 128 + SIGINT, as shells have it
)

// statuses is the one table of exit codes: of the program, its help and its manual page. The
// first row that matches an error counts; an error that no row matches is exitFailed.
var statuses = []struct {
	code    int
	kind    string // of the error in JSON
	meaning string
	matches func(error) bool
}{
	{exitOK, "", "done", none},
	{exitFailed, "failed", "failed for another reason, such as an unknown name", none},
	{exitUsage, "usage", "wrong command line", as[usageError]},
	{exitBadCode, "completion-code", "a response has a completion code other than 0", func(err error) bool {
		return errors.Is(err, errBadCode) || as[*record.CodeError](err)
	}},
	{exitTimeout, "timeout", "a node took the request and did not answer in time", is(ipmb.ErrTimeout)},
	{exitNotAcknowledged, "not-acknowledged", "no node acknowledged the request", is(errNotAcknowledged)},
	{exitRefused, "refused", "ipmbd refuses the request or the change, or is too busy for it",
		is(ipmb.ErrBusy, ipmb.ErrInvalid, ipmb.ErrUnsupported, client.ErrNotAllowed, client.ErrNoAdapter)},
	{exitNotRunning, "not-running", "ipmbd is not running, does not answer or ends, or the message bus does not",
		func(err error) bool {
			return !errors.Is(err, fs.ErrPermission) && is(client.ErrNoMessageBus, client.ErrBusSilent,
				client.ErrSilent, client.ErrNotRunning, client.ErrNotStarted, client.ErrLeft,
				client.ErrDisconnected, client.ErrOtherService)(err)
		}},
	{exitNoPermission, "no-permission", "this user may not do that", is(client.ErrAccessDenied, fs.ErrPermission)},
	{exitBusDown, "bus-down", "the bus is down or did not carry the request, or ipmbd's own log is not there",
		is(client.ErrUnavailable, client.ErrWriteFailure)},
	{exitInterrupted, "interrupted", "interrupted by Ctrl-C or SIGTERM before the end",
		is(context.Canceled)},
}

func none(error) bool { return false }

// is matches errors of several kinds.
func is(kinds ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
	}
}

// as matches errors of a type.
func as[E error](err error) bool { return errors.As(err, new(E)) }

// errNotAcknowledged is what client.ErrUnavailable says of a request on a bus that is not down.
var errNotAcknowledged = errors.New("not acknowledged")

// shownError is an error that the user has seen.
type shownError struct{ error }

func (e shownError) Unwrap() error { return e.error }

// errBadCode reports that the completion code of a response, which has been shown, is not 0.
var errBadCode error = shownError{errors.New("completion code is not 0")}

// usageError is a fault of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// flagError describes an error in the value of a flag by what the flag takes, in place of the
// words of package strconv.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) || !as[*strconv.NumError](err) {
		return err
	}
	_, takes := pflag.UnquoteUsage(invalid.GetFlag())
	if invalid.GetFlag().Value.Type() == "bool" {
		takes = "true or false"
	}
	return fmt.Errorf("--%s does not take %q, but: %s", invalid.GetFlag().Name, invalid.GetValue(), takes)
}

// statusOf returns the exit code and the kind of an error.
func statusOf(err error) (code int, kind string) {
	for _, s := range statuses {
		if s.matches(err) {
			return s.code, s.kind
		}
	}
	return exitFailed, statuses[exitFailed].kind
}

// statusTable is the table of exit codes for help.
func statusTable() string {
	var b strings.Builder
	for _, s := range statuses {
		fmt.Fprintf(&b, "  %3d  %s\n", s.code, s.meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// exitCode reports an error and returns the exit code for it.
func (a *app) exitCode(command *cobra.Command, err error) int {
	switch {
	case errors.Is(a.out.err, syscall.EPIPE): // The reader of a pipe has closed it.
		return exitFailed
	case a.out.err != nil:
		err = fmt.Errorf("standard output: %w", a.out.err)
		a.started = true
	case err == nil:
		return exitOK
	case as[shownError](err):
		code, _ := statusOf(err)
		return code
	}
	if !a.started && !as[usageError](err) {
		err = usageError{err} // of cobra
	}
	report := a.report(err)
	if report.Code == exitUsage {
		report.Advice = strings.TrimPrefix(report.Advice+"\n", "\n") + fmt.Sprintf("see '%s --help'", command.CommandPath())
	}
	a.complain(report)
	return report.Code
}

// report describes an error to the user.
func (a *app) report(err error) errorJSON {
	code, kind := statusOf(err)
	return errorJSON{kind, code, sentence(err), a.advice(err)}
}

// errorJSON is an error. With --json the program writes it to standard error, as a document
// {"error": ...}.
type errorJSON struct {
	Kind    string `json:"kind"`
	Code    int    `json:"exitCode"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

// complain reports an error.
func (a *app) complain(e errorJSON) {
	if a.json {
		a.tell(struct {
			Error errorJSON `json:"error"`
		}{e})
		return
	}
	fmt.Fprintf(a.stderr, "%s %s\n", a.colourFor(a.stderr).paint(red, "ipmbctl:"), e.Message)
	if e.Advice != "" {
		fmt.Fprintln(a.stderr, "  "+strings.ReplaceAll(e.Advice, "\n", "\n  "))
	}
}

// note prints a remark that is not part of the results.
func (a *app) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if a.json {
		a.tell(struct {
			Note string `json:"note"`
		}{text})
		return
	}
	fmt.Fprintln(a.stderr, "ipmbctl: "+text)
}

// tell writes a document to standard error.
func (a *app) tell(document any) {
	encoder := json.NewEncoder(a.stderr)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(document)
}
