package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The shell and what it has started end with their time.
func TestProgramThatHangs(t *testing.T) {
	p := newProgram("sleep 1000 & sleep 1000", ipmb.MinTimeout, io.Discard)
	if _, err := p.ServeIPMI(t.Context(), &ipmi.Request{}); ipmi.CodeOf(err) != ipmi.CodeTimeout {
		t.Errorf("error = %v", err)
	}
}

func TestProgramEndsWithItsContext(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(started, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = os.ReadFile(started)
		cancel()
	}()
	p := newProgram("echo > "+started+"; sleep 1000", time.Hour, io.Discard)
	if _, err := p.ServeIPMI(ctx, &ipmi.Request{}); !errors.Is(err, ipmi.ErrGone) {
		t.Errorf("error = %v", err)
	}
}

func TestProgramsWaitForASlot(t *testing.T) {
	p := newProgram("echo 00", ipmb.MinTimeout, io.Discard)
	for range maxPrograms {
		p.slots <- struct{}{}
	}
	if _, err := p.ServeIPMI(t.Context(), &ipmi.Request{}); ipmi.CodeOf(err) != ipmi.CodeNodeBusy {
		t.Errorf("all run: %v", err)
	}
	p.timeout = time.Hour
	go func() { <-p.slots }()
	if _, err := p.ServeIPMI(t.Context(), &ipmi.Request{}); err != nil {
		t.Errorf("one has ended: %v", err)
	}
}

func TestProgramsThatFail(t *testing.T) {
	for line, want := range map[string]string{
		"yes 00":                 "yes 00: printed too much",
		"echo 00; sleep 1000 &":  "left its standard output open",
		"/nonexistent":           "exit status 127",
		"echo 00; kill -TERM $$": "signal: terminated",
		"echo 0":                 `printed "0"`,
		"echo 0000":              `printed "0000"`,
		"echo 00 xx":             `printed "xx"`,
	} {
		p := newProgram(line, time.Hour, io.Discard)
		if _, err := p.ServeIPMI(t.Context(), &ipmi.Request{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
