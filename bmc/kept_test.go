package bmc

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/bridge"
	"ipmbd/internal/manual"
	"ipmbd/ipmi"
)

// value is a value of the BMC, or of the bridge in front of it.
type value struct {
	name    string
	section string   // of IPMI v2.0
	set     []string // steps that set it, see keeper.step
	get     string   // the request that reads it
	first   string   // the answer at first; a dot stands for a digit that does not matter
	second  string   // the answer after set
	after   fate
}

// fate is the answer after each event: stays, ends, or another one.
type fate struct{ expiry, cold, reset, watchdog, itself, restart string }

const (
	stays = "stays" // as set
	ends  = "ends"  // as at first
)

// What becomes of values, by the words of the standard.
var (
	nonVolatile  = fate{stays, stays, stays, stays, stays, stays}
	semiVolatile = fate{stays, ends, stays, stays, stays, stays} // until a Cold Reset
	volatile     = fate{stays, ends, stays, stays, stays, ends}  // and until ipmbd ends
	ofSoftware   = fate{stays, ends, ends, ends, ends, ends}     // volatile, and ends with the software of the host
)

// events are what may end values, with the ways to cause each, which have the same effect.
var events = []struct {
	name string
	ways [][]string // as value.set
	of   func(fate) string
}{
	{"expiry", [][]string{{"initialize", "start", "wait 10s"}}, func(f fate) string { return f.expiry }},
	{"Cold Reset", [][]string{{"app 02"}}, func(f fate) string { return f.cold }},
	{"command", [][]string{{"chassis 02 03"}, {"chassis 02 02"}}, func(f fate) string { return f.reset }},
	{"watchdog", [][]string{{"second 24 04 01 00 00 0100", "second 22", "wait 1s"}}, func(f fate) string { return f.watchdog }},
	{"itself", [][]string{{"HostReset"}, {"HostGone"}}, func(f fate) string { return f.itself }},
	{"restart", [][]string{{"restart"}}, func(f fate) string { return f.restart }},
}

const aRecord = "storage 44 FFFF 02 00000000 2000 04 01 30 01 57 60 5F"

// kept are all values, in the order of the sections.
var kept = []value{
	{"GUID, if it is random", "20.8", nil, "app 08", "", "", nonVolatile},
	{"ACPI power states", "20.6", []string{"app 06 80 81"}, "app 07", "00 2A 2A", "00 00 01", volatile},

	{"global enables", "22.1", []string{"app 2E 0F"}, "app 2F", "00 08", "00 0F", ofSoftware},
	{"event message buffer", "22.8", []string{"app 2E 0C", "sensor 02 41 04 01 30 01 57 60 5F"}, "app 31", "00 00", "00 02", ofSoftware},
	{"system info: set in progress", "22.14a", []string{"app 58 00 01"}, "app 59 00 00 00 00", "00 11 00", "00 11 01", ofSoftware},
	infoValue(1, "system firmware version", nonVolatile),
	infoValue(2, "system name", nonVolatile),
	infoValue(3, "primary operating system", nonVolatile),
	infoValue(4, "operating system", ofSoftware),
	infoValue(5, "version of the operating system", ofSoftware),
	infoValue(6, "URL of the BMC", nonVolatile),
	infoValue(7, "URL of the operating system", ofSoftware),
	{"access of users", "22.26", []string{"app 43 91 02 04"}, "app 44 01 02", "00 0A .. 01 0F", "00 0A .. 01 14", nonVolatile},
	{"names of users", "22.28", []string{"app 45 02 41000000000000000000000000000000"}, "app 46 02",
		"00 00000000000000000000000000000000", "00 41000000000000000000000000000000", nonVolatile},
	{"enabled users", "22.30", []string{"app 47 02 01"}, "app 44 01 02", "00 0A 80 01 ..", "00 0A 41 01 ..", nonVolatile},
	{"passwords", "22.30", []string{"app 47 02 02 41000000000000000000000000000000", "wait 1m"},
		"app 47 02 03 41000000000000000000000000000000", "80", "00", nonVolatile},

	{"LAN: set in progress", "23.1", []string{"transport 01 01 00 01"}, "transport 02 01 00 00 00", "00 11 00", "00 11 01", ofSoftware},
	lanValue(3, "C0A80102"), lanValue(4, "01"), lanValue(5, "020000000001"), lanValue(6, "FFFFFF00"), lanValue(7, "204010"),
	lanValue(8, "0102"), lanValue(9, "0102"), lanValue(10, "03"), lanValue(11, "05"), lanValue(12, "C0A80101"),
	lanValue(13, "020000000001"), lanValue(14, "C0A80101"), lanValue(15, "020000000001"),
	lanValue(16, "736563726574000000000000000000000000"), lanValue(20, "0580"), lanValue(21, "07"),
	lanValue(24, "000100000000000000"), lanValue(26, "010300000000"),

	{"watchdog: use, actions, times", "27.6", []string{"app 24 05 00 01 00 1400"}, "app 25",
		"00 00 00 00 .. 0000 ....", "00 05 00 01 .. 1400 ....", fate{stays, ends, stays, stays, stays, ends}},
	{"watchdog: running", "27.7", []string{"app 24 04 00 00 00 1400", "app 22"}, "app 25",
		"00 0. .. .. .. .... ....", "00 4. .. .. .. .... ....", fate{ends, ends, ends, ends, ends, ends}},
	{"watchdog: present countdown", "27.7", []string{"app 24 04 00 00 00 1400", "app 22", "wait 500ms"}, "app 25",
		"00 .. .. .. .. .... 0000", "00 .. .. .. .. .... 0F00",
		fate{ends, ends, "00 .. .. .. .. .... 1400|initial", "00 .. .. .. .. .... 1400|initial",
			"00 .. .. .. .. .... 1400|initial", ends}},
	{"watchdog: don't log", "27.3", []string{"app 24 84 00 00 00 1400"}, "app 25",
		"00 0. .. .. .. .... ....", "00 8. .. .. .. .... ....", fate{ends, ends, ends, ends, ends, ends}},
	{"watchdog: expiration flags", "27.7", []string{"app 24 05 00 00 00 0100", "app 22", "wait 1s"}, "app 25",
		"00 .. .. .. 00 .... ....", "00 .. .. .. 20 .... ....", fate{stays, ends, stays, stays, stays, ends}},
	{"watchdog: initialized", "27.5", []string{"app 24 04 00 00 00 1400"}, "app 22", "80", "00",
		fate{stays, ends, ends, ends, ends, ends}},
	{"watchdog: pre-timeout flag", "27.6", []string{"app 24 04 30 01 00 1400", "app 22", "wait 1500ms"}, "app 31", "00 00", "00 08",
		fate{stays, ends, ends, ends, ends, ends}},

	{"last power event", "28.2", []string{"chassis 02 02", "wait 61s"}, "chassis 01", "00 .. 00 ..", "00 .. 10 ..",
		fate{stays, ends, stays, stays, ends, ends}},
	{"identify", "28.5", []string{"chassis 04 00 01"}, "chassis 01", "00 .. .. 40", "00 .. .. 60", volatile},
	{"power restore policy", "28.8", []string{"chassis 06 01"}, "chassis 01", "00 01 .. ..", "00 21 .. ..", nonVolatile},
	{"restart cause", "28.11", []string{"chassis 02 03", "wait 61s"}, "chassis 07", "00 00 00", "00 01 0F",
		fate{stays, ends, stays, "00 04 0F|watchdog", "00 00 00|unknown", ends}},
	{"boot options: set in progress", "28.12", []string{"chassis 08 00 01"}, "chassis 09 00 00 00", "00 01 00 00", "00 01 00 01", ofSoftware},
	{"service partition selector", "28.13", []string{"chassis 08 01 11"}, "chassis 09 01 00 00", "00 01 01 00", "00 01 01 11", semiVolatile},
	{"service partition scan", "28.13", []string{"chassis 08 02 03"}, "chassis 09 02 00 00", "00 01 02 00", "00 01 02 03", nonVolatile},
	{"boot flag clearing", "28.13", []string{"chassis 08 03 10"}, "chassis 09 03 00 00", "00 01 03 00", "00 01 03 10", semiVolatile},
	{"boot info acknowledge", "28.13", []string{"chassis 08 04 FF FF"}, "chassis 09 04 00 00", "00 01 04 00 00", "00 01 04 00 FF", semiVolatile},
	{"boot flags", "28.13", []string{"chassis 08 05 80 04 00 00 00"}, "chassis 09 05 00 00",
		"00 01 05 .. 00 00 00 00", "00 01 05 .. 04 00 00 00", semiVolatile},
	{"boot flags: valid, for 60 s", "28.13", []string{"chassis 08 05 80 04 00 00 00"}, "chassis 09 05 00 00",
		"00 01 05 00 .. .. .. ..", "00 01 05 80 .. .. .. ..", fate{stays, ends, stays, ends, ends, stays}},
	{"boot initiator info", "28.13", []string{"chassis 08 06 0F 01020304 05060708"}, "chassis 09 06 00 00",
		"00 01 06 00 00000000 00000000", "00 01 06 0F 01020304 05060708", semiVolatile},
	{"boot initiator mailbox", "28.13", []string{"chassis 08 07 04 A1B2"}, "chassis 09 07 04 00",
		"00 01 07 04 00000000000000000000000000000000", "00 01 07 04 A1B20000000000000000000000000000", semiVolatile},
	{"locks of boot options", "28.12", []string{"chassis 08 81"}, "chassis 09 01 00 00", "00 01 01 00", "00 01 81 00", semiVolatile},
	{"lock of the service partition scan", "28.12", []string{"chassis 08 82"}, "chassis 09 02 00 00", "00 01 02 00", "00 01 82 00", nonVolatile},
	{"power-on hours", "28.14", []string{"wait 2h"}, "chassis 0F", "00 3C 00000000", "00 3C 02000000", nonVolatile},

	{"event receiver", "29.1", []string{"sensor 00 FF 00"}, "sensor 01", "00 20 00", "00 FF 00", volatile},
	{"PEF: set in progress", "30.3", []string{"sensor 12 00 01"}, "sensor 13 00 00 00", "00 11 00", "00 11 01", ofSoftware},

	{"SEL: records", "31.6", []string{aRecord}, "storage 40", "00 51 0000" + sel, "00 51 0100" + sel, nonVolatile},
	{"SEL: overflow", "31.2", []string{aRecord, aRecord, aRecord}, "storage 40",
		"00 51 .... .... ........ ........ 0.", "00 51 .... .... ........ ........ 8.", nonVolatile},
	{"SEL: reservation", "31.4", []string{aRecord, "storage 42"}, "storage 43 @ 0100 01 01", "C5", "00 FFFF 00",
		fate{stays, ends, stays, stays, stays, ends}},
	{"SEL: clock", "31.11", []string{"storage 49 00000050"}, "storage 48", "00 .... .. 38", "00 .... .. 50", nonVolatile},
	{"SEL: offset to UTC", "31.11b", []string{"storage 5D 3C00"}, "storage 5C", "00 FF07", "00 3C00", nonVolatile},
	{"SDR repository: reservation", "33.11", []string{"storage 22"}, "storage 23 @ 0100 01 01", "C5", "00 .... 00",
		fate{stays, ends, stays, stays, stays, ends}},
	{"FRU data", "34.3", []string{"storage 12 00 0800 4142"}, "storage 11 00 0800 02", "00 02 0000", "00 02 4142", nonVolatile},
	{"device SDRs: reservation", "35.4", []string{"sensor 22"}, "sensor 21 @ 0100 01 01", "C5", "00 .... 00",
		fate{stays, ends, stays, stays, stays, ends}},
	{"sensors: hysteresis", "35.6", []string{"sensor 24 30 FF 05 05"}, "sensor 25 30 FF", "00 02 02", "00 05 05", volatile},
	{"sensors: thresholds", "35.8", []string{"sensor 26 30 08 00 00 00 14 00 00"}, "sensor 27 30",
		"00 1A 00 05 00 28 32 00", "00 1A 00 05 00 14 32 00", volatile},
	{"sensors: event enables", "35.10", []string{"sensor 28 30 00"}, "sensor 29 30", "00 C0 8402 8402", "00 00 8402 8402", volatile},
	{"sensors: event status", "35.13", []string{"sensor 30 30 01 3C", "poll"}, "sensor 2B 30", "00 C0 0000 0000", "00 C0 8002 0000", volatile},
	{"sensors: value without a source", "35.17", []string{"sensor 30 30 01 3C"}, "sensor 2D 30", "00 19 C0 C0", "00 3C C0 D8", volatile},
}

const sel = ".... ........ ........ .." // the rest of SEL Info

func infoValue(parameter int, name string, f fate) value {
	text := func(block string) string { return "00 11 00 " + block + strings.Repeat("00", 12) }
	return value{"system info: " + name, "22.14a", []string{fmt.Sprintf("app 58 %02X 00 00 02 4142", parameter)},
		fmt.Sprintf("app 59 00 %02X 00 00", parameter), text("00000000"), text("00024142"), f}
}

func lanValue(parameter byte, second string) value {
	return value{"LAN parameters", "23.2", []string{fmt.Sprintf("transport 01 01 %02X %s", parameter, second)},
		fmt.Sprintf("transport 02 01 %02X 00 00", parameter), fmt.Sprintf("00 11 %X", lanParameters[parameter].initial), "00 11 " + second, nonVolatile}
}

// keeper is a BMC with the bridge in front of it, and with a folder.
type keeper struct {
	bench
	folder string
	close  func()
	front  ipmi.Handler

	reservation string // the last one
}

// open starts the BMC with the state of its folder.
func (w *keeper) open() {
	warm, present := inlet(nil), supply(nil)
	warm.Value, present.Value = 25, 1
	blocking := ipmi.NewBlocking(nil)
	var b *bridge.Bridge
	var front *bridge.Interface
	w.bmc = opened(w.t, Config{
		Folder: w.folder, Machine: new(fakeMachine), Sensors: []SensorConfig{warm, present}, LogCapacity: 2,
		FRUs: []FRUConfig{{Name: "Board", Size: 16}}, Blocking: blocking,
		LogEvent:   func(context.Context, ipmi.Event) {},
		PreTimeout: func(_ string, pending bool) { front.SetPreTimeout(pending) },
		HostReset:  func(host int) { b.HostReset(host) },
		ColdReset:  func(host int) { b.ColdReset(host) },
	})
	b = bridge.New(bridge.Config{Blocking: blocking})
	front = b.NewInterface(bridge.InterfaceConfig{Name: host0, Channel: channel, Bridged: true})
	b.Add(front, nil)
	w.front = front.Handler(w.bmc)
	ctx, cancel := context.WithCancel(w.t.Context())
	var loop sync.WaitGroup
	loop.Go(func() { w.bmc.Run(ctx) })
	w.close = func() {
		cancel()
		loop.Wait()
		blocking.Close()
		w.closes()
	}
}

// ask sends a request, such as "app 24 04 00 00 00 1400". "@" is the last reservation.
func (w *keeper) ask(request string) []byte {
	w.t.Helper()
	request = strings.Replace(request, "@", cmp.Or(w.reservation, "FFFF"), 1)
	word, rest, _ := strings.Cut(request, " ")
	command, data, _ := strings.Cut(rest, " ")
	netFn := map[string]ipmi.NetFn{"app": ipmi.NetFnApp, "chassis": ipmi.NetFnChassis, "sensor": ipmi.NetFnSensor,
		"storage": ipmi.NetFnStorage, "transport": ipmi.NetFnTransport}[word]
	response, err := ipmi.Do(w.t.Context(), w.front, &ipmi.Request{
		Interface: host0, Channel: channel, NetFn: netFn, Command: ipmi.Command(octets(command)[0]), Data: octets(data),
	})
	if err != nil {
		w.t.Fatalf("%s: %v", request, err)
	}
	if strings.HasSuffix(request, " 42") || strings.HasSuffix(request, " 22") && netFn != ipmi.NetFnApp {
		w.reservation = fmt.Sprintf("%X", response.Data)
	}
	return append([]byte{byte(response.Code)}, response.Data...)
}

// fits reports whether an answer is the one wanted, in which dots stand for digits that do not
// matter.
func fits(got []byte, want string) bool {
	text, pattern := []byte(fmt.Sprintf("%X", got)), strings.ReplaceAll(want, " ", "")
	for i := range min(len(text), len(pattern)) {
		if pattern[i] == '.' {
			text[i] = '.'
		}
	}
	return string(text) == pattern
}

// step is a request that succeeds, or something else that happens.
func (w *keeper) step(what string) {
	w.t.Helper()
	switch word, rest, _ := strings.Cut(what, " "); word {
	case "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(d)
	case "poll": // the sensors
		w.bmc.PollSensors(func(ipmi.Event) {})
	case "initialize": // the watchdog, if it is not
		if w.ask("app 22")[0] == byte(codeNotInitialized) {
			w.ask("app 24 01 00 00 00 0100")
		}
	case "start": // the watchdog, unless its pre-timeout has come
		w.ask("app 22")
	case "second": // interface of the host
		command, data, _ := strings.Cut(rest, " ")
		w.on("second", 0, ipmi.NetFnApp, ipmi.Command(octets(command)[0]), data)
	case "HostReset":
		w.bmc.HostReset(0)
	case "HostGone":
		w.bmc.HostGone(0)
	case "restart":
		w.close()
		w.open()
	default:
		if got := w.ask(what); got[0] != 0 && got[0] != byte(ipmi.CodeOutOfSpace) {
			w.t.Fatalf("%s: % X", what, got)
		}
	}
	synctest.Wait()
}

// walk sets the value, causes an event, and compares what is left of the value.
func (v value) walk(t *testing.T, event []string, want string) {
	synctest.Test(t, func(t *testing.T) {
		w := &keeper{bench: bench{t: t}, folder: t.TempDir()}
		w.open()
		defer func() { w.close() }()
		first, second := v.first, v.second
		if first == "" { // It is as it is.
			first = fmt.Sprintf("%X", w.ask(v.get))
			second = first
		}
		if got := w.ask(v.get); !fits(got, first) {
			t.Fatalf("at first: % X, want %s", got, first)
		}
		for _, step := range v.set {
			w.step(step)
		}
		if got := w.ask(v.get); !fits(got, second) {
			t.Fatalf("after it was set: % X, want %s", got, second)
		}
		for _, step := range event {
			w.step(step)
		}
		answer, _, _ := strings.Cut(want, "|")
		switch want {
		case stays:
			answer = second
		case ends:
			answer = first
		}
		if got := w.ask(v.get); !fits(got, answer) {
			t.Errorf("then: % X, want %s", got, answer)
		}
	})
}

// TestWhatEndsValues sets each value of the BMC and causes each event.
func TestWhatEndsValues(t *testing.T) {
	var cases int
	for _, v := range kept {
		for _, e := range events {
			for _, way := range e.ways {
				t.Run(v.name+", "+e.name, func(t *testing.T) { v.walk(t, way, e.of(v.after)) })
				cases++
			}
		}
	}
	t.Logf("%d values, %d cases", len(kept), cases)
}

// TestDocumentOfValues: the document has the table.
func TestDocumentOfValues(t *testing.T) {
	const path = "../docs/bmc.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head := "| value | section |"
	rule := "|---|---|"
	for _, e := range events {
		head += " " + e.name + " |"
		rule += "---|"
	}
	rows := []string{head, rule}
	for _, v := range kept {
		row := fmt.Sprintf("| %s | %s |", v.name, v.section)
		for _, e := range events {
			word := e.of(v.after)
			if _, special, ok := strings.Cut(word, "|"); ok {
				word = special
			}
			row += " " + word + " |"
		}
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
	}
	before, rest, found := strings.Cut(string(text), "| value |")
	_, after, _ := strings.Cut(rest, "\n\n")
	if !found {
		t.Fatalf("%s has no table of values", path)
	}
	manual.Stored(t, path, before+strings.Join(rows, "\n")+"\n\n"+after)
}

// TestStoredSettingsAreValues: what the requests of all layouts store, the requests of the values
// store as well.
func TestStoredSettingsAreValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := func(requests func(w *keeper)) []string {
			w := &keeper{bench: bench{t: t}, folder: t.TempDir()}
			w.open()
			defer func() { w.close() }()
			requests(w)
			var all []string
			for name := range w.bmc.journal.snapshot() {
				if !strings.HasPrefix(name, entryPrefix) {
					all = append(all, name)
				}
			}
			return all
		}
		ofValues := names(func(w *keeper) {
			for _, v := range kept {
				for _, request := range v.set {
					if word, _, _ := strings.Cut(request, " "); word != "wait" && word != "poll" {
						w.ask(request)
					}
				}
			}
			w.bmc.storeHours()
		})
		stored := names(func(w *keeper) {
			for _, l := range layouts {
				w.on(host0, 0, l.netFn, l.command, l.data)
			}
		})
		if len(stored) < 30 {
			t.Errorf("the layouts store %d settings", len(stored))
		}
		for _, name := range stored {
			known := slices.Contains(ofValues, name) || strings.HasSuffix(name, "/locked") ||
				strings.HasPrefix(name, mailboxSetting(0, 0)) ||
				name == lanSetting(1, lanEnabledTypes) // which can be zeros only
			if !known {
				t.Errorf("%s is no value", name)
			}
		}
	})
}
