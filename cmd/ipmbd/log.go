package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger makes a logger that writes to systemd's journal if systemd has connected stderr to it,
// and otherwise text to stderr. Both are limited by a rateLimitCore and queued by a queueCore.
func newLogger(level zapcore.Level, stderr io.Writer) *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(zapcore.AddSync(stderr)), level)
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		core = &journalCore{Core: core, send: journal.Send}
	}
	return zap.New(newRateLimitCore(newQueueCore(core)))
}

// journalCore writes entries to systemd's journal. Each field becomes a field of the journal with
// its name in capitals ("bus" is BUS=, "pre-timeout" is PRE_TIMEOUT=). The message shows all
// fields too.
type journalCore struct {
	zapcore.Core // has the level, and writes the entries that send fails to write
	send         func(message string, p journal.Priority, fields map[string]string) error
	fields       []zapcore.Field
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

// Write implements zapcore.Core.
func (c *journalCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	all := slices.Concat(c.fields, fields)
	values := zapcore.NewMapObjectEncoder()
	for _, f := range all {
		f.AddTo(values)
	}
	named := map[string]string{"SYSLOG_IDENTIFIER": "ipmbd"} // for journalctl -t
	for name, value := range values.Fields {
		named[strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = fmt.Sprint(value)
	}
	if c.send(journalMessage(e.Message, values.Fields), priorities[e.Level], named) != nil {
		return c.Core.Write(e, all)
	}
	return nil
}

var priorities = map[zapcore.Level]journal.Priority{
	zapcore.DebugLevel: journal.PriDebug,
	zapcore.InfoLevel:  journal.PriInfo,
	zapcore.WarnLevel:  journal.PriWarning,
	zapcore.ErrorLevel: journal.PriErr,
}

// journalMessage is the text of an entry and its fields: "bus state: bus=bus5".
func journalMessage(text string, fields map[string]any) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fmt.Sprint(fields[name])
		if value == "" || strings.ContainsAny(value, " \"=\n") {
			value = fmt.Sprintf("%q", value)
		}
		words = append(words, name+"="+value)
	}
	if len(words) > 0 {
		text += ": " + strings.Join(words, " ")
	}
	return text
}
