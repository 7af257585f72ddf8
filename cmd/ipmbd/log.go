package main

import (
	"io"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger writes to the journal where systemd has connected stderr with it, and
// else lines for people. Either is calm.
func newLogger(level zapcore.Level, stderr io.Writer) *zap.Logger {
	var core zapcore.Core = newTextCore(level, stderr)
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		core = newJournalCore(level, journal.Send, core)
	}
	return zap.New(newCalmCore(core))
}

func newTextCore(level zapcore.LevelEnabler, w io.Writer) zapcore.Core {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.ISO8601TimeEncoder
	return zapcore.NewCore(zapcore.NewConsoleEncoder(encoding), zapcore.Lock(zapcore.AddSync(w)), level)
}
