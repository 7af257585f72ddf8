package ipmi

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// later is a handler that answers after a time, from another goroutine.
func later(takes time.Duration, res Response, err error) Handler {
	return HandlerFunc(func(_ *Request, reply Reply) {
		time.AfterFunc(takes, func() { reply.Answer(res, err) })
	})
}

func TestServeRecoversPanic(t *testing.T) {
	var nilMap map[string]int
	for _, tt := range []struct {
		name    string
		handler HandlerFunc
		text    string
	}{
		{"value", func(*Request, Reply) { panic("boom") }, "handler panicked: boom"},
		{"runtime error", func(*Request, Reply) { nilMap["x"] = 1 }, "handler panicked: assignment to entry in nil map"},
		{"nil", func(*Request, Reply) { panic(nil) }, "handler panicked: panic called with nil"},
		{"nil function", nil, "handler panicked: runtime error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Mux
			m.SetDefault("", tt.handler)
			resp, err := Do(t.Context(), &m, &Request{NetFn: NetFnApp})
			var panicked *PanicError
			if !errors.Is(err, ErrPanic) || !errors.As(err, &panicked) || !strings.HasPrefix(err.Error(), tt.text) {
				t.Fatalf("got %v, error %v", resp, err)
			}
			if CodeOf(err) != CodeUnspecified || NotServed(err) {
				t.Errorf("code %v, not served %t", CodeOf(err), NotServed(err))
			}
			if !strings.Contains(string(panicked.Stack), "ServeIPMI") {
				t.Errorf("the stack does not show the handler:\n%s", panicked.Stack)
			}
		})
	}
}

func TestAPanicAfterTheAnswerChangesNothing(t *testing.T) {
	h := HandlerFunc(func(_ *Request, reply Reply) {
		reply.Answer(Response{Code: 7}, nil)
		panic("boom")
	})
	if resp, err := Do(t.Context(), h, new(Request)); resp.Code != 7 || err != nil {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestDoWaitsUntilTheDeadline(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes time.Duration
		err   error // of the handler
		want  error
	}{
		{"answer in time", 4 * time.Second, nil, nil},
		{"error in time", 4 * time.Second, ErrAbandoned, ErrAbandoned},
		{"late answer", 6 * time.Second, nil, ErrTooSlow},
		{"late error", 6 * time.Second, ErrBusy, ErrTooSlow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				req := &Request{NetFn: NetFnApp}
				resp, err := Do(ctx, later(tt.takes, Response{Data: []byte{1}}, tt.err), req)
				if !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
				if errors.Is(err, ErrTooSlow) && (resp.Data != nil || CodeOf(err) != CodeTimeout) {
					t.Errorf("got %v with code %v", resp, CodeOf(err))
				}
				if deadline, _ := ctx.Deadline(); !req.Deadline.Equal(deadline) {
					t.Errorf("the request's deadline is %v, want %v", req.Deadline, deadline)
				}
				time.Sleep(10 * time.Second) // until the handler has answered
			})
		})
	}
}

func TestDoOfACancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if resp, err := Do(ctx, answering(7), &Request{NetFn: NetFnApp}); resp.Code != 7 || err != nil {
		t.Errorf("answered at once: %v, %v", resp, err)
	}
	silent := HandlerFunc(func(*Request, Reply) {})
	if _, err := Do(ctx, silent, &Request{NetFn: NetFnApp}); !errors.Is(err, context.Canceled) {
		t.Errorf("not answered: %v", err)
	}
}

// The handler may use its memory again as soon as it has answered, and only its first
// answer counts.
func TestDoKeepsTheFirstAnswer(t *testing.T) {
	var taken []bool
	h := HandlerFunc(func(_ *Request, reply Reply) {
		data := []byte{1}
		taken = append(taken, reply.Answer(Response{Data: data}, nil))
		data[0] = 2
		taken = append(taken, reply.Answer(Response{}, ErrAbandoned))
	})
	resp, err := Do(t.Context(), h, new(Request))
	if err != nil || !slices.Equal(resp.Data, []byte{1}) || !slices.Equal(taken, []bool{true, false}) {
		t.Errorf("got %v, %v; taken %v", resp, err, taken)
	}
}
