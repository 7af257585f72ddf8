package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bmc/record"
	"ipmbd/bus"
	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
	"ipmbd/ipmb"
	"ipmbd/xml"
)

// exitCodes are the exit codes of the errors that a package declares.
var exitCodes = map[string]map[string]struct {
	err  error
	code int
}{
	"../../dbusapi/client/errors.go": {
		"ErrDisconnected":  {client.ErrDisconnected, exitNotRunning},
		"ErrNoMessageBus":  {client.ErrNoMessageBus, exitNotRunning},
		"fs.ErrPermission": {fmt.Errorf("%w: %w", client.ErrNoMessageBus, syscall.EACCES), exitNoPermission}, // of its socket
		"ErrBusSilent":     {client.ErrBusSilent, exitNotRunning},
		"ErrSilent":        {client.ErrSilent, exitNotRunning},
		"ErrNotRunning":    {client.ErrNotRunning, exitNotRunning},
		"ErrNotStarted":    {client.ErrNotStarted, exitNotRunning},
		"ErrLeft":          {client.ErrLeft, exitNotRunning},
		"ErrOtherService":  {client.ErrOtherService, exitNotRunning},
		"ErrAccessDenied":  {client.ErrAccessDenied, exitNoPermission},
		"ErrUnavailable":   {client.ErrUnavailable, exitBusDown},
		"ErrWriteFailure":  {client.ErrWriteFailure, exitBusDown},
		"ErrNoAdapter":     {client.ErrNoAdapter, exitRefused},
		"ErrNotAllowed":    {client.ErrNotAllowed, exitRefused},
		"NotFoundError":    {&client.NotFoundError{}, exitFailed},
		"ServiceError":     {&client.ServiceError{Name: "xyz.openbmc_project.Common.Error.InternalFailure"}, exitFailed},
		"ipmb.ErrTimeout":  {ipmb.ErrTimeout, exitTimeout}, // These are in its documentation.
		"ipmb.ErrBusy":     {ipmb.ErrBusy, exitRefused},
		"ipmb.ErrInvalid":  {ipmb.ErrInvalid, exitRefused},
		"ipmb.Unsupported": {ipmb.ErrUnsupported, exitRefused},
	},
	"../../bmc/record/log.go": {
		"ErrMalformed": {record.ErrMalformed, exitFailed},
		"ErrChanged":   {record.ErrChanged, exitFailed},
		"ErrErasing":   {record.ErrErasing, exitFailed},
		"CodeError":    {&record.CodeError{}, exitBadCode},
	},
	"exit.go": {
		"errNotAcknowledged": {requestError(client.Bus{}, 0x2C, client.ErrUnavailable), exitNotAcknowledged},
		"errBadCode":         {errBadCode, exitBadCode},
		"usageError":         {usage("wrong"), exitUsage},
		"shownError":         {shownError{ipmb.ErrTimeout}, exitTimeout},
	},
	"errors.go": {
		"advisedError": {downError(client.Bus{Properties: bus.Properties{State: client.Down}}), exitBusDown},
	},
}

// declaredErrors are the names of the errors and types of errors in a file.
func declaredErrors(t *testing.T, file string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		general, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				for _, name := range spec.Names {
					if strings.HasPrefix(strings.ToLower(name.Name), "err") && general.Tok == token.VAR && name.Name != "errorNames" {
						names = append(names, name.Name)
					}
				}
			case *ast.TypeSpec:
				if strings.HasSuffix(spec.Name.Name, "Error") {
					names = append(names, spec.Name.Name)
				}
			}
		}
	}
	return names
}

func TestExitCodeOfEveryError(t *testing.T) {
	cases := 0
	for file, errs := range exitCodes {
		for _, name := range declaredErrors(t, file) {
			if _, ok := errs[name]; !ok {
				t.Errorf("%s: %s has no exit code in this test", file, name)
			}
		}
		for name, want := range errs {
			cases++
			wrapped := fmt.Errorf("one more layer: %w", want.err)
			if code, kind := statusOf(wrapped); code != want.code || kind == "" {
				t.Errorf("%s: code %d %q, want %d", name, code, kind, want.code)
			}
		}
	}
	if code, _ := statusOf(context.Canceled); code != exitInterrupted {
		t.Errorf("interrupted: code %d", code)
	}
	t.Log(cases+1, "errors")
}

// The codes are in order and of one meaning each, and help has them all.
func TestStatusTable(t *testing.T) {
	last := -1
	for _, s := range statuses {
		if s.code <= last {
			t.Errorf("%d is not behind %d", s.code, last)
		}
		last = s.code
	}
	if got := ipmbctl(t, environment{}, "--help"); !strings.Contains(got.stdout, statusTable()) {
		t.Error(got.stdout)
	}
}

// commandLines are a good command line of each command that does something.
var commandLines = map[string][]string{
	"list": nil, "info": {"bus0"}, "send": {"bus0", "app", "get-device-id"}, "scan": {"bus0"},
	"sel list": {"bus0"}, "sel info": {"bus0"}, "sel clear": {"bus0"}, "monitor": nil, "handlers": nil,
	"respond": {"0x30", "1"}, "events": nil, "bind": {"bus0"}, "unbind": {"bus0"}, "add": {"{}"}, "remove": {"bus0"},
	"reload": nil,
}

// Every command has its errors in JSON, with the exit codes that it has without.
func TestEveryCommandHasErrorsInJSON(t *testing.T) {
	silent := bustest.Start(t)
	r := newRig(t, bustest.Config{})
	denied := newRig(t, withRule(t, `<deny send_destination="`+xml.ServiceName+`"/><deny send_interface="org.freedesktop.DBus.Monitoring"/>`))
	cases := 0
	check := func(what string, code int, kind string, args ...string) {
		t.Helper()
		cases++
		if got := ipmbctl(t, environment{}, args...); got.code != code || !strings.HasPrefix(got.stderr, "ipmbctl: ") {
			t.Errorf("%s: %v: %+v", what, args, got)
		}
		got := ipmbctl(t, environment{}, append(slices.Clip(args), "--json")...)
		var document struct{ Error errorJSON }
		reader := json.NewDecoder(strings.NewReader(got.stderr))
		reader.DisallowUnknownFields()
		if err := reader.Decode(&document); err != nil || got.stdout != "" || got.code != code {
			t.Errorf("%s: %v: %+v, %v", what, args, got, err)
		}
		if e := document.Error; e.Code != code || e.Kind != kind || e.Message == "" {
			t.Errorf("%s: %v: %+v", what, args, e)
		}
		if _, err := reader.Token(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v: more than a document: %q", what, args, got.stderr)
		}
	}
	for _, command := range commands((&app{}).rootCommand()) {
		name := strings.TrimPrefix(command.CommandPath(), "ipmbctl ")
		good, ok := commandLines[name]
		if !ok {
			t.Errorf("no command line for %s", name)
			continue
		}
		line := append(strings.Fields(name), good...)
		on := func(address string) []string { return append([]string{"--dbus", address}, line...) }
		check("unknown option", exitUsage, "usage", append(slices.Clip(line), "--nonsense")...)
		check("no message bus", exitNotRunning, "not-running", on("unix:path=/nonexistent")...)
		check("not running", exitNotRunning, "not-running", on(silent.Address)...)
		check("no permission", exitNoPermission, "no-permission", on(denied.bus.Address)...)
	}
	for _, tt := range []struct {
		args string
		code int
		kind string
	}{
		{"", exitUsage, "usage"}, {"lst", exitUsage, "usage"}, {"sel", exitUsage, "usage"},
		{"send bus0 0x30 6 1", exitUsage, "usage"}, {"send bus0 6 1 --timeout 61", exitUsage, "usage"},
	} {
		check("wrong words", tt.code, tt.kind, append([]string{"--dbus", r.bus.Address}, strings.Fields(tt.args)...)...)
	}
	t.Log(cases, "cases")
}

// The failures of requests have an exit code each, in text and in JSON.
func TestFailuresOfRequests(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for _, tt := range []struct {
		args string
		code int
		kind string
	}{
		{"send bus0 0xA0 6 1", exitTimeout, "timeout"},
		{"send bus0 0x42 6 1", exitNotAcknowledged, "not-acknowledged"},
		{"send bus0 0xB2 6 1", exitRefused, "refused"},
		{"send bus0 0xB0 6 1", exitBusDown, "bus-down"},
		{"send me1 6 1", exitBusDown, "bus-down"},
		{"scan me1", exitBusDown, "bus-down"},
		{"sel list bus0", exitBadCode, "completion-code"},
		{"sel list me1", exitBusDown, "bus-down"},
		{"info bus7", exitFailed, "failed"},
		{"bind me1", exitRefused, "refused"},
		{"send bus7 6 1", exitFailed, "failed"},
	} {
		got := r.ipmbctl(t, append(strings.Fields(tt.args), "--json")...)
		var document struct{ Error errorJSON }
		err := json.Unmarshal([]byte(got.stderr), &document)
		want := errorJSON{Kind: tt.kind, Code: tt.code}
		document.Error.Message, document.Error.Advice = "", ""
		if diff := cmp.Diff(want, document.Error); err != nil || diff != "" || got.code != tt.code || got.stdout != "" {
			t.Errorf("%s: %+v, %v\n%s", tt.args, got, err, diff)
		}
	}
}

func TestNotesInJSON(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "monitor", "bus0", "--json")
	if want := `{"note":"watching bus0; Ctrl-C ends it"}`; w.notes[0] != want {
		t.Errorf("%q, want %q", w.notes[0], want)
	}
}
