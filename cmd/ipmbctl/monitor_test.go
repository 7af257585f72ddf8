package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
)

// watcher is a command that goes on until it is stopped.
type watcher struct {
	lines  *bufio.Scanner // of standard output
	notes  []string       // on standard error, up to the time it watches
	stderr chan string    // lines after those
	stop   context.CancelFunc
	ended  chan int
}

func (r *rig) watch(t *testing.T, notes int, args ...string) *watcher {
	t.Helper()
	return r.begin(t, notes, append([]string{"monitor"}, args...)...)
}

// begin starts a command and waits for as many lines on standard error.
func (r *rig) begin(t *testing.T, notes int, args ...string) *watcher {
	t.Helper()
	stdout, out := io.Pipe()
	stderr, errs := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	w := &watcher{lines: bufio.NewScanner(stdout), stderr: make(chan string, 1000), stop: stop, ended: make(chan int, 1)}
	go func() {
		w.ended <- run(ctx, append([]string{"--dbus", r.bus.Address}, args...), environment{stdout: out, stderr: errs}.withDefaults())
		out.Close()
		errs.Close()
	}()
	var complaints sync.WaitGroup
	complaints.Go(func() {
		defer close(w.stderr)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			w.stderr <- lines.Text()
		}
	})
	for range notes {
		w.notes = append(w.notes, <-w.stderr)
	}
	t.Cleanup(func() {
		stop()
		_, _ = io.Copy(io.Discard, stdout)
		complaints.Wait()
	})
	return w
}

// varying matches the values that differ from run to run: times and D-Bus names.
var varying = regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3}|\d+\.\d ms|"time":"[^"]+"|"milliseconds":[0-9.]+|":1\.\d+"`)

// expect compares the next lines, with times and names left blank.
func (w *watcher) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, line := range want {
		w.lines.Scan()
		if diff := cmp.Diff(line, varying.ReplaceAllString(w.lines.Text(), "_")); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMonitorIsALineForEachMessage(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.watch(t, 1)
	if diff := cmp.Diff([]string{"ipmbctl: watching all buses; Ctrl-C ends it"}, w.notes); diff != "" {
		t.Error(diff)
	}
	r.ipmbctl(t, "send", "bus0", "--lun", "1", "0x30", "0x51", "7")
	r.ipmbctl(t, "send", "bus0", "72h", "app", "get-device-id")
	r.ipmbctl(t, "send", "bus0", "0xA0", "6", "1")
	r.ipmbctl(t, "send", "bus0", "72h", "app", "set-user-password", "1")
	w.expect(t,
		"_  bus0   -> 2Ch  30h 51h  LUN 1  07",
		"_  bus0   <- 2Ch  30h 51h  LUN 1  00h ok  07  (_)",
		"_  bus0   -> 72h  app get-device-id",
		"_  bus0   <- 72h  app get-device-id  C1h invalid command  (_)",
		"_  bus0   -> A0h  app get-device-id",
		"_  bus0   -- A0h  app get-device-id  the responder took the request and did not answer in time  (_)",
		"_  bus0   -> 72h  app set-user-password  (data not shown)",
		"_  bus0   <- 72h  app set-user-password  C1h invalid command  (data not shown)  (_)",
	)
	w.stop()
	if code := <-w.ended; code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestMonitorShowsRequestsOfNodes(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.watch(t, 1)
	r.receive(t)
	w.expect(t, "_  bus0   <- 2Ch  app get-device-id  03")
}

// receive lets a request come in on bus0.
func (r *rig) receive(t *testing.T) {
	t.Helper()
	nobody := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{}, ipmi.ErrNoHandler
	})
	request := &ipmi.Request{Requester: 0x2C, NetFn: 6, Command: 1, Data: []byte{3}}
	if _, err := ipmi.Do(t.Context(), r.object.Announce(nobody), request); !errors.Is(err, ipmi.ErrNoHandler) {
		t.Fatal(err)
	}
}

func TestMonitorInJSON(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.watch(t, 1, "--json")
	r.ipmbctl(t, "send", "bus0", "0x30", "0x51", "7")
	r.ipmbctl(t, "send", "bus0", "0xA0", "6", "1")
	w.expect(t,
		`{_,"kind":"request","bus":"bus0","incoming":false,"node":44,"netFn":48,"lun":0,"command":81,"name":"30h 51h","data":[7],"program":_}`,
		`{_,"kind":"answer","bus":"bus0","incoming":false,"node":44,"netFn":48,"lun":0,"command":81,"name":"30h 51h","completionCode":0,"meaning":"ok","data":[7],_,"program":_}`,
		`{_,"kind":"request","bus":"bus0","incoming":false,"node":160,"netFn":6,"lun":0,"command":1,"name":"app get-device-id","data":[],"program":_}`,
		`{_,"kind":"failure","bus":"bus0","incoming":false,"node":160,"netFn":6,"lun":0,"command":1,"name":"app get-device-id","data":[],"reason":"the responder took the request and did not answer in time",_,"program":_}`,
	)
	if !json.Valid(w.lines.Bytes()) {
		t.Errorf("invalid: %s", w.lines.Text())
	}
}

func TestMonitorOfSomeBuses(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.watch(t, 1, "me1")
	if w.notes[0] != "ipmbctl: watching me1; Ctrl-C ends it" {
		t.Error(w.notes)
	}
	r.ipmbctl(t, "send", "bus0", "6", "1")
	r.ipmbctl(t, "send", "me1", "6", "1")
	w.expect(t, "_  me1    -> 72h  app get-device-id")
}

func TestMonitorWithoutTheRight(t *testing.T) {
	r := newRig(t, denying(t, "org.freedesktop.DBus.Monitoring"))
	w := r.watch(t, 2)
	if !strings.Contains(w.notes[1], "only requests from nodes are shown") {
		t.Error(w.notes)
	}
	r.ipmbctl(t, "send", "bus0", "6", "1")
	r.receive(t)
	w.expect(t, "_  bus0   <- 2Ch  app get-device-id  03")
}

func TestMonitorSaysThatTheServiceStopped(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.watch(t, 1, "me1")
	if err := r.server.ReleaseNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "_  ipmbd has stopped")
	if err := r.server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "_  ipmbd has started")
}

func TestMonitorFailsWithTheMessageBus(t *testing.T) {
	r := newRig(t, bustest.Config{})
	w := r.watch(t, 1)
	r.bus.Stop()
	if code := <-w.ended; code != exitNotRunning {
		t.Errorf("code %d", code)
	}
}

// head reads a line and leaves.
func TestMonitorEndsWithItsReader(t *testing.T) {
	a := &app{environment: environment{isTerminal: func(any) bool { return false }}, out: &output{w: failingWriter{syscall.EPIPE}}}
	if err := a.showNotice(client.Notice{}); !errors.Is(err, syscall.EPIPE) || a.exitCode(nil, err) != exitFailed {
		t.Errorf("error = %v", err)
	}
}

func TestEventsOfOtherKinds(t *testing.T) {
	for want, event := range map[string]client.Notice{
		"5 messages lost: ipmbctl was too slow":                         {Kind: client.MessagesLost, Lost: 5},
		"ipmbd has stopped":                                             {Kind: client.ServiceStopped},
		"ipmbd has started":                                             {Kind: client.ServiceStarted},
		"?      -> 2Ch  app get-device-id  00h ok  01  (2.5 ms)":        {Kind: client.ResponseSeen, Incoming: true, Node: 0x2C, NetFn: 6, Command: 1, Data: []byte{1}, Took: 2500 * time.Microsecond},
		"bus0   -- 2Ch  app get-device-id  ServiceUnknown  (1000.0 ms)": {Kind: client.FailureSeen, Incoming: true, Bus: "bus0", Node: 0x2C, NetFn: 6, Command: 1, Reason: "ServiceUnknown", Took: time.Second},
		"bus0   -> all  30h 01h  02":                                    {Bus: "bus0", NetFn: 0x30, Command: 1, Data: []byte{2}},
	} {
		if got := noticeText(false, event); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	text, err := json.Marshal(newNoticeJSON(client.Notice{Kind: client.MessagesLost, Lost: 5}))
	if want := `{"time":"0001-01-01T00:00:00Z","kind":"lost","lost":5}`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}
