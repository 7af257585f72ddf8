package ipmi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
)

// Handler answers requests, as http.Handler does. ServeIPMI is called in the order in which the
// requests of an interface came. It must not block: NewBlocking makes a Handler of a function that
// may. A handler answers each request exactly once, by reply: before ServeIPMI returns, or later
// and from any goroutine. It may keep the request, and must not change it.
type Handler interface {
	ServeIPMI(req *Request, reply Reply)
}

// Reply is the function with which a handler answers one request.
type Reply interface {
	// Answer ends the request with a response, or with an error, which becomes the completion code
	// of [CodeOf]. A completion code that the handler chose itself is a response and no error. The
	// response's data are valid until Answer returns. Answer does not block. It returns false if
	// the answer does not count, because the request was answered before, by its owner at the
	// deadline for example.
	Answer(res Response, err error) bool
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(req *Request, reply Reply)

// ServeIPMI calls f.
func (f HandlerFunc) ServeIPMI(req *Request, reply Reply) { f(req, reply) }

// Immediate makes a function a Handler that answers before it returns.
type Immediate func(req *Request) (Response, error)

// ServeIPMI answers with the result of f.
func (f Immediate) ServeIPMI(req *Request, reply Reply) { reply.Answer(f(req)) }

// ReplyFunc makes a function a Reply.
type ReplyFunc func(res Response, err error) bool

// Answer calls f.
func (f ReplyFunc) Answer(res Response, err error) bool { return f(res, err) }

// Serve has a handler serve a request. It is for the owner of the request: a panic of the handler
// becomes a PanicError, with its stack.
func Serve(h Handler, req *Request, reply Reply) {
	defer func() {
		if v := recover(); v != nil {
			reply.Answer(Response{}, &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	h.ServeIPMI(req, reply)
}

// Do has a handler serve a request and waits for the answer, whose data belong to the caller. The
// request gets the deadline of ctx; when it passes, the error is ErrTooSlow. When ctx is
// cancelled, Do returns the error of ctx.
func Do(ctx context.Context, h Handler, req *Request) (Response, error) {
	if deadline, ok := ctx.Deadline(); ok {
		req.Deadline = deadline
	}
	first := make(firstAnswer, 1)
	Serve(h, req, first)
	select {
	case a := <-first:
		return a.res, a.err
	default:
	}
	select {
	case a := <-first:
		return a.res, a.err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Response{}, ErrTooSlow
	}
	return Response{}, ctx.Err()
}

// firstAnswer is the Reply of Do. It has room for one answer.
type firstAnswer chan struct {
	res Response
	err error
}

// Answer implements Reply.
func (first firstAnswer) Answer(res Response, err error) bool {
	res.Data = slices.Clone(res.Data)
	select {
	case first <- struct {
		res Response
		err error
	}{res, err}:
		return true
	default:
		return false
	}
}

// PanicError is ErrPanic with the value and the place of the panic.
type PanicError struct {
	Value any
	Stack []byte // as runtime/debug.Stack gives it
}

// Error is the text of the value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("%v: %v", ErrPanic, e.Value) }

// Unwrap returns ErrPanic.
func (e *PanicError) Unwrap() error { return ErrPanic }

// Why a request has no answer of a handler's own.
var (
	// ErrNoHandler: there is no handler for the command. No handler ran.
	ErrNoHandler = errors.New("no handler for the command")
	// ErrBusy: too many requests are being served already. No handler ran.
	ErrBusy = errors.New("too many requests in progress")
	// ErrDenied: the configuration denies the command. No handler ran.
	ErrDenied = errors.New("command is denied")
	// ErrNotPresent: the handler of the command is not there. No handler ran.
	ErrNotPresent = errors.New("handler is not present")
	// ErrAbandoned: the handler left while it served the request.
	ErrAbandoned = errors.New("handler has gone")
	// ErrTooSlow: the handler had no answer at the deadline.
	ErrTooSlow = errors.New("handler missed its deadline")
	// ErrNoSpace: memory or storage is full.
	ErrNoSpace = errors.New("out of space")
	// ErrResponseTooLong: the response does not fit the medium.
	ErrResponseTooLong = errors.New("answer too long")
	// ErrUnsupported: the request cannot be done, here or now.
	ErrUnsupported = errors.New("no way to do that")
	// ErrPanic: the handler panicked.
	ErrPanic = errors.New("handler panicked")

	// ErrDeferred is no failure: the request is answered in another way, within the handler's
	// time. It becomes no completion code.
	ErrDeferred = errors.New("answered in another way")
)

// codes is the one table from error to completion code. If an error matches two rows, the first
// one counts.
var codes = []struct {
	err  error
	code CompletionCode
}{
	{ErrNoHandler, CodeInvalidCommand},
	{ErrBusy, CodeNodeBusy},
	{ErrDenied, CodeInsufficientPrivilege},
	{ErrNotPresent, CodeNoResponse},
	{ErrAbandoned, CodeNoResponse},
	{ErrResponseTooLong, CodeNoResponse},
	{ErrNoSpace, CodeOutOfSpace},
	{ErrUnsupported, CodeNotInState},
	{ErrTooSlow, CodeTimeout},
	{context.DeadlineExceeded, CodeTimeout},
}

// CodeOf returns the completion code that tells a requester about err: CodeOK for nil,
// CodeUnspecified for an error without a code of its own.
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

// NotServed reports whether err says that no handler ran. Then the same request may be served when
// it comes again.
func NotServed(err error) bool {
	for _, early := range [...]error{ErrNoHandler, ErrBusy, ErrDenied, ErrNotPresent} {
		if errors.Is(err, early) {
			return true
		}
	}
	return false
}
