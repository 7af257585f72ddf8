package config

import (
	"errors"
	"strings"
	"testing"
)

func TestOneChannelAndOneHost(t *testing.T) {
	c, err := ParseChannel([]byte(`{"type": "me", "slave-path": "/dev/ipmb-4", "remote-addr": "0x2C", "devIndex": 2}`))
	if err != nil || c.RemoteAddress != 0x2C || c.Index() != 9 || c.WithDefaults().Name != "bus4" {
		t.Errorf("%+v, %v", c, err)
	}
	e, err := ParseHost([]byte(`{"type": "kcs", "path": "/dev/ipmi-kcs3"}`))
	if h, ok := e.(Host); err != nil || !ok || h.Type != HostKCS || h.Name != "ipmi_kcs3" {
		t.Errorf("%+v, %v", e, err)
	}
	e, err = ParseHost([]byte(`{"type": "openipmi", "path": "/dev/ipmi0", "devIndex": 1}`))
	if o, ok := e.(OpenIPMI); err != nil || !ok || o.Name != "ipmi0" || o.Index() != 6 {
		t.Errorf("%+v, %v", e, err)
	}
}

// badOnes are objects and what is said of them, a line for each fault.
var badOnes = []struct{ name, text, channel, host string }{
	{"nothing", ``, "is empty", "is empty"},
	{"no JSON", `{"type": `, "unexpected end of JSON input", "unexpected end of JSON input"},
	{"not UTF-8", "{\"name\": \"\xff\"}", "is not UTF-8", "is not UTF-8"},
	{"a list", `[]`, "channel: must be an object", "host: must be an object"},
	{"two objects", `{} {}`, "invalid character '{' after top-level value", "invalid character '{' after top-level value"},
	{"empty", `{}`,
		"channel.slave-path: is missing\nchannel.remote-addr: is missing", "host.path: is missing\nhost.name: is missing"},
	{"a key twice", `{"type": "me", "type": "me", "slave-path": "/dev/ipmb-1", "remote-addr": 44}`, "stands twice", ""},
	{"a number that is none", `{"slave-path": "/dev/ipmb-1", "remote-addr": 1e99}`,
		"channel.remote-addr = 1e99: must be a whole number, or one in a string such as \"0x20\"", ""},
	{"deep", `{"name": ` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`, "nests deeper than 8 levels", "nests deeper than 8 levels"},
	{"names with control characters", `{"name": "a\u0000b", "path": "unix:/x", "slave-path": "/x\u0000", "remote-addr": 44}`, "channel.path = ", "host.name = "},
}

func TestBadOnes(t *testing.T) {
	for _, tt := range badOnes {
		_, err := ParseChannel([]byte(tt.text))
		if tt.channel != "" && (err == nil || !strings.Contains(err.Error(), tt.channel)) {
			t.Errorf("%s as a channel: %v", tt.name, err)
		}
		_, err = ParseHost([]byte(tt.text))
		if tt.host != "" && (err == nil || !strings.Contains(err.Error(), tt.host)) {
			t.Errorf("%s as a host: %v", tt.name, err)
		}
	}
}

// FuzzOne wants no panic, what is good enough for a file where there is no error, and
// faults where there is one. What is good is so in a file, too.
func FuzzOne(f *testing.F) {
	for _, tt := range badOnes {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte(`{"type": "me", "slave-path": "/dev/ipmb-4", "remote-addr": "0x2C", "devIndex": 2, "handler": "bmc", "bus-name": "A"}`))
	f.Add([]byte(`{"type": "bt", "path": "/dev/ipmi-bt-host", "legacy-api": true, "ipmi-channel": 15}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := ParseChannel(data)
		checkOne(t, "channels", data, err)
		_, err = ParseHost(data)
		checkOne(t, "hosts", data, err)
	})
}

func checkOne(t *testing.T, list string, data []byte, err error) {
	t.Helper()
	if err != nil {
		if fault := (Fault{}); !errors.As(err, &fault) || fault.Problem == "" || fault.File != "" {
			t.Errorf("%s: no fault: %v", list, err)
		}
		return
	}
	if _, _, err := Parse(strictFile, []byte(`{"`+list+`": [`+string(data)+`]}`)); err != nil {
		t.Errorf("a file with it: %v", err)
	}
}
