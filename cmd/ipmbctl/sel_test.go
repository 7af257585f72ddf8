package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"ipmbd/bmc/record"
	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
)

// logNode is a node whose log has fixed records.
type logNode struct {
	records []record.Record
	next    uint16 // if not 0, the next ID after each record
	bad     uint16 // the ID of the record that is answered C3h
}

// newLogNode makes a node of records in hex.
func newLogNode(lines ...string) *logNode {
	n := new(logNode)
	for _, line := range lines {
		b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
		if err != nil {
			panic(err)
		}
		n.records = append(n.records, record.Record(b))
	}
	return n
}

// ServeIPMI implements ipmi.Handler.
func (n *logNode) ServeIPMI(req *ipmi.Request, reply ipmi.Reply) { reply.Answer(n.answer(req)) }

func (n *logNode) answer(req *ipmi.Request) (ipmi.Response, error) {
	switch req.Command {
	case 0x40:
		return ipmi.Response{Data: record.Info{
			Version: record.Version, Records: uint16(len(n.records)), Free: record.MaxFree, Added: 0x386D4380, Erased: record.NoTime,
			Operations: record.Reserve | record.Delete, Overflow: len(n.records) > 0,
		}.Append(nil)}, nil
	case 0x42:
		return ipmi.Response{Data: []byte{1, 0}}, nil
	case 0x43:
		id := binary.LittleEndian.Uint16(req.Data[2:])
		if n.bad != 0 && id == n.bad {
			return ipmi.Response{Code: ipmi.CodeTimeout}, nil
		}
		i := slices.IndexFunc(n.records, func(r record.Record) bool { return id == record.First || r.ID() == id })
		next := record.Last
		if n.next != 0 {
			next = n.next
		} else if i+1 < len(n.records) {
			next = n.records[i+1].ID()
		}
		return ipmi.Response{Data: append(binary.LittleEndian.AppendUint16(nil, next), n.records[i][:]...)}, nil
	case 0x47:
		n.records = nil
		return ipmi.Response{Data: []byte{1}}, nil
	}
	return ipmi.Response{Code: ipmi.CodeInvalidCommand}, nil
}

// The nodes that have a log in these tests.
const (
	logged  ipmi.Address = 0x2C // the remote address
	emptied ipmi.Address = 0x74
	liar    ipmi.Address = 0x76
	erasing ipmi.Address = 0x78
	mixed   ipmi.Address = 0x7A
	broken  ipmi.Address = 0x7C
)

func newLogRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, bustest.Config{})
	ring := newLogNode("0700 02 80436D38 2C00 04 01 30 01 59 60 5F")
	ring.next = 7
	half := newLogNode(
		"0100 02 80436D38 2C00 04 01 30 01 59 60 5F",
		"0200 02 81436D38 2C00 04 01 30 81 57 5E 5F",
		"0300 02 90436D38 2C00 04 01 30 01 59 60 5F",
	)
	half.bad = 3
	r.bus0.logs = map[ipmi.Address]ipmi.Handler{
		logged: newLogNode(
			"0100 02 05000000 2000 04 1D 00 6F 00 FF FF",
			"0200 02 80436D38 2C31 04 01 30 01 59 60 5F",
			"0300 02 90436D38 4100 03 20 73 6F A1 79 73",
			"0400 F0 20 00 7379737271207472696767",
			"0500 C0 91436D38 570100 010203040506",
			"0600 F0 20 01 6572656420637261736800",
			"0700 02 FFFFFFFF 2100 04 10 00 EF 02 FF FF",
		),
		emptied: newLogNode(),
		mixed: newLogNode( // panics of two machines
			"0100 02 80436D38 2C00 04 01 30 01 59 60 5F",
			"0200 F0 20 00 73616E6974792E2E2E2E2E",
			"0300 F0 20 00 4F6F70733A206261642061",
			"0400 F0 20 01 4131313100000000000000",
			"0500 F0 20 01 6464726573730000000000",
			"0600 F0 20 00 7379737271207472696767",
			"0700 F0 20 01 6572656420637261736800",
		),
		liar:   ring,
		broken: half,
		erasing: ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
			return ipmi.Response{Code: 0x81}, nil
		}),
	}
	r.server.ServeStorage(newLogNode("0900 02 80436D38 2C00 04 04 11 0B 01 FF FF"))
	return r
}

func TestOurOwnLogIsNotThere(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.ipmbctl(t, "sel", "list").want(t, exitBusDown, `
ipmbctl: the one who serves this command is not running
`)
	r.server.ServeStorage(ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { panic("at the disk") }))
	r.ipmbctl(t, "sel", "list").want(t, exitFailed, `
ipmbctl: see the journal of ipmbd
`)
}

var selGoldens = []struct {
	name string
	args string
	want result
}{
	{"list", "sel list bus0", result{stdout: `
ID     TIME                  SENDER               EVENT
0001h  5s since start        20h                  system boot 00h: power up asserted
0002h  2000-01-01 00:00:00Z  2Ch LUN 1 channel 3  temperature 30h: upper critical going high asserted, reading 60h, threshold 5Fh
0003h  2000-01-01 00:00:16Z  20h                  Linux panic: sysrq triggered crash
0005h  2000-01-01 00:00:17Z  -                    OEM record C0h of manufacturer 343 (000157h): 01 02 03 04 05 06
0007h  no time               SMI handler 21h      event logging 00h: log area cleared deasserted
`}},
	{"list of the panics of two machines", "sel list bus0 7Ah", result{stdout: `
ID     TIME                   SENDER  EVENT
0001h  2000-01-01 00:00:00Z   2Ch     temperature 30h: upper critical going high asserted, reading 60h, threshold 5Fh
0002h  ~2000-01-01 00:00:00Z  20h     Linux panic: sanity..... ...
0003h  ~2000-01-01 00:00:00Z  20h     Linux panic: Oops: bad a ...
0004h  ~2000-01-01 00:00:00Z  20h     Linux panic, part 2: A111
0005h  ~2000-01-01 00:00:00Z  20h     Linux panic, part 2: ddress
0006h  ~2000-01-01 00:00:00Z  20h     Linux panic: sysrq triggered crash
`}},
	{"list of our own", "sel list", result{stdout: `
ID     TIME                  SENDER  EVENT
0009h  2000-01-01 00:00:00Z  2Ch     fan 11h: redundancy lost asserted
`}},
	{"info of our own", "sel info", result{stdout: `
log            ipmbd
version        1.5
records        1
free           65535 bytes or more
last addition  2000-01-01 00:00:00Z
last erasure   no time
overflow       yes: records were lost
operations     reserve, delete
`}},
	{"clear of our own", "sel clear", result{stdout: `
1 record erased from the log of ipmbd
`}},
	{"list of our own that is empty", "sel list", result{stderr: `
ipmbctl: the log of ipmbd is empty
`}},
	{"list of an empty log", "sel list bus0 74h", result{stderr: `
ipmbctl: the log of bus0 74h is empty
`}},
	{"list of a log whose last record is answered C3h", "sel list bus0 7Ch", result{code: 3, stdout: `
ID     TIME                  SENDER  EVENT
0001h  2000-01-01 00:00:00Z  2Ch     temperature 30h: upper critical going high asserted, reading 60h, threshold 5Fh
0002h  2000-01-01 00:00:01Z  2Ch     temperature 30h: upper non-critical going high deasserted, reading 5Eh, threshold 5Fh
`, stderr: `
ipmbctl: bus0 7Ch: after 2 records: get-sel-entry: C3h timeout while processing the command
`}},
	{"list of a log without an end", "sel list bus0 76h", result{code: 1, stdout: `
ID     TIME                  SENDER  EVENT
0007h  2000-01-01 00:00:00Z  2Ch     temperature 30h: upper critical going high asserted, reading 60h, threshold 5Fh
`, stderr: `
ipmbctl: bus0 76h: after 1 record: the log is malformed: record 0007h comes again, at place 2
`}},
	{"list of a log that is being erased", "sel list bus0 78h", result{code: 3, stderr: `
ipmbctl: bus0 78h: get-sel-info: 81h SEL erase in progress
  try again when it is done
`}},
	{"list where there is no log", "sel list bus0 72h", result{code: 3, stderr: `
ipmbctl: bus0 72h: get-sel-info: C1h invalid command
  it may have no log; see what it supports: ipmbctl send bus0 72h app get-device-id
`}},
	{"list where nobody is", "sel list bus0 42h", result{code: 5, stderr: `
ipmbctl: bus0 42h: nobody acknowledged the request: check the address and the responder's power
  see which addresses answer: ipmbctl scan bus0
`}},
	{"list on a bus that is down", "sel list me1", result{code: 9, stderr: `
ipmbctl: me1 is down: /run/me1.sock: no such file or directory
  ipmbd opens it again as soon as it can
  see its state: ipmbctl info me1; journalctl -u ipmbd
`}},
	{"info", "sel info bus0", result{stdout: `
log            bus0 2Ch
version        1.5
records        7
free           65535 bytes or more
last addition  2000-01-01 00:00:00Z
last erasure   no time
overflow       yes: records were lost
operations     reserve, delete
`}},
	{"clear", "sel clear bus0 0", result{stdout: `
7 records erased from the log of bus0 2Ch
`}},
	{"clear again", "sel clear bus0 --timeout 1s --tries 1", result{stdout: `
0 records erased from the log of bus0 2Ch
`}},
	{"clear of an unknown bus", "sel clear bus7", result{code: 1, stderr: `
ipmbctl: no bus "bus7"
  the buses are: bus0, me1
`}},

	{"no command", "sel", result{code: 2, stderr: `
ipmbctl: no command after sel: list, info or clear
  see 'ipmbctl sel --help'
`}},
	{"unknown command", "sel lst bus0", result{code: 2, stderr: `
ipmbctl: no command "lst"; did you mean list?
  see 'ipmbctl sel --help'
`}},
	{"time-out of our own", "sel info --timeout 1s", result{code: 2, stderr: `
ipmbctl: --timeout and --tries are for a BUS; ipmbd's own log needs none
  see 'ipmbctl sel info --help'
`}},
	{"too many words", "sel clear bus0 20h 22h", result{code: 2, stderr: `
ipmbctl: sel clear takes a bus and an address, not 3 words
  see 'ipmbctl sel clear --help'
`}},
	{"odd address", "sel list bus0 33", result{code: 2, stderr: `
ipmbctl: address 21h: addresses are even, 02h to FEh: the 8-bit form, 20h for a node at 10h in 7 bits
  see 'ipmbctl sel list --help'
`}},
	{"time-out too long", "sel list bus0 --timeout 2m", result{code: 2, stderr: `
ipmbctl: --timeout is 10ms to 1m
  see 'ipmbctl sel list --help'
`}},
}

func TestWhatPeopleSeeOfLogs(t *testing.T) {
	r := newLogRig(t)
	for _, tt := range selGoldens {
		r.check(t, tt.name, tt.want, strings.Fields(tt.args)...)
	}
}

func TestCompletionOfLogs(t *testing.T) {
	r := newLogRig(t)
	for args, want := range map[string]string{
		"sel":           "clear\tErase all records of a log\ninfo\tShow how full a log is, and what it supports\nlist\tList the records of a log\n:4\n",
		"sel list":      "bus0\t/dev/ipmb-0\nme1\t/run/me1.sock\n:4\n",
		"sel list bus0": ":4\n",
	} {
		ended := "Completion ended with directive: ShellCompDirectiveNoFileComp\n"
		r.check(t, args, result{want, ended, 0}, append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
	}
}

func TestWhatProgramsSeeOfLogs(t *testing.T) {
	r := newLogRig(t)
	for _, tt := range []struct{ args, want string }{
		{"sel list bus0", `{"bus":"bus0","responder":44,"entries":[
			{"id":1,"recordType":2,"timestamp":5,"generator":32,"sender":"20h","text":"system boot 00h: power up asserted","panic":false,"records":[[1,0,2,5,0,0,0,32,0,4,29,0,111,0,255,255]]},
			{"id":2,"recordType":2,"timestamp":946684800,"time":"2000-01-01T00:00:00Z","generator":12588,"sender":"2Ch LUN 1 channel 3","text":"temperature 30h: upper critical going high asserted, reading 60h, threshold 5Fh","panic":false,"records":[[2,0,2,128,67,109,56,44,49,4,1,48,1,89,96,95]]},
			{"id":3,"recordType":2,"timestamp":946684816,"time":"2000-01-01T00:00:16Z","generator":32,"sender":"20h","text":"Linux panic: sysrq triggered crash","panic":true,"records":[[3,0,2,144,67,109,56,65,0,3,32,115,111,161,121,115],[4,0,240,32,0,115,121,115,114,113,32,116,114,105,103,103],[6,0,240,32,1,101,114,101,100,32,99,114,97,115,104,0]]},
			{"id":5,"recordType":192,"timestamp":946684817,"time":"2000-01-01T00:00:17Z","text":"OEM record C0h of manufacturer 343 (000157h): 01 02 03 04 05 06","panic":false,"records":[[5,0,192,145,67,109,56,87,1,0,1,2,3,4,5,6]]},
			{"id":7,"recordType":2,"generator":33,"sender":"SMI handler 21h","text":"event logging 00h: log area cleared deasserted","panic":false,"records":[[7,0,2,255,255,255,255,33,0,4,16,0,239,2,255,255]]}]}`},
		{"sel list bus0 7Ah", `{"bus":"bus0","responder":122,"entries":[
			{"id":1,"recordType":2,"timestamp":946684800,"time":"2000-01-01T00:00:00Z","generator":44,"sender":"2Ch","text":"temperature 30h: upper critical going high asserted, reading 60h, threshold 5Fh","panic":false,"records":[[1,0,2,128,67,109,56,44,0,4,1,48,1,89,96,95]]},
			{"id":2,"recordType":240,"timestamp":946684800,"time":"2000-01-01T00:00:00Z","about":true,"generator":32,"sender":"20h","text":"Linux panic: sanity..... ...","panic":true,"records":[[2,0,240,32,0,115,97,110,105,116,121,46,46,46,46,46]]},
			{"id":3,"recordType":240,"timestamp":946684800,"time":"2000-01-01T00:00:00Z","about":true,"generator":32,"sender":"20h","text":"Linux panic: Oops: bad a ...","panic":true,"records":[[3,0,240,32,0,79,111,112,115,58,32,98,97,100,32,97]]},
			{"id":4,"recordType":240,"timestamp":946684800,"time":"2000-01-01T00:00:00Z","about":true,"generator":32,"sender":"20h","text":"Linux panic, part 2: A111","panic":true,"records":[[4,0,240,32,1,65,49,49,49,0,0,0,0,0,0,0]]},
			{"id":5,"recordType":240,"timestamp":946684800,"time":"2000-01-01T00:00:00Z","about":true,"generator":32,"sender":"20h","text":"Linux panic, part 2: ddress","panic":true,"records":[[5,0,240,32,1,100,100,114,101,115,115,0,0,0,0,0]]},
			{"id":6,"recordType":240,"timestamp":946684800,"time":"2000-01-01T00:00:00Z","about":true,"generator":32,"sender":"20h","text":"Linux panic: sysrq triggered crash","panic":true,"records":[[6,0,240,32,0,115,121,115,114,113,32,116,114,105,103,103],[7,0,240,32,1,101,114,101,100,32,99,114,97,115,104,0]]}]}`},
		{"sel clear", `{"erased":1}`},
		{"sel list", `{"entries":[]}`},
		{"sel list bus0 74h", `{"bus":"bus0","responder":116,"entries":[]}`},
		{"sel info bus0", `{"bus":"bus0","responder":44,"version":"1.5","records":7,"freeBytes":65535,"lastAddition":946684800,"overflow":true,"operations":["reserve","delete"]}`},
		{"sel clear bus0", `{"bus":"bus0","responder":44,"erased":7}`},
	} {
		got := r.ipmbctl(t, append(strings.Fields(tt.args), "--json")...)
		want := result{strings.NewReplacer("\n", "", "\t", "").Replace(tt.want) + "\n", "", 0}
		if diff := want.diff(got); diff != "" || !json.Valid([]byte(got.stdout)) {
			t.Errorf("%s:\n%s", tt.args, diff)
		}
	}
	got := r.ipmbctl(t, "sel", "list", "bus0", "7Ch", "--json")
	var document selListJSON
	if err := json.Unmarshal([]byte(got.stdout), &document); err != nil || len(document.Entries) != 2 || !document.Incomplete || got.code != 3 {
		t.Errorf("%+v", got)
	}
	if want := `{"error":{"kind":"completion-code","exitCode":3,"message":"bus0 7Ch: after 2 records: get-sel-entry: C3h timeout while processing the command"}}` + "\n"; got.stderr != want {
		t.Errorf("%q, want %q", got.stderr, want)
	}
}

func TestProgressOfReadingALog(t *testing.T) {
	r := newLogRig(t)
	r.env.isTerminal = func(any) bool { return true }
	got := r.ipmbctl(t, "sel", "list", "bus0")
	if !strings.Contains(got.stderr, "\r\x1b[Kbus0 2Ch: 7 records read\r\x1b[K") || !strings.Contains(got.stdout, "\x1b[31mLinux panic: ") {
		t.Errorf("%+v", got)
	}
}
