package main

import (
	"errors"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/ipmi"
)

// sent is the messages to the journal.
type sent struct {
	Message  string
	Priority journal.Priority
	Fields   map[string]string
}

func TestEntryOfTheJournal(t *testing.T) {
	var got sent
	text, _ := observer.New(zap.InfoLevel)
	log := zap.New(&journalCore{Core: text, send: func(message string, p journal.Priority, fields map[string]string) error {
		got = sent{message, p, fields}
		return nil
	}}).With(zap.String("bus", "bus5"))

	log.Debug("request served")
	if got.Message != "" {
		t.Errorf("below the level: %v", got)
	}
	log.Warn("request not served", zap.Stringer("addr", ipmi.Address(0x2C)), zap.String("netfn", "06h"),
		zap.Bool("pre-timeout", true), zap.Error(errors.New("the handler was too slow")))
	want := sent{
		`request not served: addr=2Ch bus=bus5 error="the handler was too slow" netfn=06h pre-timeout=true`,
		journal.PriWarning,
		map[string]string{"SYSLOG_IDENTIFIER": "ipmbd", "BUS": "bus5", "ADDR": "2Ch", "NETFN": "06h", "PRE_TIMEOUT": "true", "ERROR": "the handler was too slow"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestJournalThatTakesNothing(t *testing.T) {
	text, lines := observer.New(zap.DebugLevel)
	log := zap.New(&journalCore{Core: text, send: func(string, journal.Priority, map[string]string) error {
		return errors.New("no such socket")
	}}).With(zap.String("bus", "bus5"))
	log.Error("stopped", zap.Int("n", 1))
	logged{lines}.are(t, "stoppedmap[bus:bus5 n:1]")
}
