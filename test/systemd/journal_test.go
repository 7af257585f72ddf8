package systemd

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"ipmbd/ipmb"
	"ipmbd/test/hostd"
)

// entry is one of the journal, by its fields.
type entry map[string]string

// journal are the entries of the service that have a field of a value.
func (l *lab) journal(field, value string) (entries []entry) {
	l.t.Helper()
	said := l.run("journalctl", "--no-pager", "-o", "json", "-u", service, field+"="+value)
	for line := range strings.Lines(said) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			l.t.Fatalf("%v: %s", err, line)
		}
		texts := make(entry)
		for name, value := range e {
			texts[name], _ = value.(string)
		}
		entries = append(entries, texts)
	}
	return entries
}

// stands is how many that are alike an entry stands for.
func (e entry) stands(t testing.TB) int {
	t.Helper()
	repeated, ok := e["REPEATED"]
	if !ok {
		return 1
	}
	n, err := strconv.Atoi(repeated)
	if err != nil {
		t.Error(err)
	}
	return n
}

// fail has requests from the bus that the host daemon fails to serve.
func (l *lab) fail(requests int) {
	l.t.Helper()
	ways := l.node.asks(l.t, func(i int) (ipmb.Frame, bool) {
		return ipmb.Frame{NetFn: hostd.NetFn, Command: hostd.CommandDBusError, Data: []byte{byte(i), byte(i >> 8)}}, i < requests
	}, func(_, answer ipmb.Frame) string { return answer.Code.String() })
	if ways["FFh unspecified error"] != requests || len(ways) != 1 {
		l.t.Errorf("the answers: %v", ways)
	}
}

func TestJournal(t *testing.T) {
	l := startHosted(t)
	l.run("systemctl", "start", service)
	l.fail(1)
	var entries []entry
	eventually(t, "the request is in the journal", func() bool {
		entries = l.journal("CMD", "10h")
		return len(entries) > 0
	})
	e := entries[0]
	for field, want := range map[string]string{
		"BUS": "bus0", "ADDR": "2Ch", "NETFN": "30h", "CMD": "10h", "SEQ": "00h", "CC": "FFh unspecified error",
		"PRIORITY": "4", "SYSLOG_IDENTIFIER": "ipmbd", "_SYSTEMD_UNIT": service,
	} {
		if e[field] != want {
			t.Errorf("%s=%s, want %s", field, e[field], want)
		}
	}
	if want := "request not served: addr=2Ch bus=bus0 cc="; !strings.HasPrefix(e["MESSAGE"], want) || !strings.Contains(e["MESSAGE"], hostd.ErrorName) {
		t.Errorf("MESSAGE=%s, want %s... with the error", e["MESSAGE"], want)
	}
	if state := l.journal("STATE", "Up"); len(state) != 1 || state[0]["BUS"] != "bus0" || state[0]["PRIORITY"] != "6" {
		t.Errorf("that the bus is Up: %v", state)
	}
}

// A bus whose requests all fail and one that goes as soon as it comes log the same lines again and
// again.
func TestStormInTheJournal(t *testing.T) {
	l := startHosted(t, files{configPath: configOf(channel(0, ""), channel(1, ""))})
	dying, err := net.Listen("unixpacket", l.path("/run/lab/bus1"))
	if err != nil {
		t.Fatal(err)
	}
	defer dying.Close()
	go func() {
		for conn, err := dying.Accept(); err == nil; conn, err = dying.Accept() {
			conn.Close()
		}
	}()
	begin := time.Now()
	l.run("systemctl", "start", service)
	const failing = 2000
	l.fail(failing)
	var lines []entry
	eventually(t, "all are in the journal", func() bool {
		lines = l.journal("CMD", "10h")
		stand := 0
		for _, e := range lines {
			stand += e.stands(t)
		}
		if stand > failing {
			t.Fatalf("%d requests are %d in the journal", failing, stand)
		}
		return stand == failing
	})
	t.Logf("%d requests that failed are %d lines", failing, len(lines))
	states := map[string]int{}
	for _, e := range l.journal("BUS", "bus1") {
		states[e["STATE"]]++
	}
	t.Logf("a bus that goes as it comes: %v lines", states)
	// No second of a kind comes before its second is over.
	atMost := 1 + int(time.Since(begin)/time.Second)
	for kind, count := range map[string]int{"failed requests": len(lines), "Up": states["Up"], "Down": states["Down"]} {
		if count > atMost || count == 0 {
			t.Errorf("%d lines of %s in %v", count, kind, time.Since(begin))
		}
	}
}
