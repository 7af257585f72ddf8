package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// signatures is the signals that the code emits.
var signatures = map[string]string{
	propertiesChanged: "sa{sv}as",
	interfacesAdded:   "oa{sa{sv}}",
	interfacesRemoved: "oas",
	receiveBroadcast:  "yyay",
	receivedMessage:   "tyyyyay",
	platformEvent:     "ysqay",
	hostIPMIMessage:   "yyyyay",
	watchdogExpired:   "byyy",
}

func TestTablesAgreeWithTheDocuments(t *testing.T) {
	var want, got []string
	for _, name := range xml.Names() {
		i, err := xml.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range i.Methods {
			want = append(want, fmt.Sprintf("method %s.%s %s -> %s", name, m.Name, m.Signature("in"), m.Signature("out")))
		}
		for _, s := range i.Signals {
			want = append(want, fmt.Sprintf("signal %s.%s %s", name, s.Name, s.Signature("")))
		}
		for _, p := range i.Properties {
			want = append(want, fmt.Sprintf("property %s.%s %s %s signal=%v", name, p.Name, p.Type, p.Access, p.EmitsChange()))
		}
		for _, p := range properties(name) {
			access := "read"
			if p.set != nil {
				access = "readwrite"
			}
			got = append(got, fmt.Sprintf("property %s.%s %s %s signal=%v", name, p.name, p.signature, access, !p.silent))
		}
	}
	for _, m := range methods() {
		got = append(got, fmt.Sprintf("method %s.%s %s -> %s", m.iface, m.member, m.in, m.out))
	}
	for name, signature := range signatures {
		got = append(got, fmt.Sprintf("signal %s %s", name, signature))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("documents (-) and code (+) differ:\n%s", diff)
	}
}

func TestEveryErrorHasItsNameAndStatus(t *testing.T) {
	table := map[string]struct {
		err    error
		name   string
		status int32
	}{
		"ipmb.ErrTimeout":         {ipmb.ErrTimeout, errorTimeout, 4},
		"ipmb.ErrNotAcknowledged": {ipmb.ErrNotAcknowledged, errorUnavailable, 4},
		"ipmb.ErrArbitrationLost": {ipmb.ErrArbitrationLost, errorWriteFailure, 4},
		"ipmb.ErrStuck":           {ipmb.ErrStuck, errorWriteFailure, 4},
		"ipmb.ErrTooLong":         {ipmb.ErrTooLong, errorInvalidArgument, 1},
		"ipmb.ErrClosed":          {ipmb.ErrClosed, errorUnavailable, 4},
		"ipmb.ErrBusy":            {ipmb.ErrBusy, errorTooMany, 3},
		"ipmb.ErrInvalid":         {ipmb.ErrInvalid, errorInvalidArgument, 2},
		"ipmb.ErrAnswered":        {ipmb.ErrAnswered, errorNotAllowed, 4},
		"ipmb.ErrUnsupported":     {ipmb.ErrUnsupported, errorUnsupported, 4},
		"ipmi.ErrNoHandler":       {ipmi.ErrNoHandler, errorUnsupported, 4},
		"ipmi.ErrBusy":            {ipmi.ErrBusy, errorTooMany, 4},
		"ipmi.ErrDenied":          {ipmi.ErrDenied, errorNotAllowed, 4},
		"ipmi.ErrDeferred":        {ipmi.ErrDeferred, errorInternal, 4},
		"ipmi.ErrNotPresent":      {ipmi.ErrNotPresent, errorUnavailable, 4},
		"ipmi.ErrAbandoned":       {ipmi.ErrAbandoned, errorUnavailable, 4},
		"ipmi.ErrTooSlow":         {ipmi.ErrTooSlow, errorTimeout, 4},
		"ipmi.ErrNoSpace":         {ipmi.ErrNoSpace, errorTooMany, 4},
		"ipmi.ErrResponseTooLong": {ipmi.ErrResponseTooLong, errorInvalidArgument, 4},
		"ipmi.ErrUnsupported":     {ipmi.ErrUnsupported, errorUnsupported, 4},
		"ipmi.ErrPanic":           {ipmi.ErrPanic, errorInternal, 4},
		"no adapter":              {ErrNoAdapter, errorNotFound, 4},
		"in use":                  {ErrInUse, errorNotAllowed, 4},
		"fixed device":            {ErrFixed, errorUnsupported, 4},
		"device":                  {ErrDevice, errorUnavailable, 4},
		"limit":                   {ErrLimit, errorTooMany, 3},
		"unknown channel":         {errUnknownChannel, errorInvalidArgument, 2},
		"unknown id":              {errUnknownID, errorInvalidArgument, 4},
		"not answered by signals": {errNotAnswered, errorNotAllowed, 4},
		"caller gone":             {errGone, errorUnavailable, 4},
		"disconnected":            {ErrDisconnected, errorUnavailable, 4},
		"removed":                 {bus.ErrRemoved, errorUnavailable, 4},
		"limit of a bus":          {bus.ErrLimit, errorTooMany, 3},
		"not root":                {errNotRoot, errorAccessDenied, 4},
		"configuration":           {ErrConfig, errorInvalidArgument, 4},
		"taken":                   {ErrTaken, errorNotAllowed, 4},
		"name taken":              {ErrNameTaken, errorNotAllowed, 4},
		"no member":               {ErrNoMember, errorNotFound, 4},
		"restart":                 {ErrRestart, errorNotAllowed, 4},
		"no file":                 {ErrNoFile, errorUnsupported, 4},
		"stopping":                {ErrStopping, errorUnavailable, 4},
		"overlap":                 {&ipmi.OverlapError{Owner: ":1.5"}, errorNotAllowed, 4},
		"pattern":                 {&ipmi.PatternError{Field: "netFn"}, errorInvalidArgument, 4},
		"registered":              {errRegistered, errorNotAllowed, 4},
		"not registered":          {errNotRegistered, errorNotFound, 4},
		"no commands":             {errNoCommands, errorInvalidArgument, 4},
		"too many":                {errTooMany, errorTooMany, 4},
		"deadline":                {context.DeadlineExceeded, errorTimeout, 4},
		"cancelled":               {context.Canceled, errorUnavailable, 4},
		"anything else":           {errors.New("password at 0x1234"), errorInternal, 4},
	}
	for name, tt := range table {
		wrapped := fmt.Errorf("bus4: %w", tt.err)
		got := asDBusError(wrapped)
		if got.Name != tt.name {
			t.Errorf("%s: error name %s, want %s", name, got.Name, tt.name)
		}
		if text := got.Error(); len(text) < 8 || strings.Contains(text, "0x1234") {
			t.Errorf("%s: text %q", name, text)
		}
		if status := statusOf(wrapped); status != tt.status {
			t.Errorf("%s: status %d, want %d", name, status, tt.status)
		}
	}
	for file, pkg := range map[string]string{"../ipmb/errors.go": "ipmb", "../ipmi/handler.go": "ipmi"} {
		for _, sentinel := range sentinels(t, file) {
			if _, ok := table[pkg+"."+sentinel]; !ok {
				t.Errorf("%s.%s is not in this test", pkg, sentinel)
			}
		}
	}
}

// sentinels is the names of the exported error variables of a file.
func sentinels(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, decl := range parsed.Decls {
		vars, ok := decl.(*ast.GenDecl)
		if !ok || vars.Tok != token.VAR {
			continue
		}
		for _, spec := range vars.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				if strings.HasPrefix(name.Name, "Err") {
					names = append(names, name.Name)
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("%s has no errors", file)
	}
	return names
}
