package service

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/ipmi"
)

func TestFailuresOfHandlersAreLogged(t *testing.T) {
	tests := []struct {
		name  string
		err   error
		level zapcore.Level
		cc    string
	}{
		{"nobody serves it", ipmi.ErrNoHandler, zap.DebugLevel, "C1h invalid command"},
		{"it is denied", ipmi.ErrDenied, zap.DebugLevel, "D4h insufficient privilege level"},
		{"the host daemon is absent", ipmi.ErrNotPresent, zap.DebugLevel, "CEh response could not be provided"},
		{"too much", ipmi.ErrBusy, zap.DebugLevel, "C0h node busy"},
		{"too slow", ipmi.ErrTooSlow, zap.WarnLevel, "C3h timeout while processing the command"},
		{"something else", errors.New("out of order"), zap.WarnLevel, "FFh unspecified error"},
		{"a panic", &ipmi.PanicError{Value: "boom", Stack: []byte("main.go:1")}, zap.ErrorLevel, "FFh unspecified error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			req := &ipmi.Request{NetFn: 6, Command: 0x47, Requester: 0x2C, Sequence: 0x3F, Data: []byte("secret")}
			requestLog{zap.New(core)}.served(req, ipmi.CodeOf(test.err), test.err)
			entries := logs.All()
			if len(entries) != 1 {
				t.Fatalf("%d lines", len(entries))
			}
			fields := entries[0].ContextMap()
			if entries[0].Level != test.level || fields["cc"] != test.cc || fields["addr"] != "2Ch" || fields["netfn"] != "06h" || fields["cmd"] != "47h" || fields["seq"] != "3Fh" {
				t.Errorf("%s %v", entries[0].Level, fields)
			}
			if _, ok := fields["stack"]; ok != (test.level == zap.ErrorLevel) {
				t.Errorf("stack: %v", ok)
			}
			for name, value := range fields {
				if value == "secret" || value == "736563726574" {
					t.Errorf("the request's data is in field %s", name)
				}
			}
		})
	}
}

func TestAnswersAreLoggedForDebugging(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	requestLog{zap.New(core)}.served(&ipmi.Request{}, ipmi.CodeInvalidField, nil)
	entries := logs.All()
	if len(entries) != 1 || entries[0].Level != zap.DebugLevel || entries[0].ContextMap()["cc"] != "CCh invalid data field in request" {
		t.Errorf("logged %v", entries)
	}
}
