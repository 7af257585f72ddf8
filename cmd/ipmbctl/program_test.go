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

// The shell and the programs that it has started end with their time.
func TestProgramThatHangs(t *testing.T) {
	p := newProgram("sleep 1000 & sleep 1000", ipmb.MinTimeout, io.Discard)
	if _, err := p.respond(t.Context(), p.job()); ipmi.CodeOf(err) != ipmi.CodeTimeout {
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
	if _, err := p.respond(ctx, p.job()); !errors.Is(err, ipmi.ErrAbandoned) {
		t.Errorf("error = %v", err)
	}
}

// job is a request that comes now.
func (p *program) job() job { return job{req: &ipmi.Request{}, deadline: time.Now().Add(p.timeout)} }

func TestProgramsWaitForOneThatEnds(t *testing.T) {
	p := newProgram("echo 00", time.Hour, io.Discard)
	late := p.job()
	late.deadline = time.Now()
	if _, err := p.respond(t.Context(), late); ipmi.CodeOf(err) != ipmi.CodeNodeBusy {
		t.Errorf("it has waited too long: %v", err)
	}
	// Nothing runs yet, and so all wait but for one that has no room.
	answers := make(chan error, maxJobs+1)
	reply := ipmi.ReplyFunc(func(_ ipmi.Response, err error) bool {
		answers <- err
		return true
	})
	for range maxJobs + 1 {
		p.ServeIPMI(&ipmi.Request{}, reply)
	}
	if err := <-answers; ipmi.CodeOf(err) != ipmi.CodeNodeBusy {
		t.Errorf("over the bound: %v", err)
	}
	p.start(t.Context())()
	for range maxJobs {
		if err := <-answers; err != nil {
			t.Errorf("one that has waited: %v", err)
		}
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
		if _, err := p.respond(t.Context(), p.job()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
