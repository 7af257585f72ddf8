package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap/zapcore"
)

// identifier is what journalctl -t knows our entries by.
const identifier = "ipmbd"

// journalCore writes entries to systemd's journal: each field is one of the
// journal's, its name in capitals ("bus" is BUS=, "pre-timeout" PRE_TIMEOUT=), and
// the message has them all, for people.
type journalCore struct {
	zapcore.LevelEnabler
	send   func(message string, p journal.Priority, fields map[string]string) error
	failed zapcore.Core // for what the journal does not take
	fields []zapcore.Field
}

func newJournalCore(level zapcore.LevelEnabler, send func(string, journal.Priority, map[string]string) error, failed zapcore.Core) *journalCore {
	return &journalCore{LevelEnabler: level, send: send, failed: failed}
}

// With implements zapcore.Core.
func (c *journalCore) With(fields []zapcore.Field) zapcore.Core {
	with := *c
	with.fields = slices.Concat(c.fields, fields)
	return &with
}

// Check implements zapcore.Core.
func (c *journalCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Sync implements zapcore.Core: nothing waits here.
func (c *journalCore) Sync() error { return nil }

// Write implements zapcore.Core.
func (c *journalCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	all := slices.Concat(c.fields, fields)
	values := zapcore.NewMapObjectEncoder()
	for _, f := range all {
		f.AddTo(values)
	}
	if c.send(journalMessage(e.Message, values.Fields), priorities[e.Level], journalFields(values.Fields)) != nil {
		return c.failed.Write(e, all)
	}
	return nil
}

// priorities are the journal's.
var priorities = map[zapcore.Level]journal.Priority{
	zapcore.DebugLevel: journal.PriDebug,
	zapcore.InfoLevel:  journal.PriInfo,
	zapcore.WarnLevel:  journal.PriWarning,
	zapcore.ErrorLevel: journal.PriErr,
}

// journalMessage is the text of an entry and its fields: "bus state: bus=bus5".
func journalMessage(text string, fields map[string]any) string {
	var b strings.Builder
	b.WriteString(text)
	between := ": "
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fmt.Sprint(fields[name])
		if value == "" || strings.ContainsAny(value, " \"=\n") {
			value = fmt.Sprintf("%q", value)
		}
		b.WriteString(between + name + "=" + value)
		between = " "
	}
	return b.String()
}

func journalFields(fields map[string]any) map[string]string {
	named := map[string]string{"SYSLOG_IDENTIFIER": identifier}
	for name, value := range fields {
		named[strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = fmt.Sprint(value)
	}
	return named
}
