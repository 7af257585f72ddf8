package ipmi

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"strings"
	"testing"
)

// sentinels has the results of CodeOf and NotServed for every error value of the package;
// TestSentinelsAreComplete compares the table with the source.
var sentinels = []struct {
	name      string
	err       error
	code      CompletionCode
	notServed bool
}{
	{"ErrNoHandler", ErrNoHandler, CodeInvalidCommand, true},
	{"ErrBusy", ErrBusy, CodeNodeBusy, true},
	{"ErrDenied", ErrDenied, CodeInsufficientPrivilege, true},
	{"ErrNotPresent", ErrNotPresent, CodeNoResponse, true},
	{"ErrAbandoned", ErrAbandoned, CodeNoResponse, false},
	{"ErrTooSlow", ErrTooSlow, CodeTimeout, false},
	{"ErrNoSpace", ErrNoSpace, CodeOutOfSpace, false},
	{"ErrResponseTooLong", ErrResponseTooLong, CodeNoResponse, false},
	{"ErrUnsupported", ErrUnsupported, CodeNotInState, false},
	{"ErrPanic", ErrPanic, CodeUnspecified, false},
	{"ErrDeferred", ErrDeferred, CodeUnspecified, false}, // not asked for
}

func TestCodeOfSentinels(t *testing.T) {
	for _, tt := range sentinels {
		for _, err := range []error{tt.err, fmt.Errorf("bus 3: %w", tt.err)} {
			if got := CodeOf(err); got != tt.code {
				t.Errorf("CodeOf(%v) = %v, want %v", err, got, tt.code)
			}
			if got := NotServed(err); got != tt.notServed {
				t.Errorf("NotServed(%v) = %t", err, got)
			}
		}
	}
}

func TestCodeOfOtherErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want CompletionCode
	}{
		{"no error", nil, CodeOK},
		{"deadline exceeded", context.DeadlineExceeded, CodeTimeout},
		{"cancelled", context.Canceled, CodeUnspecified},
		{"panic", &PanicError{Value: "boom"}, CodeUnspecified},
		{"unknown", errors.New("disk on fire"), CodeUnspecified},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := CodeOf(tt.err); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if NotServed(tt.err) {
				t.Error("counts as not served")
			}
		})
	}
}

func TestSentinelsAreComplete(t *testing.T) {
	declared := map[string]bool{}
	for _, file := range parseSources(t, parser.SkipObjectResolution) {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Err") {
				declared[spec.Names[0].Name] = true
			}
			return true
		})
	}
	for _, tt := range sentinels {
		if !declared[tt.name] {
			t.Errorf("%s is not declared", tt.name)
		}
		delete(declared, tt.name)
	}
	for name := range declared {
		t.Errorf("%s is not in the table", name)
	}
}
