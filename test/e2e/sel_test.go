package e2e

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"ipmbd/bmc"
	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
)

// ipmbctl runs the command line tool and returns its output, of both kinds.
// Times are TIME.
func ipmbctl(t testing.TB, address string, args ...string) (text string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, append([]string{"--bus", address}, args...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return moments.ReplaceAllString(string(out), "TIME"), code
}

var moments = regexp.MustCompile(`20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ`)

// prints fails a test whose command prints something else.
func prints(t testing.TB, address, args, want string) {
	t.Helper()
	got, code := ipmbctl(t, address, strings.Fields(args)...)
	if want = strings.TrimPrefix(want, "\n"); got != want || code != 0 {
		t.Errorf("ipmbctl %s: exit status %d\n%swant\n%s", args, code, got, want)
	}
}

// controller makes a responder of a handler.
func controller(h ipmi.Handler) responder {
	return func(asked packet, send func(packet)) {
		res, err := ipmi.Do(context.Background(), h, &ipmi.Request{
			Requester: ipmi.Address(asked.from), NetFn: ipmi.NetFn(asked.netFn), Command: ipmi.Command(asked.cmd), Data: asked.data})
		if err != nil {
			res = ipmi.Response{Code: ipmi.CodeOf(err)}
		}
		send(asked.answer(byte(res.Code), res.Data...))
	}
}

// The panic that Linux 6.1 sent for "sysrq triggered crash", as its host's
// requests.
var panicRecords = []string{
	"0000 02 00000000 4100 03 20 73 6F A1 79 73",
	"0000 F0 20 00 7379737271207472696767",
	"0000 F0 20 01 6572656420637261736800",
}

func TestEventLogOfAController(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	satellite, err := bmc.Open(bmc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	n.respond(0x2C, controller(satellite))
	start(t, bus.Address, channels(channel(n, nil)))
	for _, text := range panicRecords {
		record, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		req := &ipmi.Request{NetFn: ipmi.NetFnStorage, Command: 0x44, Data: record}
		if res, err := ipmi.Do(t.Context(), satellite, req); err != nil || res.Code != 0 {
			t.Fatal(res, err)
		}
	}
	prints(t, bus.Address, "sel list bus5", `
ID     TIME                  SENDER  EVENT
0001h  TIME  20h     Linux panic: sysrq triggered crash
`)
	prints(t, bus.Address, "sel info bus5 2Ch", `
log            bus5 2Ch
version        1.5
records        3
free           65488 bytes
last addition  TIME
last erasure   no time
overflow       no
operations     get allocation information, reserve, add in parts, delete
`)
	prints(t, bus.Address, "sel clear bus5", "3 records erased from the log of bus5 2Ch\n")
	prints(t, bus.Address, "sel list bus5", "ipmbctl: the log of bus5 2Ch is empty\n")
}

func TestEventLogOfTheDaemon(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, object{"handler": "bmc", "ipmi-channel": 6})))
	for i := range byte(3) {
		if code := n.code(t, fan(i, 0x30+i)); code != 0 {
			t.Fatalf("event %d: %02Xh", i, code)
		}
	}
	prints(t, bus.Address, "sel list", `
ID     TIME                  SENDER         EVENT
0001h  TIME  2Ch channel 6  temperature 30h: upper non-critical going high asserted, reading 60h, threshold 5Fh
0002h  TIME  2Ch channel 6  temperature 31h: upper non-critical going high asserted, reading 60h, threshold 5Fh
0003h  TIME  2Ch channel 6  temperature 32h: upper non-critical going high asserted, reading 60h, threshold 5Fh
`)
	prints(t, bus.Address, "sel clear", "3 records erased from the log of ipmbd\n")
	prints(t, bus.Address, "sel list", "ipmbctl: the log of ipmbd is empty\n")
}

// A responder whose log has no end gets an error.
func TestEventLogWithoutAnEnd(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, func(asked packet, send func(packet)) {
		if asked.cmd == 0x43 {
			send(asked.answer(0, append([]byte{1, 0, 1, 0, 2}, make([]byte, 13)...)...))
			return
		}
		send(asked.answer(0, append([]byte{0x51, 1}, make([]byte, 12)...)...))
	})
	start(t, bus.Address, channels(channel(n, nil)))
	got, code := ipmbctl(t, bus.Address, "sel", "list", "bus5")
	if want := "ipmbctl: bus5 2Ch: after 1 record: the log is malformed: record 0001h comes again, at place 2\n"; !strings.HasSuffix(got, want) || code != 1 {
		t.Errorf("%d, %s", code, got)
	}
}

// send -v shows the frames that were on the bus, and how often the request was.
func TestFramesOfARequest(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	asked := 0
	n.respond(0x2C, func(p packet, send func(packet)) {
		if asked++; asked > 1 { // The first request is lost.
			send(p.answer(0, 0x55))
		}
	})
	start(t, bus.Address, channels(channel(n, nil)))
	got, code := ipmbctl(t, bus.Address, "send", "-v", "bus5", "0x2c", "0x30", "1", "0xAA")
	for _, want := range []string{`request frame    2c c0 14 20 [0-9a-f]{2} 01 aa [0-9a-f]{2}\n`, `response frame   20 c4 1c 2c [0-9a-f]{2} 01 00 55 [0-9a-f]{2}\n`,
		`tries            2\n`, `round trip       [0-9.]+ ms\n`} {
		if !regexp.MustCompile(want).MatchString(got) || code != 0 {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	got, code = ipmbctl(t, bus.Address, "send", "-v", "bus5", "0x42", "6", "1", "--timeout", "0.05", "--tries", "3")
	if !strings.Contains(got, "request frame  42 18 a6 20 ") || !strings.Contains(got, "tries          3\n") || code != 4 {
		t.Errorf("%d, %s", code, got)
	}
}
