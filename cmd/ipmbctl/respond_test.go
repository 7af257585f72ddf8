package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
)

// ask serves a request of a node and returns the response.
func (r *rig) ask(t *testing.T, n ipmi.NetFn, cmd ipmi.Command, data ...byte) ipmi.Response {
	t.Helper()
	response, err := ipmi.Do(t.Context(), r.mux, &ipmi.Request{
		Interface: "bus0", Channel: 0, Requester: managementEngine, NetFn: n, LUN: 1, Command: cmd, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// owners lists the programs that have registered handlers, in order.
func (r *rig) owners(t *testing.T) []string {
	t.Helper()
	ipmbd, err := client.Open(t.Context(), r.bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer ipmbd.Close()
	handlers, err := ipmbd.Handlers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var owners []string
	for _, h := range handlers {
		owners = append(owners, h.Owner)
	}
	return owners
}

// wantAnswer compares a response.
func wantAnswer(t *testing.T, got ipmi.Response, code ipmi.CompletionCode, data ...byte) {
	t.Helper()
	if got.Code != code || string(got.Data) != string(data) {
		t.Errorf("answer %v % x, want %v % x", got.Code, got.Data, code, data)
	}
}

func TestRespondWithTheSameAnswer(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "respond", "--code", "80h", "0x30", "all", "0x20", "1", "0Bh")
	if diff := cmp.Diff([]string{"ipmbctl: answering 30h all commands on all channels; Ctrl-C ends it"}, w.notes); diff != "" {
		t.Error(diff)
	}
	wantAnswer(t, r.ask(t, 0x30, 0x11, 1, 2), 0x80, 0x20, 1, 0x0B)
	w.expect(t, "_  bus0   <- 2Ch  30h 11h  LUN 1  01 02  -> 80h command-specific code  20 01 0b")
	w.stop()
	if code := <-w.ended; code != 0 {
		t.Errorf("code %d", code)
	}
	if got := r.owners(t); len(got) != 0 {
		t.Errorf("handlers are left: %v", got)
	}
}

func TestRespondToChannelsAndGroups(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.begin(t, 1, "respond", "--group", "DCh", "0x2C", "1", "0xDC", "1")
	r.begin(t, 1, "respond", "--iana", "0x157", "oem", "all", "0x57", "1", "0")
	r.begin(t, 1, "respond", "--channels", "6,0", "app", "1", "7")
	wantAnswer(t, r.ask(t, 0x2C, 1, 0xDC), 0, 0xDC, 1)
	wantAnswer(t, r.ask(t, 0x2E, 5, 0x57, 1, 0), 0, 0x57, 1, 0)
	wantAnswer(t, r.ask(t, 6, 1), 0, 7)
	for name, req := range map[string]*ipmi.Request{
		"another group":   {NetFn: 0x2C, Command: 1, Data: []byte{3}},
		"another IANA":    {NetFn: 0x2E, Command: 5, Data: []byte{0x58, 1, 0}},
		"another channel": {NetFn: 6, Command: 1, Channel: 1},
	} {
		if _, err := ipmi.Do(t.Context(), r.mux, req); !errors.Is(err, ipmi.ErrNoHandler) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRespondShowsRequestsInOrder(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "respond", "0x30", "1")
	const requests = 100
	var lines []string
	for i := range byte(requests) {
		r.mux.ServeIPMI(&ipmi.Request{Interface: "bus0", Requester: managementEngine, NetFn: 0x30, Command: 1, Data: []byte{i}},
			ipmi.ReplyFunc(func(ipmi.Response, error) bool { return true }))
		lines = append(lines, fmt.Sprintf("_  bus0   <- 2Ch  30h 01h  %02x  -> 00h ok", i))
	}
	w.expect(t, lines...)
}

func TestRespondInJSON(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "respond", "--json", "0x30", "1", "7")
	r.ask(t, 0x30, 1, 2)
	w.expect(t, `{_,"kind":"answered","bus":"bus0","channel":0,"requester":44,"netFn":48,"lun":1,"command":1,"name":"30h 01h","requestData":[2],"completionCode":0,"meaning":"ok","data":[7]}`)
	if !json.Valid(w.lines.Bytes()) {
		t.Errorf("invalid: %s", w.lines.Text())
	}
}

func TestRespondQuietly(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "respond", "-q", "0x30", "1")
	wantAnswer(t, r.ask(t, 0x30, 1), 0)
	_ = r.server.Close()
	r.start(t)
	w.stop()
	if w.lines.Scan() {
		t.Errorf("shown: %s", w.lines.Text())
	}
}

func TestRespondKeepsSecrets(t *testing.T) {
	request := &ipmi.Request{Interface: "bus0", NetFn: 6, Command: 0x47, Data: []byte("secret")}
	response := ipmi.Response{Data: []byte("secret")}
	if got, want := respondText(false, request, response), "bus0   <- host  app set-user-password  (data not shown)  -> 00h ok"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	document := newRespondJSON(time.Time{}, request, response)
	if len(document.Request) != 0 || len(document.Data) != 0 || !document.Secret {
		t.Errorf("%+v", document)
	}
}

func TestRespondIsRefused(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.begin(t, 1, "respond", "0x30", "1")
	r.ipmbctl(t, "respond", "0x30", "all").want(t, 6, fmt.Sprintf(`
ipmbctl: 30h all commands on all channels overlaps 30h 01h on all channels, which %s (process %d) serves
  see the handlers: ipmbctl handlers
`, r.owners(t)[0], os.Getpid()))
}

func TestRespondGoesOnAfterARestart(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "respond", "0x30", "1", "7")
	wantAnswer(t, r.ask(t, 0x30, 1), 0, 7)
	_ = r.server.Close()
	w.expect(t, "_  bus0   <- 2Ch  30h 01h  LUN 1  -> 00h ok  07", "_  ipmbd has stopped")
	r.start(t)
	w.expect(t, "_  ipmbd has started")
	wantAnswer(t, r.ask(t, 0x30, 1), 0, 7)
	w.expect(t, "_  bus0   <- 2Ch  30h 01h  LUN 1  -> 00h ok  07")
}

func TestRespondFailsWithTheMessageBus(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "respond", "0x30", "1")
	r.bus.Stop()
	if code := <-w.ended; code != exitNotRunning {
		t.Errorf("code %d", code)
	}
}

// A terminal that has been stopped delays no response. Each line is shown or counted.
func TestRespondWhileNobodyReads(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.begin(t, 1, "respond", "--json", "0x30", "1")
	const requests = maxLines + 50
	for range requests {
		wantAnswer(t, r.ask(t, 0x30, 1), 0)
	}
	shown, lost := 0, 0
	for shown+lost < requests && w.lines.Scan() {
		var line struct {
			Kind string
			Lost int
		}
		if err := json.Unmarshal(w.lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Kind == "answered" {
			shown++
		}
		lost += line.Lost
	}
	if shown < maxLines || shown+lost != requests {
		t.Errorf("%d shown, %d lost", shown, lost)
	}
}

// When the reader of standard output leaves, the request has its response, and the program ends.
func TestRespondEndsWithItsReader(t *testing.T) {
	r := newRig(t, bustest.Config{})
	ready, stderr := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(t.Context(), []string{"respond", "0x30", "1", "--dbus", r.bus.Address}, environment{stdout: failingWriter{syscall.EPIPE}, stderr: stderr}.withDefaults())
	}()
	_, _ = ready.Read(make([]byte, 100))
	wantAnswer(t, r.ask(t, 0x30, 1), 0)
	if code := <-ended; code != 1 {
		t.Errorf("code %d", code)
	}
}

// A program of the shell responds, well and badly.
func TestRespondWithAProgram(t *testing.T) {
	r := newRig(t, bustest.Config{})
	script := t.TempDir() + "/answer.sh"
	text := `#!/bin/sh
read -r data
case $IPMI_CMD in
01) echo "00 $IPMI_NETFN $IPMI_CMD $IPMI_REQUESTER" ; echo "0$IPMI_LUN 0$IPMI_CHANNEL $data" ;;
02) echo "$IPMI_INTERFACE is not mine" >&2 ; echo c1 ;;
03) exit 3 ;;
04) echo nonsense ;;
05) ;;
esac
`
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	w := r.begin(t, 1, "respond", "0x30", "all", "--exec", script)
	wantAnswer(t, r.ask(t, 0x30, 1, 0xAB, 0xCD), 0, 0x30, 1, 0x2C, 1, 0, 0xAB, 0xCD)
	w.expect(t, "_  bus0   <- 2Ch  30h 01h  LUN 1  ab cd  -> 00h ok  30 01 2c 01 00 ab cd")
	for cmd, want := range map[ipmi.Command]struct {
		code   ipmi.CompletionCode
		stderr string
	}{
		2: {ipmi.CodeInvalidCommand, "bus0 is not mine"},
		3: {ipmi.CodeUnspecified, "ipmbctl: " + script + ": exit status 3"},
		4: {ipmi.CodeUnspecified, "ipmbctl: " + script + `: printed "nonsense"; write each byte in two hex digits: 00 2c`},
		5: {ipmi.CodeUnspecified, "ipmbctl: " + script + ": printed nothing; the first word must be the completion code: 00"},
	} {
		wantAnswer(t, r.ask(t, 0x30, cmd), want.code)
		if got := <-w.stderr; got != want.stderr {
			t.Errorf("command %d: %q", cmd, got)
		}
		w.expect(t, fmt.Sprintf("_  bus0   <- 2Ch  30h %02Xh  LUN 1  -> %v", uint8(cmd), want.code))
	}
}

func TestWordsOfRespond(t *testing.T) {
	for words, want := range map[string]struct {
		flags    respondFlags
		patterns string
		answer   ipmi.Response
	}{
		"app get-device-id":     {respondFlags{}, "app get-device-id on all channels", ipmi.Response{Data: []byte{}}},
		"6 1 0x20 07h 9":        {respondFlags{}, "app get-device-id on all channels", ipmi.Response{Data: []byte{0x20, 7, 9}}},
		"chassis all":           {respondFlags{code: "C1h"}, "chassis all commands on all channels", ipmi.Response{Code: 0xC1, Data: []byte{}}},
		"0x30 1 2 all":          {respondFlags{exec: "x", channels: "7,0"}, "30h 01h on channels 0, 7, 30h 02h on channels 0, 7, 30h all commands on channels 0, 7", ipmi.Response{}},
		"group 1":               {respondFlags{exec: "x", group: "DCh", timeout: time.Second}, "group DCh 01h on all channels", ipmi.Response{}},
		"oem 1":                 {respondFlags{exec: "x", iana: "343"}, "oem IANA 343 01h on all channels", ipmi.Response{}},
		"oem all":               {respondFlags{exec: "x", iana: "FFFFFFh", channels: "15"}, "oem IANA 16777215 all commands on channel 15", ipmi.Response{}},
		"app cold-reset 3 0x47": {respondFlags{exec: "x"}, "app cold-reset on all channels, app warm-reset on all channels, app set-user-password on all channels", ipmi.Response{}},
	} {
		patterns, answer, err := want.flags.parse(strings.Fields(words))
		if err != nil {
			t.Errorf("%s: %v", words, err)
			continue
		}
		if got := patternsText(patterns); got != want.patterns {
			t.Errorf("%s: %s", words, got)
		}
		if diff := cmp.Diff(want.answer, answer); diff != "" {
			t.Errorf("%s: %s", words, diff)
		}
	}
}

func TestWordsThatAreNoRespond(t *testing.T) {
	for _, tt := range []struct {
		words string
		flags respondFlags
		want  string
	}{
		{"", respondFlags{}, "no network function and no command"},
		{"app", respondFlags{}, "no command after network function app"},
		{"ap 1", respondFlags{}, `no netFn "ap"; did you mean app?`},
		{"app cold", respondFlags{}, `app has no command "cold"`},
		{"app 1 20 de", respondFlags{}, `data byte 2: "de" is no number; write it 0xde`},
		{"app 1 cold", respondFlags{exec: "x"}, `app has no command "cold"`},
		{"app 1", respondFlags{code: "300"}, `--code: "300" is no byte`},
		{"app 1", respondFlags{code: "0", exec: "x"}, "--code and --exec: the program says the completion code"},
		{"app 1", respondFlags{timeout: time.Second}, "--timeout is for --exec"},
		{"app 1", respondFlags{timeout: 6 * time.Second, exec: "x"}, "--timeout is 10ms to 5s: ipmbd waits no longer"},
		{"app 1", respondFlags{channels: "0,"}, `--channels: "" is no byte`},
		{"app 1", respondFlags{channels: "16"}, "--channels: channels are 0 to 15"},
		{"app 1", respondFlags{group: "DCh"}, "--group is for network function 2Ch, not app"},
		{"group 1", respondFlags{iana: "343"}, "--iana is for network function 2Eh, not group"},
		{"group 1", respondFlags{group: "0x100"}, `--group: "0x100" is no byte`},
		{"oem 1", respondFlags{iana: "0x1000000"}, `--iana: "0x1000000" is no number up to FFFFFFh`},
	} {
		_, _, err := tt.flags.parse(strings.Fields(tt.words))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %q", tt.words, err, tt.want)
		} else if !errors.As(err, new(usageError)) {
			t.Errorf("%q: %v is no usage error", tt.words, err)
		}
	}
}
