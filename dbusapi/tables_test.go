package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	dbusclient "ipmbd/dbusapi/client"
	"ipmbd/internal/dbuswire"
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

// errorCases are errors, and their D-Bus errors for clients.
var errorCases = map[string]struct {
	err    error
	name   string
	status int32
}{
	"ipmb.ErrTimeout":         {ipmb.ErrTimeout, xml.ErrorTimeout, 4},
	"ipmb.ErrNotAcknowledged": {ipmb.ErrNotAcknowledged, xml.ErrorUnavailable, 4},
	"ipmb.ErrArbitrationLost": {ipmb.ErrArbitrationLost, xml.ErrorWriteFailure, 4},
	"ipmb.ErrStuck":           {ipmb.ErrStuck, xml.ErrorWriteFailure, 4},
	"ipmb.ErrTooLong":         {ipmb.ErrTooLong, xml.ErrorInvalidArgument, 1},
	"ipmb.ErrClosed":          {ipmb.ErrClosed, xml.ErrorUnavailable, 4},
	"ipmb.ErrBusy":            {ipmb.ErrBusy, xml.ErrorTooMany, 3},
	"ipmb.ErrInvalid":         {ipmb.ErrInvalid, xml.ErrorInvalidArgument, 2},
	"ipmb.ErrAnswered":        {ipmb.ErrAnswered, xml.ErrorNotAllowed, 4},
	"ipmb.ErrUnsupported":     {ipmb.ErrUnsupported, xml.ErrorUnsupported, 4},
	"ipmi.ErrNoHandler":       {ipmi.ErrNoHandler, xml.ErrorUnsupported, 4},
	"ipmi.ErrBusy":            {ipmi.ErrBusy, xml.ErrorTooMany, 4},
	"ipmi.ErrDenied":          {ipmi.ErrDenied, xml.ErrorNotAllowed, 4},
	"ipmi.ErrDeferred":        {ipmi.ErrDeferred, xml.ErrorInternal, 4},
	"ipmi.ErrNotPresent":      {ipmi.ErrNotPresent, xml.ErrorUnavailable, 4},
	"ipmi.ErrAbandoned":       {ipmi.ErrAbandoned, xml.ErrorUnavailable, 4},
	"ipmi.ErrTooSlow":         {ipmi.ErrTooSlow, xml.ErrorTimeout, 4},
	"ipmi.ErrNoSpace":         {ipmi.ErrNoSpace, xml.ErrorTooMany, 4},
	"ipmi.ErrResponseTooLong": {ipmi.ErrResponseTooLong, xml.ErrorInvalidArgument, 4},
	"ipmi.ErrUnsupported":     {ipmi.ErrUnsupported, xml.ErrorUnsupported, 4},
	"ipmi.ErrPanic":           {ipmi.ErrPanic, xml.ErrorInternal, 4},
	"no adapter":              {bus.ErrNoAdapter, xml.ErrorNotFound, 4},
	"in use":                  {bus.ErrInUse, xml.ErrorNotAllowed, 4},
	"fixed device":            {bus.ErrFixed, xml.ErrorUnsupported, 4},
	"device":                  {bus.ErrDevice, xml.ErrorUnavailable, 4},
	"limit":                   {ErrLimit, xml.ErrorTooMany, 3},
	"unknown channel":         {errUnknownChannel, xml.ErrorInvalidArgument, 2},
	"unknown id":              {errUnknownID, xml.ErrorInvalidArgument, 4},
	"not answered by signals": {errNotBySignal, xml.ErrorNotAllowed, 4},
	"caller gone":             {errGone, xml.ErrorUnavailable, 4},
	"disconnected":            {dbuswire.ErrDisconnected, xml.ErrorUnavailable, 4},
	"removed":                 {bus.ErrRemoved, xml.ErrorUnavailable, 4},
	"limit of a bus":          {bus.ErrLimit, xml.ErrorTooMany, 3},
	"not root":                {errNotRoot, xml.ErrorAccessDenied, 4},
	"configuration":           {ErrConfig, xml.ErrorInvalidArgument, 4},
	"taken":                   {ErrTaken, xml.ErrorNotAllowed, 4},
	"name taken":              {ErrNameTaken, xml.ErrorNotAllowed, 4},
	"no endpoint":             {ErrNoEndpoint, xml.ErrorNotFound, 4},
	"restart":                 {ErrRestart, xml.ErrorNotAllowed, 4},
	"no file":                 {ErrNoFile, xml.ErrorUnsupported, 4},
	"stopping":                {ErrStopping, xml.ErrorUnavailable, 4},
	"overlap":                 {&ipmi.OverlapError{Owner: ":1.5"}, xml.ErrorNotAllowed, 4},
	"pattern":                 {&ipmi.PatternError{Field: "netFn"}, xml.ErrorInvalidArgument, 4},
	"registered":              {errRegistered, xml.ErrorNotAllowed, 4},
	"not registered":          {errNotRegistered, xml.ErrorNotFound, 4},
	"no commands":             {errNoCommands, xml.ErrorInvalidArgument, 4},
	"too many":                {errTooMany, xml.ErrorTooMany, 4},
	"deadline":                {context.DeadlineExceeded, xml.ErrorTimeout, 4},
	"cancelled":               {context.Canceled, xml.ErrorUnavailable, 4},
	"anything else":           {errors.New("password at 0x1234"), xml.ErrorInternal, 4},
}

func TestEveryErrorHasItsNameAndStatus(t *testing.T) {
	for name, tt := range errorCases {
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
			if _, ok := errorCases[pkg+"."+sentinel]; !ok {
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

func TestDocumentNamesTheErrors(t *testing.T) {
	const document = "../docs/dbus.md"
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range errorNames {
		if !strings.Contains(string(text), "`"+row.name+"`") {
			t.Errorf("%s is not in %s", row.name, document)
		}
	}
}

// Each name that the server gives an error has a meaning at the client, except InternalFailure,
// about which the client can know no more.
func TestClientKnowsTheServersErrors(t *testing.T) {
	r := newRig(t, Config{})
	c := openClient(t, r.bus.Address)
	for name, tt := range errorCases {
		r.fake.fail(map[ipmi.Command]error{1: tt.err})
		_, err := c.Send(t.Context(), "bus4", ipmb.Request{NetFn: 6, Command: 1})
		var service *dbusclient.ServiceError
		if !errors.As(err, &service) || service.Name != tt.name || (service.Err == nil) != (tt.name == xml.ErrorInternal) {
			t.Errorf("%s: %+v", name, err)
		}
	}
}
