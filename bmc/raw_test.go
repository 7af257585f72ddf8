package bmc

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmi"
)

// rawRequests are the requests of data/ipmi_raw_cmd_table.py of openbmc/openbmc-test-automation,
// and the answers that it expects: of a machine with phosphor-ipmi-host, on which a ".." stands
// for any byte. A line is a request, or a wait, and then the answer, completion code first.
// differs says why ours is another one, which then is the one in the line.
var rawRequests = []struct {
	name    string
	lines   string
	differs string
}{
	{"power supply redundancy", `
		04 30 0B 00 00 02 00 00 00 00 00 00 = 00
		04 2D 0B = 00 00 C0 02 80
		04 30 0B 00 00 01 00 00 00 00 00 00 = 00
		04 2D 0B = 00 00 C0 02 80`,
		"operation 00h leaves the states as they are (table 35-18), bit 7 of the last byte is 1 " +
			"(table 35-15), and the sensor's events are on"},
	{"power supply redundancy, where the operation writes the states", `
		04 30 0B 10 00 01 00 00 00 00 00 00 = 00
		04 2D 0B = 00 00 C0 01 80
		04 30 0B 10 00 02 00 00 00 00 00 00 = 00
		04 2D 0B = 00 00 C0 02 80`, "as before"},
	{"power reading", `2C 02 DC 01 01 00 = C1`, "the built-in BMC serves no DCMI"},
	{"configuration parameter", `
		2C 12 DC 02 00 01 = C1
		2C 12 DC 02 00 00 = C1`, "the built-in BMC serves no DCMI"},
	{"Reserve SEL", `0A 42 = 00 .. 00`, ""},
	{"Get Self Test Results", `06 04 = 00 55 00`, "56h says that there is no self test; ours has passed"},
	{"Get Device GUID", `06 08 = 00 .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. ..`, ""},
	{"Get LAN Configuration Parameters", `0C 02 01 16 00 00 = 00 11 00`,
		"there are no cipher suites, since there is no LAN"},
	{"payloads", `
		06 4A 01 = CC
		06 48 01 01 C6 00 00 00 = 81
		06 49 01 01 00 00 00 00 = 81
		06 4B 01 01 = CC`, "there are no sessions, which the payloads belong to"},
	{"BIOS POST code", `30 E9 = C1`, "a command of one manufacturer"},
	{"Get Device ID", `06 01 = 00 20 .. .. .. 02 .. .. .. .. .. ..`, ""},
	{"Get Device ID with a byte more", `06 01 00 = C7`, ""},
	{"Cold Reset", `06 02 = 00`, ""},
	{"IP address", `0C 02 01 03 00 00 = 00 11 .. .. .. ..`, ""},
	{"IP address source", `0C 02 01 04 00 00 = 00 11 ..`, ""},
	{"802.1q VLAN ID", `0C 02 01 14 00 00 = 00 11 .. ..`, ""},
	{"Get Device SDR Info", `04 20 01 = 00 .. ..`, ""},
	{"Get Chassis Status", `00 01 = 00 .. .. ..`, ""},
	{"Get SEL Info", `0A 40 = 00 51 00 00 .. .. .. .. .. .. .. .. .. .. ..`, ""},

	{"don't log", `
		06 24 05 00 00 00 64 00 = 00
		06 25 = 00 05 00 00 00 64 00 64 00
		06 24 85 00 00 00 64 00 = 00
		06 25 = 00 85 00 00 00 64 00 64 00`, ""},
	{"don't stop, after a start", `
		06 24 05 00 00 00 64 00 = 00
		06 25 = 00 05 00 00 00 64 00 64 00
		06 22 = 00
		06 24 45 00 00 00 64 00 = 00
		06 25 = 00 45 00 00 00 64 00 64 00`, ""},
	{"timer use", `
		06 24 01 00 00 00 64 00 = 00
		06 25 = 00 01 00 00 00 64 00 64 00
		06 24 02 00 00 00 64 00 = 00
		06 25 = 00 02 00 00 00 64 00 64 00
		06 24 03 00 00 00 64 00 = 00
		06 25 = 00 03 00 00 00 64 00 64 00
		06 24 04 00 00 00 64 00 = 00
		06 25 = 00 04 00 00 00 64 00 64 00
		06 24 05 00 00 00 64 00 = 00
		06 25 = 00 05 00 00 00 64 00 64 00`, ""},
	{"pre-timeout interrupt", `
		06 24 05 00 00 00 64 00 = 00
		06 25 = 00 05 00 00 00 64 00 64 00
		06 24 05 20 00 00 64 00 = 00
		06 25 = 00 05 20 00 00 64 00 64 00`, ""},
	{"timeout action", `
		06 24 05 01 00 00 64 00 = 00
		06 25 = 00 05 01 00 00 64 00 64 00
		06 24 05 02 00 00 64 00 = 00
		06 25 = 00 05 02 00 00 64 00 64 00
		06 24 05 03 00 00 64 00 = 00
		06 25 = 00 05 03 00 00 64 00 64 00
		06 24 01 02 00 00 20 00 = 00
		06 24 01 01 00 00 20 00 = 00
		06 24 01 03 00 00 20 00 = 00
		06 24 01 00 00 00 20 00 = 00`, ""},
	{"expiration flags", `
		06 24 01 00 00 3E 00 00 = 00
		06 22 = 00
		wait 1s
		06 25 = 00 01 00 00 02 00 00 00 00
		06 24 02 00 00 3E 00 00 = 00
		06 22 = 00
		wait 1s
		06 25 = 00 02 00 00 04 00 00 00 00
		06 24 03 00 00 3E 00 00 = 00
		06 22 = 00
		wait 1s
		06 25 = 00 03 00 00 08 00 00 00 00
		06 24 04 00 00 3E 00 00 = 00
		06 22 = 00
		wait 1s
		06 25 = 00 04 00 00 10 00 00 00 00
		06 24 05 00 00 3E 00 00 = 00
		06 22 = 00
		wait 1s
		06 25 = 00 05 00 00 20 00 00 00 00`, ""},
	{"a long countdown", `
		06 24 05 00 00 3E 30 35 = 00
		06 25 = 00 05 00 00 00 30 35 30 35`, ""},
	{"the longest countdown, stopped", `
		06 24 05 00 00 20 FF FF = 00
		06 25 = 00 05 00 00 00 FF FF FF FF`, ""},
	{"a pre-timeout that is shorter than the countdown", `06 24 05 00 07 00 50 00 = 00`, ""},
	{"a pre-timeout that is longer", `06 24 05 00 04 00 0A 00 = CC`, ""},
	{"lengths", `
		06 25 00 = C7
		06 24 05 00 08 00 64 = C7
		06 24 05 00 08 00 64 00 00 = C7
		06 22 00 = C7`, ""},
	{"a watchdog that is not initialised", `
		06 02 = 00
		06 22 = 80`, ""},
}

// The suite of OpenBMC's machines finds in the built-in BMC what it expects.
func TestRequestsOfOpenBMCsTests(t *testing.T) {
	redundancy := SensorConfig{Name: "PS redundancy", Number: 0x0B, Type: 8, EventType: 0x0B, States: 3, Value: 2}
	for _, row := range rawRequests {
		name := row.name
		if row.differs != "" {
			name += " (" + row.differs + ")"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bench{t: t, bmc: opened(t, Config{Sensors: []SensorConfig{redundancy}, Machine: new(fakeMachine)})}
				ctx, stop := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer stop()
				go b.bmc.Run(ctx)
				for line := range strings.Lines(strings.TrimSpace(row.lines)) {
					b.follows(strings.TrimSpace(line))
				}
			})
		})
	}
}

// follows makes the request of a line, and compares the answer.
func (b *bench) follows(line string) {
	b.t.Helper()
	if wait, ok := strings.CutPrefix(line, "wait "); ok {
		d, err := time.ParseDuration(wait)
		if err != nil {
			b.t.Fatal(err)
		}
		time.Sleep(d)
		return
	}
	request, want, ok := strings.Cut(line, " = ")
	if !ok {
		b.t.Fatalf("no answer in %q", line)
	}
	o := octets(request)
	req := ipmi.Request{NetFn: ipmi.NetFn(o[0]), Command: ipmi.Command(o[1]), Data: o[2:]}
	response, err := ipmi.Do(b.t.Context(), b.bmc, &req)
	if errors.Is(err, ipmi.ErrNoHandler) {
		response.Code, err = ipmi.CodeInvalidCommand, nil
	}
	got := append([]byte{byte(response.Code)}, response.Data...)
	if err != nil || !matches(got, strings.Fields(want)) {
		b.t.Errorf("%s: % X, %v", line, got, err)
	}
}

// matches compares bytes with text, in which ".." stands for any byte.
func matches(got []byte, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	for i, text := range want {
		if text != ".." && octets(text)[0] != got[i] {
			return false
		}
	}
	return true
}
