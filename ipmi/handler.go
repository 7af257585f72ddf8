package ipmi

import (
	"context"
	"errors"
)

// Handler answers requests, as http.Handler does. It returns soon after ctx is
// done; whoever called it has by then answered for it. An error becomes the
// completion code of [CodeOf]; a completion code that the handler chose itself
// is a Response and no error.
type Handler interface {
	ServeIPMI(ctx context.Context, req *Request) (Response, error)
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(ctx context.Context, req *Request) (Response, error)

// ServeIPMI calls f.
func (f HandlerFunc) ServeIPMI(ctx context.Context, req *Request) (Response, error) {
	return f(ctx, req)
}

// Why a request has no answer of a handler's own.
var (
	// ErrNoHandler: nobody serves the command. No handler ran.
	ErrNoHandler = errors.New("no handler for the command")
	// ErrBusy: too much is being served already. No handler ran.
	ErrBusy = errors.New("too many requests in progress")
	// ErrDenied: the configuration denies the command. No handler ran.
	ErrDenied = errors.New("command is denied")
	// ErrAbsent: the one who serves the command is not there. No handler ran.
	ErrAbsent = errors.New("handler is not present")
	// ErrGone: the handler left while it served the request.
	ErrGone = errors.New("handler has gone")
	// ErrTooSlow: the handler had no answer at the deadline.
	ErrTooSlow = errors.New("handler missed its deadline")
	// ErrNoSpace: memory or a store is full.
	ErrNoSpace = errors.New("out of space")
	// ErrAnswerTooLong: the answer does not fit the medium.
	ErrAnswerTooLong = errors.New("answer too long")
	// ErrCannot: there is no way to do what is asked, here or now.
	ErrCannot = errors.New("no way to do that")
	// ErrPanic: the handler panicked.
	ErrPanic = errors.New("handler panicked")

	// ErrDeferred is no failure: somebody else answers the request, by another
	// way and in the handler's time. It becomes no completion code.
	ErrDeferred = errors.New("answered by another way")
)

// codes is the one table from error to completion code. Order matters only
// where an error matches two rows: the first wins.
var codes = []struct {
	err  error
	code CompletionCode
}{
	{ErrNoHandler, CodeInvalidCommand},
	{ErrBusy, CodeNodeBusy},
	{ErrDenied, CodeInsufficientPrivilege},
	{ErrAbsent, CodeNoResponse},
	{ErrGone, CodeNoResponse},
	{ErrAnswerTooLong, CodeNoResponse},
	{ErrNoSpace, CodeOutOfSpace},
	{ErrCannot, CodeNotInState},
	{ErrTooSlow, CodeTimeout},
	{context.DeadlineExceeded, CodeTimeout},
}

// CodeOf is the completion code that tells a requester of err: CodeOK for nil,
// CodeUnspecified for an error that is in no row of the table.
func CodeOf(err error) CompletionCode {
	if err == nil {
		return CodeOK
	}
	for _, row := range codes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return CodeUnspecified
}

// NotServed reports whether err says that no handler ran, so that the same
// request may be served when it comes again.
func NotServed(err error) bool {
	for _, early := range [...]error{ErrNoHandler, ErrBusy, ErrDenied, ErrAbsent} {
		if errors.Is(err, early) {
			return true
		}
	}
	return false
}
