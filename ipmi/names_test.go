package ipmi

import (
	"regexp"
	"strings"
	"testing"
)

func TestNetFnString(t *testing.T) {
	for n, want := range map[NetFn]string{
		NetFnChassis:   "chassis",
		NetFnBridge:    "bridge",
		NetFnSensor:    "sensor",
		NetFnApp:       "app",
		NetFnFirmware:  "firmware",
		NetFnStorage:   "storage",
		NetFnTransport: "transport",
		NetFnGroup:     "group",
		NetFnOEM:       "oem",
		0x07:           "app response",
		0x0E:           "0Eh",
		0x30:           "30h",
		0x31:           "31h",
		0xFF:           "FFh",
	} {
		if got := n.String(); got != want {
			t.Errorf("%02Xh: got %q, want %q", uint8(n), got, want)
		}
	}
}

func TestCommandName(t *testing.T) {
	for _, tt := range []struct {
		netFn NetFn
		cmd   Command
		want  string
	}{
		{NetFnApp, CommandGetDeviceID, "get-device-id"},
		{NetFnApp.Response(), CommandGetDeviceID, "get-device-id"},
		{NetFnSensor, 0x02, "platform-event"},
		{NetFnBridge, 0xFF, "error-report"},
		{NetFnApp, 0x00, "00h"},
		{NetFnApp, 0xA5, "A5h"},
		{NetFnFirmware, 0x01, "01h"},
		{NetFnOEM, 0x01, "01h"},
		{0xFF, 0xFF, "FFh"},
	} {
		if got := CommandName(tt.netFn, tt.cmd); got != tt.want {
			t.Errorf("%v %02Xh: got %q, want %q", tt.netFn, uint8(tt.cmd), got, tt.want)
		}
	}
}

func TestNamesSuitACommandLine(t *testing.T) {
	shape := regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`)
	for n := range MaxNetFn {
		seen := map[string]bool{}
		for cmd, name := range namesOf(n) {
			if name == "" {
				continue
			}
			if _, isNumber := parseByte(name); isNumber || seen[name] || !shape.MatchString(name) {
				t.Errorf("%v %02Xh is named %q: a number, used twice or badly formed", n, cmd, name)
			}
			seen[name] = true
		}
	}
}

func TestNamesAreReadBack(t *testing.T) {
	for n := NetFn(0); n < MaxNetFn; n += 2 {
		if got, err := ParseNetFn(n.String()); got != n || err != nil {
			t.Errorf("ParseNetFn(%q) = %02Xh, %v", n, uint8(got), err)
		}
		for c := range 256 {
			cmd := Command(c)
			if got, err := ParseCommand(n, CommandName(n, cmd)); got != cmd || err != nil {
				t.Errorf("ParseCommand(%v, %q) = %02Xh, %v", n, CommandName(n, cmd), uint8(got), err)
			}
		}
	}
}

func TestParseNetFn(t *testing.T) {
	for _, tt := range []struct {
		in      string
		want    NetFn
		problem string // part of the error
	}{
		{in: "app", want: NetFnApp},
		{in: "App", want: NetFnApp},
		{in: "6", want: NetFnApp},
		{in: "06", want: NetFnApp},
		{in: "0x06", want: NetFnApp},
		{in: "06h", want: NetFnApp},
		{in: "6H", want: NetFnApp},
		{in: "10", want: NetFnStorage},
		{in: "0X2c", want: NetFnGroup},
		{in: "3Eh", want: 0x3E},
		{in: "7", problem: "netFn 07h is that of a response; the request's is 06h"},
		{in: "3Fh", problem: "the request's is 3Eh"},
		{in: "40h", problem: "larger than 3Eh"},
		{in: "255", problem: "larger than 3Eh"},
		{in: "256", problem: "at most 255"},
		{in: "2C", problem: "written 0x2C or 2Ch"},
		{in: "stroage", problem: "did you mean storage?"},
		{in: "ap", problem: "did you mean app"},
		{in: "trans", problem: "did you mean transport?"},
		{in: "", problem: `no netFn ""`},
		{in: "h", problem: `no netFn "h"`},
		{in: "0x", problem: `no netFn "0x"`},
		{in: "-6", problem: `no netFn "-6"`},
		{in: "no such thing", problem: "a number is written"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParseNetFn(tt.in)
			checkParsed(t, got, tt.want, err, tt.problem)
		})
	}
}

func TestParseCommand(t *testing.T) {
	for _, tt := range []struct {
		netFn   NetFn
		in      string
		want    Command
		problem string
	}{
		{netFn: NetFnApp, in: "get-device-id", want: 0x01},
		{netFn: NetFnApp.Response(), in: "get-device-id", want: 0x01},
		{netFn: NetFnApp, in: "Get-Device-ID", want: 0x01},
		{netFn: NetFnApp, in: "0x47", want: 0x47},
		{netFn: NetFnApp, in: "71", want: 0x47},
		{netFn: NetFnOEM, in: "FFh", want: 0xFF},
		{netFn: NetFnApp, in: "get-devic-id", problem: `app has no command "get-devic-id"; did you mean get-device-id`},
		{netFn: NetFnApp, in: "device-id", problem: "did you mean get-device-id?"},
		{netFn: NetFnApp, in: "watchdog", problem: "get-watchdog-timer"},
		{netFn: NetFnApp, in: "get-sdr", problem: `app has no command "get-sdr"; it is one of storage`},
		{netFn: NetFnOEM, in: "get-device-id", problem: "it is one of app"},
		{netFn: 0x30, in: "frob", problem: `30h has no command "frob"; a number is written`},
		{netFn: NetFnApp, in: "2D", problem: "written 0x2D or 2Dh"},
		{netFn: NetFnApp, in: "100h", problem: "at most 255"},
		{netFn: NetFnApp, in: "", problem: `no command ""`},
	} {
		t.Run(tt.netFn.String()+" "+tt.in, func(t *testing.T) {
			got, err := ParseCommand(tt.netFn, tt.in)
			checkParsed(t, got, tt.want, err, tt.problem)
		})
	}
}

func checkParsed[T ~uint8](t *testing.T, got, want T, err error, problem string) {
	t.Helper()
	switch {
	case problem == "" && err != nil:
		t.Errorf("error %v", err)
	case problem == "" && got != want:
		t.Errorf("got %02Xh, want %02Xh", uint8(got), uint8(want))
	case problem != "" && err == nil:
		t.Errorf("got %02Xh, want an error", uint8(got))
	case problem != "" && !strings.Contains(err.Error(), problem):
		t.Errorf("error %q does not say %q", err, problem)
	}
}

func TestNearestIsShort(t *testing.T) {
	near := nearest("get", namesOf(NetFnApp))
	if len(near) != maxSuggestions {
		t.Errorf("%d suggestions for a word of many names: %q", len(near), near)
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"app", "app", 0},
		{"ap", "app", 1}, {"apq", "app", 1}, {"kitten", "sitting", 3},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
