package main

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestAddressesOfAScan(t *testing.T) {
	on := client.Bus{Properties: bus.Properties{OwnAddress: 0x20, RemoteAddress: 0x40}}
	for name, tt := range map[string]struct {
		flags scanFlags
		count int
		asked []ipmi.Address
		left  []ipmi.Address
	}{
		"usual": {scanFlags{}, 7 + 1 + 16 + 24, []ipmi.Address{0x22, 0x2C, 0x2E, 0x40, 0x70, 0x72, 0x82, 0x8E, 0xB0, 0xC0, 0xDE},
			[]ipmi.Address{0x10, 0x20, 0x30, 0x42, 0x6E, 0x90, 0xA0, 0xAE, 0xE0, 0xEE}},
		"all":        {scanFlags{all: true}, 111, []ipmi.Address{0x10, 0xA0, 0xE0, 0xEE}, []ipmi.Address{0x0E, 0x20, 0xF0}},
		"from":       {scanFlags{from: "E0h"}, 8, []ipmi.Address{0xE0, 0xEE}, []ipmi.Address{0x40, 0xDE, 0xF0}},
		"to":         {scanFlags{to: "0x14"}, 3, []ipmi.Address{0x10, 0x12, 0x14}, []ipmi.Address{0x16, 0x40}},
		"a reserved": {scanFlags{from: "2", to: "4"}, 2, []ipmi.Address{2, 4}, []ipmi.Address{6, 0x40}},
	} {
		got, err := tt.flags.addresses(on)
		if err != nil || len(got) != tt.count {
			t.Errorf("%s: %d addresses %v, %v; want %d", name, len(got), got, err, tt.count)
		}
		for _, a := range tt.asked {
			if !slices.Contains(got, a) {
				t.Errorf("%s: not %v", name, a)
			}
		}
		for _, a := range tt.left {
			if slices.Contains(got, a) {
				t.Errorf("%s: %v", name, a)
			}
		}
	}
}

// A driver of Linux says C3h for a node that does not answer. A node on a bus of our own that
// answers C3h is there.
func TestScanOfNodesThatAnswerC3h(t *testing.T) {
	for transport, want := range map[string]struct{ answers, silent int }{
		"ipmb-dev": {1, 0}, "ipmb-device": {1, 0}, "slave-mqueue": {1, 0}, "seqpacket": {1, 0}, "openipmi": {0, 1},
	} {
		r := newRig(t, bustest.Config{})
		r.bus0.mu.Lock()
		r.bus0.properties.Transport = transport
		r.bus0.mu.Unlock()
		got := r.ipmbctl(t, "scan", "bus0", "--from", "A2h", "--to", "A2h", "--json")
		var document scanJSON
		if err := json.Unmarshal([]byte(got.stdout), &document); err != nil {
			t.Fatalf("%+v: %v", got, err)
		}
		if len(document.Answers) != want.answers || len(document.Silent) != want.silent {
			t.Errorf("%s: %s", transport, got.stdout)
		}
	}
}

// Ask before a scan only if a user can answer.
func TestQuestionBeforeAScan(t *testing.T) {
	for name, tt := range map[string]struct {
		terminal string // the streams that are terminals
		args     []string
		answer   string
		asks     bool
		code     int
	}{
		"yes":                 {"in err", nil, "y\n", true, 0},
		"yes in full":         {"in err", nil, " Yes\n", true, 0},
		"no":                  {"in err", nil, "n\n", true, 1},
		"only the key Enter":  {"in err", nil, "\n", true, 1},
		"end of the input":    {"in err", nil, "", true, 1},
		"--yes":               {"in err", []string{"--yes"}, "", false, 0},
		"-y":                  {"in err", []string{"-y"}, "", false, 0},
		"not from a terminal": {"err", nil, "", false, 0},
		"not to a terminal":   {"in", nil, "", false, 0},
		"JSON":                {"in err", []string{"--json"}, "y\n", true, 0},
	} {
		r := newRig(t, bustest.Config{})
		stdin := io.Reader(strings.NewReader(tt.answer))
		var stdout, stderr strings.Builder
		env := environment{stdin: stdin, stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "dumb" }}
		env.isTerminal = func(stream any) bool {
			return strings.Contains(tt.terminal, "in") && stream == any(stdin) || strings.Contains(tt.terminal, "err") && stream == any(&stderr)
		}
		code := run(t.Context(), append([]string{"--dbus", r.bus.Address, "scan", "bus0"}, tt.args...), env)
		if code != tt.code || strings.Contains(stderr.String(), "Go on? [y/N]") != tt.asks {
			t.Errorf("%s: code %d, %q", name, code, stderr.String())
		}
		if tt.answer == "" && tt.asks && !strings.Contains(stderr.String(), "[y/N] \n") {
			t.Errorf("%s: the answer stands beside the question: %q", name, stderr.String())
		}
		if sent := len(r.bus0.requests) > 0; sent != (tt.code == 0) {
			t.Errorf("%s: sent %v", name, sent)
		}
	}
}

// Ctrl-C ends the question too, although the terminal is still read.
func TestQuestionIsInterrupted(t *testing.T) {
	r := newRig(t, bustest.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	stdin, keyboard := io.Pipe()
	defer keyboard.Close()
	stderr, errs := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--dbus", r.bus.Address, "scan", "bus0"},
			environment{stdin: stdin, stdout: io.Discard, stderr: errs, isTerminal: func(any) bool { return true }}.withDefaults())
		errs.Close()
	}()
	asked := make([]byte, 1)
	_, _ = stderr.Read(asked)
	cancel()
	_, _ = io.Copy(io.Discard, stderr)
	if code := <-ended; code != exitInterrupted {
		t.Errorf("code %d", code)
	}
}

// A scan that ends early shows what it has found, in text and in JSON, and then why it ended.
func TestScanThatEndsEarly(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		r := newRig(t, bustest.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		reached := make(chan struct{})
		r.bus0.hold = func(q ipmb.Request) { // until Ctrl-C, with the addresses before answered
			if q.Responder >= 0xC0 {
				select {
				case <-reached:
				default:
					close(reached)
				}
				<-ctx.Done()
			}
		}
		var stdout, stderr strings.Builder
		args := []string{"--dbus", r.bus.Address, "scan", "bus0"}
		if asJSON {
			args = append(args, "--json")
		}
		go func() { <-reached; cancel() }()
		code := run(ctx, args, environment{stdout: &stdout, stderr: &stderr}.withDefaults())
		if code != exitInterrupted {
			t.Errorf("code %d", code)
		}
		if !asJSON {
			if got := stdout.String(); !strings.Contains(got, "\n2Ch   device 50h") || !strings.Contains(got, "\n72h   C1h") {
				t.Errorf("%q", got)
			}
			if got := stderr.String(); !strings.Contains(got, " without a result\nipmbctl: interrupted\n") {
				t.Errorf("%q", got)
			}
			continue
		}
		var document scanJSON
		if err := json.Unmarshal([]byte(stdout.String()), &document); err != nil || !document.Incomplete || len(document.Answers) < 2 {
			t.Errorf("%s: %v", stdout.String(), err)
		}
		if diff := cmp.Diff(`{"error":{"kind":"interrupted","exitCode":130,"message":"interrupted"}}`+"\n", stderr.String()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestScanAsksOnce(t *testing.T) {
	r := newRig(t, bustest.Config{})
	if got := r.ipmbctl(t, "scan", "bus0", "--all"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for _, q := range r.bus0.requests {
		if q.RetryPolicy.Tries != 1 || !q.FailFast {
			t.Errorf("%+v", q)
		}
	}
}
