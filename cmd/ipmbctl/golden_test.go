package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
)

// goldens are the texts of the commands.
var goldens = []struct {
	name string
	args []string
	want result
}{
	{"list", []string{"list"}, result{stdout: `
NAME  DEVICE         TRANSPORT  CHANNEL  INDEX  OWN  REMOTE  STATE
bus0  /dev/ipmb-0    ipmb-dev   0        0      20h  2Ch     Up
me1   /run/me1.sock  seqpacket  1        1      20h  72h     Down: /run/me1.sock: no such file or directory
`}},
	{"info", []string{"info", "bus0"}, result{stdout: `
name            bus0
object          /xyz/openbmc_project/Ipmi/Channel/Ipmb/bus0
device          /dev/ipmb-0
transport       ipmb-dev
channel         0
index           0
own address     20h
remote address  2Ch
state           Up
timeout         250ms
tries           6

counted since ipmbd started (what is not listed is 0)
calls-answered  12
calls-timeout   3
`}},
	{"send to the remote address", []string{"send", "bus0", "app", "get-device-id"}, result{stdout: `
request          2Ch app get-device-id
completion code  00h ok
data             50 01 04 00 02 21 57 01 00 0b 0b
device           50h revision 1
firmware         4.00
IPMI version     2.0
manufacturer     343 (000157h)
product          2827 (0B0Bh)
supports         sensors, event generator
`}},
	{"send to a device that is being updated", []string{"send", "bus0", "0x84", "6", "1"}, result{stdout: `
request          84h app get-device-id
completion code  00h ok
data             20 81 83 15 51 8c a2 02 00 00 01 de ad be ef
device           20h revision 1, with SDRs
firmware         3.15 (auxiliary DEADBEEF), updating or initializing
IPMI version     1.5
manufacturer     674 (0002A2h)
product          256 (0100h)
supports         SEL, FRU inventory, chassis
`}},
	{"send with an answer of no device ID", []string{"send", "bus0", "90h", "app", "get-device-id"}, result{stdout: `
request          90h app get-device-id
completion code  00h ok
data             20 01
`}},
	{"send with a long answer", strings.Fields("send bus0 0x30 0x51 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 0x10"), result{stdout: `
request          2Ch 30h 51h
completion code  00h ok
data             00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
                 10
`}},
	{"send with an error as an answer", []string{"send", "bus0", "72h", "app", "get-device-id"}, result{code: 3, stdout: `
request          72h app get-device-id
completion code  C1h invalid command
data             none
`}},
	{"scan", []string{"scan", "bus0"}, result{stdout: `
ADDR  ANSWER
2Ch   device 50h revision 1, firmware 4.00, IPMI 2.0, manufacturer 343, product 0B0Bh, sensors, event generator
72h   C1h invalid command
84h   device 20h revision 1, firmware 3.15 (DEADBEEF) updating, IPMI 1.5, manufacturer 674, product 0100h, device SDRs, SEL, FRU inventory, chassis
`, stderr: `
ipmbctl: 3 of 47 addresses answer on bus0; 42 not acknowledged, 0 silent, 2 not carried by the bus
`}},
	{"scan of all", []string{"scan", "bus0", "--all"}, result{stdout: `
ADDR  ANSWER
2Ch   device 50h revision 1, firmware 4.00, IPMI 2.0, manufacturer 343, product 0B0Bh, sensors, event generator
72h   C1h invalid command
84h   device 20h revision 1, firmware 3.15 (DEADBEEF) updating, IPMI 1.5, manufacturer 674, product 0100h, device SDRs, SEL, FRU inventory, chassis
90h   an answer that is no device ID: 20 01
A2h   C3h timeout while processing the command
`, stderr: `
ipmbctl: 5 of 111 addresses answer on bus0; 103 not acknowledged, 1 silent [A0h], 2 not carried by the bus
`}},
	{"scan of where nobody is", []string{"scan", "bus0", "--from", "30h", "--to", "0x40"}, result{stderr: `
ipmbctl: 0 of 9 addresses answer on bus0; 9 not acknowledged, 0 silent, 0 not carried by the bus
`}},
	{"handlers, and nobody has registered any", []string{"handlers"}, result{stdout: `
BUS   HANDLER  ANSWERS ALL OTHER REQUESTS
bus0  host     the host IPMI daemon
me1   none     nobody: C1h invalid command
`, stderr: `
ipmbctl: no program has registered a handler
`}},
	{"completion of a bus", []string{"__complete", "info", ""}, result{stdout: `
bus0	/dev/ipmb-0
me1	/run/me1.sock
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},

	{"completion of send: a bus", []string{"__complete", "send", ""}, result{stdout: `
bus0	/dev/ipmb-0
me1	/run/me1.sock
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},
	{"completion of a network function", []string{"__complete", "respond", ""}, result{stdout: `
chassis
bridge
sensor
app
firmware
storage
transport
group
oem
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},
	{"completion of a command", []string{"__complete", "respond", "chassis", ""}, result{stdout: `
get-chassis-capabilities
get-chassis-status
chassis-control
chassis-reset
chassis-identify
set-chassis-capabilities
set-power-restore-policy
get-system-restart-cause
set-system-boot-options
get-system-boot-options
set-front-panel-button-enables
set-power-cycle-interval
get-poh-counter
all
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},
	{"completion of one more command", []string{"__complete", "respond", "--exec", "x", "0x30", "1", ""}, result{stdout: `
all
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},
	{"completion of data", []string{"__complete", "respond", "app", "cold-reset", ""}, result{stdout: `
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},

	{"no command", nil, result{code: 2, stderr: `
ipmbctl: no command; 'ipmbctl list' shows the buses
  see 'ipmbctl --help'
`}},
	{"unknown command", []string{"lst"}, result{code: 2, stderr: `
ipmbctl: no command "lst"; did you mean list?
  see 'ipmbctl --help'
`}},
	{"unknown flag", []string{"list", "--all"}, result{code: 2, stderr: `
ipmbctl: unknown flag: --all
  see 'ipmbctl list --help'
`}},
	{"help of an unknown command", []string{"help", "lst"}, result{code: 2, stderr: `
ipmbctl: no command "lst"
  see 'ipmbctl help --help'
`}},
	{"list with a word too many", []string{"list", "bus0"}, result{code: 2, stderr: `
ipmbctl: list takes no arguments, not "bus0"
  see 'ipmbctl list --help'
`}},
	{"info without a name", []string{"info"}, result{code: 2, stderr: `
ipmbctl: one name of a bus or a host interface, not 0
  see 'ipmbctl info --help'
`}},
	{"scan of two buses", []string{"scan", "bus0", "me1"}, result{code: 2, stderr: `
ipmbctl: one bus at a time, not 2
  see 'ipmbctl scan --help'
`}},
	{"scan of an address", []string{"scan", "bus0", "--from", "72h", "--to", "72h"}, result{stdout: `
ADDR  ANSWER
72h   C1h invalid command
`, stderr: `
ipmbctl: 1 of 1 address answers on bus0; 0 not acknowledged, 0 silent, 0 not carried by the bus
`}},
	{"scan of all and of a range", []string{"scan", "bus0", "--all", "--to", "72h"}, result{code: 2, stderr: `
ipmbctl: --all is every address; leave out --from and --to
  see 'ipmbctl scan --help'
`}},
	{"scan of an odd address", []string{"scan", "bus0", "--from", "33"}, result{code: 2, stderr: `
ipmbctl: --from: address 21h: addresses are even, 02h to FEh: the 8-bit form, 20h for a node at 10h in 7 bits
  see 'ipmbctl scan --help'
`}},
	{"scan of our own address", []string{"scan", "bus0", "--from", "20h", "--to", "20h"}, result{code: 2, stderr: `
ipmbctl: no address from 20h to 20h but our own
  see 'ipmbctl scan --help'
`}},
	{"send without a command", []string{"send", "bus0", "app"}, result{code: 2, stderr: `
ipmbctl: no command after network function app
  see 'ipmbctl send --help'
`}},
	{"send of a name with an error", []string{"send", "bus0", "app", "get-devic-id"}, result{code: 2, stderr: `
ipmbctl: app has no command "get-devic-id"; did you mean get-device-id, get-device-guid?
  see 'ipmbctl send --help'
`}},
	{"send with a time-out too short", []string{"send", "bus0", "--timeout", "1ms", "6", "1"}, result{code: 2, stderr: `
ipmbctl: --timeout is 10ms to 1m
  see 'ipmbctl send --help'
`}},

	{"unbind without a bus", []string{"unbind"}, result{code: 2, stderr: `
ipmbctl: no bus; 'ipmbctl list' shows the buses
  see 'ipmbctl unbind --help'
`}},
	{"bind of an unknown bus", []string{"bind", "bus7"}, result{code: 1, stderr: `
ipmbctl: no bus "bus7"
  the buses are: bus0, me1
`}},
	{"bind of a socket", []string{"bind", "me1"}, result{code: 6, stderr: `
ipmbctl: the device cannot be changed: it is a socket
`}},
	{"unbind", []string{"unbind", "bus0"}, result{stdout: `
bus0 is unbound: Down: unbound
`}},
	{"send on a bus that is unbound", []string{"send", "bus0", "6", "1"}, result{code: 9, stderr: `
ipmbctl: bus0 is down: unbound
  bind it again: ipmbctl bind bus0
`}},
	{"bind", []string{"bind", "bus0"}, result{stdout: `
bus0 is bound: Up
`}},

	{"info of nothing known", []string{"info", "bus7"}, result{code: 1, stderr: `
ipmbctl: no bus and no host interface "bus7"
  there are: bus0, me1
`}},
	{"unknown bus", []string{"send", "bus7", "6", "1"}, result{code: 1, stderr: `
ipmbctl: no bus "bus7"
  the buses are: bus0, me1
`}},
	{"monitor of an unknown bus", []string{"monitor", "bus0", "bus7"}, result{code: 1, stderr: `
ipmbctl: no bus "bus7"
  the buses are: bus0, me1
`}},
	{"nobody there", []string{"send", "bus0", "0x42", "6", "1"}, result{code: 5, stderr: `
ipmbctl: bus0 42h: nobody acknowledged the request: check the address and the responder's power
  see which addresses answer: ipmbctl scan bus0
`}},
	{"silence", []string{"send", "bus0", "0xA0", "6", "1"}, result{code: 4, stderr: `
ipmbctl: bus0 A0h: the responder took the request and did not answer in time
  wait longer (--timeout TIME), or see which addresses answer: ipmbctl scan bus0
`}},
	{"stuck bus", []string{"send", "bus0", "0xB0", "6", "1"}, result{code: 9, stderr: `
ipmbctl: bus0 B0h: the bus did not carry the request: see the properties State and StateReason
  see its state: ipmbctl info bus0; journalctl -u ipmbd
`}},
	{"busy bus", []string{"send", "bus0", "0xB2", "6", "1"}, result{code: 6, stderr: `
ipmbctl: bus0 B2h: too many requests of this kind are in progress: try again
`}},
	{"send on a bus that is down", []string{"send", "me1", "6", "1"}, result{code: 9, stderr: `
ipmbctl: me1 is down: /run/me1.sock: no such file or directory
  ipmbd opens it again as soon as it can
  see its state: ipmbctl info me1; journalctl -u ipmbd
`}},
	{"scan of a bus that is down", []string{"scan", "me1"}, result{code: 9, stderr: `
ipmbctl: me1 is down: /run/me1.sock: no such file or directory
  ipmbd opens it again as soon as it can
  see its state: ipmbctl info me1; journalctl -u ipmbd
`}},
}

func TestWhatPeopleSee(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for _, tt := range goldens {
		r.check(t, tt.name, tt.want, tt.args...)
	}
}

// jsons are the documents of the commands.
var jsons = []struct {
	name string
	args []string
	code int
	want string
}{
	{"list", []string{"list"}, 0, `[
		{"name":"bus0","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/bus0","device":"/dev/ipmb-0","transport":"ipmb-dev","channel":0,"index":0,"ownAddress":32,"remoteAddress":44,"state":"Up"},
		{"name":"me1","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/me1","device":"/run/me1.sock","transport":"seqpacket","channel":1,"index":1,"ownAddress":32,"remoteAddress":114,"state":"Down","stateReason":"/run/me1.sock: no such file or directory"}]`},
	{"info", []string{"info", "bus0"}, 0, `
		{"name":"bus0","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/bus0","device":"/dev/ipmb-0","transport":"ipmb-dev","channel":0,"index":0,"ownAddress":32,"remoteAddress":44,"state":"Up",
		"timeoutMs":250,"tries":6,"ignoreNack":false,"verifyHeaderChecksum":false,"statistics":{"calls-answered":12,"calls-timeout":3,"dbus-calls-refused":0,"dbus-signals-dropped":0,"dropped-short":0,"refused-over-limit":0}}`},
	{"bind", []string{"bind", "bus0"}, 0, `
		{"name":"bus0","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/bus0","device":"/dev/ipmb-0","transport":"ipmb-dev","channel":0,"index":0,"ownAddress":32,"remoteAddress":44,"state":"Up"}`},
	{"send", []string{"send", "bus0", "84h", "app", "get-device-id"}, 0, `
		{"bus":"bus0","responder":132,"netFn":6,"lun":0,"command":1,"name":"app get-device-id","completionCode":0,"meaning":"ok","data":[32,129,131,21,81,140,162,2,0,0,1,222,173,190,239],
		"device":{"id":32,"revision":1,"firmware":"3.15","auxiliary":[222,173,190,239],"ipmi":"1.5","manufacturer":674,"product":256,"providesSDRs":true,"updating":true,"supports":["SEL","FRU inventory","chassis"]},"milliseconds":0}`},
	{"send with an error as an answer", []string{"send", "bus0", "72h", "app", "0x34"}, 3, `
		{"bus":"bus0","responder":114,"netFn":6,"lun":0,"command":52,"name":"app send-message","completionCode":193,"meaning":"invalid command","data":[],"milliseconds":0}`},
	{"scan", []string{"scan", "bus0", "--from", "0x70", "--to", "0xB0"}, 0, `
		{"bus":"bus0","asked":33,"answers":[
		{"address":114,"completionCode":193,"meaning":"invalid command","data":[]},
		{"address":132,"completionCode":0,"meaning":"ok","data":[32,129,131,21,81,140,162,2,0,0,1,222,173,190,239],
		"device":{"id":32,"revision":1,"firmware":"3.15","auxiliary":[222,173,190,239],"ipmi":"1.5","manufacturer":674,"product":256,"providesSDRs":true,"updating":true,"supports":["SEL","FRU inventory","chassis"]}},
		{"address":144,"completionCode":0,"meaning":"ok","data":[32,1]},
		{"address":162,"completionCode":195,"meaning":"timeout while processing the command","data":[]}],
		"silent":[160],"notAcknowledged":27,"failed":1}`},
}

func TestWhatProgramsSee(t *testing.T) {
	took := regexp.MustCompile(`"milliseconds":[0-9.]+`)
	space := regexp.MustCompile(`\n\t*`)
	r := newRig(t, bustest.Config{})
	for _, tt := range jsons {
		got := r.ipmbctl(t, append(tt.args, "--json")...)
		if !json.Valid([]byte(got.stdout)) {
			t.Errorf("%s: invalid JSON", tt.name)
		}
		text := took.ReplaceAllString(got.stdout, `"milliseconds":0`)
		want := result{space.ReplaceAllString(tt.want, "") + "\n", "", tt.code}
		if diff := cmp.Diff(want, result{text, got.stderr, got.code}, cmp.AllowUnexported(result{})); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
	}
}

func TestSwitchesAreShownWhereThereAreSome(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.bus0.mu.Lock()
	r.bus0.properties.Transport, r.bus0.properties.IgnoreNACK = "ipmb-device", true
	r.bus0.mu.Unlock()
	got := r.ipmbctl(t, "info", "bus0")
	for _, want := range []string{"ignore NACK             on\n", "verify header checksum  off\n"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s", want, got.stdout)
		}
	}
}

func TestColourOnlyOnATerminal(t *testing.T) {
	always := func(any) bool { return true }
	never := func(any) bool { return false }
	set := func(name, value string) func(string) string {
		return func(n string) string { return map[string]string{name: value}[n] }
	}
	r := newRig(t, bustest.Config{})
	for name, tt := range map[string]struct {
		env  environment
		want bool
	}{
		"terminal":          {environment{isTerminal: always}, true},
		"pipe":              {environment{isTerminal: never}, false},
		"NO_COLOR":          {environment{isTerminal: always, getenv: set("NO_COLOR", "1")}, false},
		"NO_COLOR is empty": {environment{isTerminal: always, getenv: set("NO_COLOR", "")}, true},
		"dumb terminal":     {environment{isTerminal: always, getenv: set("TERM", "dumb")}, false},
	} {
		r.env = tt.env
		got := r.ipmbctl(t, "list")
		if coloured := strings.Contains(got.stdout, "\x1b["); coloured != tt.want {
			t.Errorf("%s: %q", name, got.stdout)
		}
		if got := r.ipmbctl(t, "list", "--json"); strings.Contains(got.stdout, "\x1b") {
			t.Errorf("%s: coloured JSON", name)
		}
	}
}

// The columns of a table stand in line with colours too.
func TestColouredTableIsTheSameTable(t *testing.T) {
	r := newRig(t, bustest.Config{})
	plain := r.ipmbctl(t, "list").stdout
	r.env.isTerminal = func(any) bool { return true }
	escapes := regexp.MustCompile("\x1b\\[[0-9]*m")
	if diff := cmp.Diff(plain, escapes.ReplaceAllString(r.ipmbctl(t, "list").stdout, "")); diff != "" {
		t.Error(diff)
	}
}

func TestProgressIsALineOnATerminal(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.env.isTerminal = func(any) bool { return true }
	got := r.ipmbctl(t, "scan", "bus0", "--yes")
	if !strings.Contains(got.stderr, "\r\x1b[Kbus0: asked 47 of 47 addresses, 3 found\r\x1b[K") {
		t.Errorf("%q", got.stderr)
	}
	if strings.Contains(got.stdout, "asked") {
		t.Errorf("%q", got.stdout)
	}
}
