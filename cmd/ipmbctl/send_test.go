package main

import (
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// What a Tab offers after the words of send, by samples.
func TestCompletionOfSend(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for line, want := range map[string]struct {
		has, lacks []string
	}{
		"send bus0":                   {[]string{"app", "storage", "group"}, []string{"get-device-id", "bus0"}},
		"send bus0 app":               {[]string{"get-device-id"}, []string{"app", "get-sel-info"}},
		"send bus0 6":                 {[]string{"get-device-id"}, []string{"app"}},
		"send bus0 0x0a":              {[]string{"get-sel-info"}, []string{"app"}},
		"send bus0 0x2c":              {[]string{"app", "storage"}, []string{"get-device-id"}},
		"send bus0 72h":               {[]string{"app"}, nil},
		"send bus0 0x2c storage":      {[]string{"get-sel-info"}, []string{"app"}},
		"send bus0 --addr 0x30":       {[]string{"app"}, nil},
		"send bus0 --addr 0x30 app":   {[]string{"get-device-id"}, []string{"app"}},
		"send bus0 app get-device-id": {nil, []string{"app", "get-device-id"}},
		"send bus0 0x2c app 1":        {nil, []string{"app", "get-device-id"}},
		"send bus0 nonsense":          {nil, []string{"app", "get-device-id"}},
	} {
		got := r.ipmbctl(t, append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		offered := strings.Split(got.stdout, "\n")
		for _, word := range want.has {
			if !slices.Contains(offered, word) {
				t.Errorf("%s: no %q in %q", line, word, offered)
			}
		}
		for _, word := range want.lacks {
			if slices.Contains(offered, word) {
				t.Errorf("%s: %q in %q", line, word, offered)
			}
		}
	}
}

// Both commands of the hint do what they say when a shell runs them.
func TestHintCanBePasted(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for _, words := range []string{"0x30 6 1", "--tries 2 --timeout 1 --lun=1 --fail-fast 0x30 6 1", "0x2c 0 0", "2Eh 6 1 0x57 1 0"} {
		got := r.ipmbctl(t, append([]string{"send", "bus0"}, strings.Fields(words)...)...)
		var hints []string
		for line := range strings.Lines(got.stderr) {
			if _, hint, found := strings.Cut(line, "ipmbctl send "); found && !strings.Contains(line, "--help") {
				hints = append(hints, strings.TrimSpace("ipmbctl send "+hint))
			}
		}
		if len(hints) != 2 || got.code != exitUsage {
			t.Fatalf("%s: %+v", words, got)
		}
		var sent []ipmb.Request
		for _, hint := range hints {
			split, err := exec.Command("sh", "-c", "printf '%s\\n' "+hint).Output() // as a shell reads it
			if err != nil {
				t.Fatal(err)
			}
			if got := ipmbctl(t, environment{}, strings.Split(strings.TrimSpace(string(split)), "\n")[1:]...); got.code == exitUsage {
				t.Fatalf("%s: %+v", hint, got)
			}
			sent = append(sent, r.bus0.last())
		}
		as, n := sent[0], sent[1]
		fields := strings.Fields(words)
		first, _ := parseByte(fields[slices.IndexFunc(fields, isNumberOfAddress)])
		if as.Responder != ipmi.Address(first) || n.Responder != managementEngine || n.NetFn != ipmi.NetFn(first) ||
			as.RetryPolicy != n.RetryPolicy || as.LUN != n.LUN || strings.Contains(words, "--tries") != (as.RetryPolicy.Tries == 2) {
			t.Errorf("%s: %+v and %+v", words, as, n)
		}
	}
}

func TestSendQuietly(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for _, tt := range []struct {
		args string
		want result
	}{
		{"send -q bus0 app get-device-id", result{"50 01 04 00 02 21 57 01 00 0b 0b\n", "", 0}},
		{"send bus0 0x30 1 --quiet", result{"\n\n", "", 0}},
		{"send -q bus0 72h app get-device-id", result{"\n\n", "ipmbctl: bus0 72h: C1h invalid command\n", exitBadCode}},
		{"send -q bus0 0x42 6 1", result{"", "ipmbctl: bus0 42h: nobody acknowledged the request: check the address and the responder's power\n" +
			"  see which addresses answer: ipmbctl scan bus0\n", exitNotAcknowledged}},
	} {
		r.check(t, tt.args, tt.want, strings.Fields(tt.args)...)
	}
	for _, args := range []string{"send -q --json bus0 6 1", "send --keep-going bus0 6 1"} {
		if got := r.ipmbctl(t, strings.Fields(args)...); got.code != exitUsage {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// Requests from standard input.
func TestSendFromInput(t *testing.T) {
	for name, tt := range map[string]struct {
		args, input string
		want        result
	}{
		"in order, with comments and empty lines": {"send - -q", "# requests\n\nbus0 0x30 1 1 # one\n  bus0 0x30 1 2\nbus0 2Ch 0x30 1 3",
			result{"01\n02\n03\n", "", 0}},
		"the words of the command line come first": {"send bus0 2Ch - -q", "0x30 1 1\n0x30 1 2\n", result{"01\n02\n", "", 0}},
		"options of a line": {"send bus0 - -q", "--addr 72h 6 1\n--addr 0 0x30 1 7\n6 1 --lun 1\n",
			result{"\n\n07\n50 01 04 00 02 21 57 01 00 0b 0b\n", "ipmbctl: line 1: bus0 72h: C1h invalid command\n", exitBadCode}},
		"nothing":                            {"send -", "", result{}},
		"a completion code ends nothing":     {"send bus0 - -q", "6 2\n0x30 1 2\n", result{"\n\n02\n", "ipmbctl: line 1: bus0 2Ch: C1h invalid command\n", exitBadCode}},
		"a wrong line ends it":               {"send bus0 - -q", "0x30 1 1\nap 1\n0x30 1 2\n", result{"01\n", "ipmbctl: line 2: no netFn \"ap\"; did you mean app?\n  see 'ipmbctl send --help'\n", exitUsage}},
		"an unknown option":                  {"send bus0 - -q", "--json 6 1\n", result{"", "ipmbctl: line 1: unknown flag: --json\n  see 'ipmbctl send --help'\n", exitUsage}},
		"help":                               {"send bus0 - -q", "--help\n", result{"", "ipmbctl: line 1: a line has no --help\n  see 'ipmbctl send --help'\n", exitUsage}},
		"a wrong LUN":                        {"send bus0 - -q", "6 1 --lun x\n", result{"", "ipmbctl: line 1: --lun does not take \"x\", but: LUN of the responder, 0 to 3\n  see 'ipmbctl send --help'\n", exitUsage}},
		"an unknown bus":                     {"send - -q", "bus7 6 1\n", result{"", "ipmbctl: line 1: no bus \"bus7\"\n  the buses are: bus0, me1\n", exitFailed}},
		"a line without words but an option": {"send - -q", "--lun 1\n", result{"", "ipmbctl: line 1: no bus\n  see 'ipmbctl send --help'\n", exitUsage}},
		"silence ends it": {"send bus0 - -q", "A0h 6 1\n0x30 1 2\n",
			result{"", "ipmbctl: line 1: bus0 A0h: the responder took the request and did not answer in time\n" +
				"  wait longer (--timeout TIME), or see which addresses answer: ipmbctl scan bus0\n", exitTimeout}},
		"but not with --keep-going": {"send bus0 - -q --keep-going", "A0h 6 1\n0x30 1 2\nap 1\n6 2\n",
			result{"02\n\n", "ipmbctl: line 1: bus0 A0h: the responder took the request and did not answer in time\n" +
				"  wait longer (--timeout TIME), or see which addresses answer: ipmbctl scan bus0\n" +
				"ipmbctl: line 3: no netFn \"ap\"; did you mean app?\nipmbctl: line 4: bus0 2Ch: C1h invalid command\n", exitTimeout}},
		"responses are a paragraph each": {"send bus0 -", "0x30 1 1\n0x30 1 2\n", result{"request          2Ch 30h 01h\ncompletion code  00h ok\ndata             01\n\n" +
			"request          2Ch 30h 01h\ncompletion code  00h ok\ndata             02\n", "", 0}},
	} {
		r := newRig(t, bustest.Config{})
		r.env.stdin = strings.NewReader(tt.input)
		r.check(t, name, tt.want, strings.Fields(tt.args)...)
	}
}

// With --json each response is a line, and so is each error.
func TestSendFromInputInJSON(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.env.stdin = strings.NewReader("6 1\n6 2\nA0h 6 1\n6 1\n")
	got := r.ipmbctl(t, "send", "bus0", "-", "--json", "--keep-going")
	var codes []uint8
	for line := range strings.Lines(got.stdout) {
		var document sendJSON
		if err := json.Unmarshal([]byte(line), &document); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		codes = append(codes, document.Code)
	}
	if diff := cmp.Diff([]uint8{0, 0xC1, 0}, codes); diff != "" || got.code != exitTimeout || !json.Valid([]byte(got.stderr)) {
		t.Errorf("%+v\n%s", got, diff)
	}
}

// A response is written before the next line is read, and all requests are of one connection.
func TestSendFromAPipe(t *testing.T) {
	r := newRig(t, bustest.Config{})
	watch := r.watch(t, 1, "bus0", "--json")
	stdin, program := io.Pipe()
	stdout, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--dbus", r.bus.Address, "send", "bus0", "-", "-q"},
			environment{stdin: stdin, stdout: out, stderr: io.Discard}.withDefaults())
	}()
	programs := map[string]bool{}
	for _, data := range []string{"01", "02", "03"} {
		_, _ = io.WriteString(program, "0x30 1 0x"+data+"\n")
		line := make([]byte, 3)
		if _, err := io.ReadFull(stdout, line); err != nil || string(line) != data+"\n" {
			t.Fatalf("%q, %v", line, err)
		}
		for range 2 { // request and response
			watch.lines.Scan()
			var n struct{ Program string }
			if err := json.Unmarshal(watch.lines.Bytes(), &n); err != nil {
				t.Fatal(err)
			}
			programs[n.Program] = true
		}
	}
	if len(programs) != 1 {
		t.Errorf("programs %v", programs)
	}
	cancel() // Ctrl-C ends it although the pipe is open.
	if code := <-ended; code != exitInterrupted {
		t.Errorf("code %d", code)
	}
	program.Close()
}

// The links of this test have no frames; test/e2e has.
func TestSendWithDetails(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for args, want := range map[string]string{
		"send bus0 0x30 1 7 -v": "request          2Ch 30h 01h\ncompletion code  00h ok\ndata             07\n" +
			"frames           not known: the request was not sent, or Linux's driver sent it\nround trip       _\n",
		"send -v bus0 0xA0 6 1":        "frames      not known: the request was not sent, or Linux's driver sent it\nround trip  _\n",
		"send bus0 0x30 1 7 -v --json": `"data":[7],"milliseconds":_,"requestFrame":[],"responseFrame":[],"tries":0}` + "\n",
	} {
		got := r.ipmbctl(t, strings.Fields(args)...)
		text := regexp.MustCompile(`[0-9.]+ ms|"milliseconds":[0-9.]+`).ReplaceAllStringFunc(got.stdout, func(s string) string {
			if strings.HasPrefix(s, `"`) {
				return `"milliseconds":_`
			}
			return "_"
		})
		if !strings.HasSuffix(text, want) {
			t.Errorf("%s: %q, want %q", args, text, want)
		}
	}
	if got := r.ipmbctl(t, "send", "-v", "bus0", "0xA0", "6", "1"); got.code != exitTimeout {
		t.Errorf("%+v", got)
	}
}

// The monitor shows traced requests as others, and their failures.
func TestMonitorShowsTracedRequests(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.watch(t, 1)
	r.ipmbctl(t, "send", "-v", "bus0", "0x30", "0x51", "7")
	r.ipmbctl(t, "send", "-v", "bus0", "0xA0", "6", "1")
	w.expect(t,
		"_  bus0   -> 2Ch  30h 51h  07",
		"_  bus0   <- 2Ch  30h 51h  00h ok  07  (_)",
		"_  bus0   -> A0h  app get-device-id",
		"_  bus0   -- A0h  app get-device-id  the responder took the request and did not answer in time  (_)",
	)
}
