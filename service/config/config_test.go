package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
)

func TestWithDefaults(t *testing.T) {
	tests := []struct {
		name string
		give Channel
		want Channel
	}{
		{
			"least of an ipmb channel",
			Channel{SlavePath: "/dev/ipmb-12", RemoteAddress: 0x40},
			Channel{
				SlavePath: "/dev/ipmb-12", RemoteAddress: 0x40,
				BMCAddress: 0x20, Name: "bus12", IPMIChannel: new(ipmi.Channel(0)), BusName: "Ipmb",
			},
		},
		{
			"management engine",
			Channel{Type: TypeME, SlavePath: "/dev/ipmb-5", RemoteAddress: 0x2C},
			Channel{
				Type: TypeME, SlavePath: "/dev/ipmb-5", RemoteAddress: 0x2C,
				BMCAddress: 0x20, Name: "bus5", IPMIChannel: new(ipmi.Channel(1)), BusName: "Ipmb",
			},
		},
		{"nothing to fill in", everythingRead.Channels[1], everythingRead.Channels[1]},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.give.WithDefaults()); diff != "" {
				t.Error("differs (-want +got):\n" + diff)
			}
		})
	}
}

func TestWithDefaultsLeavesTheOriginal(t *testing.T) {
	config := Config{Channels: []Channel{{SlavePath: "/dev/ipmb-4"}}}
	if full := config.WithDefaults(); full.Channels[0].Name != "bus4" {
		t.Errorf("not filled in: %+v", full)
	}
	if config.Channels[0].Name != "" {
		t.Error("the original has changed")
	}
}

func TestDefaultNameFromPath(t *testing.T) {
	for path, want := range map[string]string{
		"/dev/ipmb-4":          "bus4",
		"/dev/ipmb-04":         "bus04",
		"/run/a-9/ipmb-12.alt": "bus9", // as ipmbbridge counts
		"/run/host-1-2":        "bus1",
		"/run/host-one-2":      "",
		"/run/a-b/sim":         "",
		"":                     "",
	} {
		if got := (Channel{SlavePath: path}).WithDefaults().Name; got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestIndex(t *testing.T) {
	tests := []struct {
		kind     ChannelType
		devIndex int
		want     uint8
	}{{TypeIPMB, 0, 0}, {TypeME, 0, 1}, {TypeIPMB, 1, 4}, {TypeME, 1, 5}, {TypeME, MaxDevIndex, 0xFD}}
	for _, test := range tests {
		if got := (Channel{Type: test.kind, DevIndex: test.devIndex}).Index(); got != test.want {
			t.Errorf("%v of host %d: got %d, want %d", test.kind, test.devIndex, got, test.want)
		}
	}
}

func TestBusNames(t *testing.T) {
	for name, want := range map[string]bool{
		"xyz.openbmc_project.Ipmi":      true,
		"com.Example-1._7":              true,
		"a.b":                           true,
		"a":                             false,
		"a.":                            false,
		".a":                            false,
		"a..b":                          false,
		"a.1b":                          false,
		":1.5":                          false,
		"a.\u00e9":                      false,
		"":                              false,
		"a." + strings.Repeat("b", 253): true,
		"a." + strings.Repeat("b", 254): false,
	} {
		if got := formats["bus name"].problemOf(name) == ""; got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

// socketPaths are files with a path of a socket at each key that can hold one.
var socketPaths = map[string]string{
	"frame-socket": `{"channels": [],
"frame-socket": "%s"}`,
	"channels[0].slave-path": `{"channels": [{"name": "a", "remote-addr": 64, "transport": "seqpacket",
"slave-path": "%s"}]}`,
	"hosts[0].path": `{"hosts": [{"name": "a",
"path": "unix:%s"}]}`,
}

// socketPath is a path of a length in bytes.
func socketPath(length int) string { return "/" + strings.Repeat("p", length-1) }

// The address of a Unix socket has room for 107 bytes (unix(7)).
func TestPathsOfSockets(t *testing.T) {
	for key, text := range socketPaths {
		if _, _, err := Parse(Named(strictFile, false), fmt.Appendf(nil, text, socketPath(107))); err != nil {
			t.Errorf("107 bytes: %v", err)
		}
		_, _, err := Parse(Named(strictFile, false), fmt.Appendf(nil, text, socketPath(108)))
		var fault Fault
		if !errors.As(err, &fault) || fault.Key != key || fault.Line != 2 || fault.Column == 1 || !strings.Contains(fault.Problem, "107 bytes") {
			t.Errorf("%s of 108 bytes: %v", key, err)
		}
	}
}

var bmcCases = map[string]string{
	`"folder": "/dev/null"`:     `:1:19: bmc.folder = "/dev/null": cannot be a folder: there is a file in its place, or above it`,
	`"folder": "/dev/null/bmc"`: `:1:19: bmc.folder = "/dev/null/bmc": cannot be a folder: there is a file in its place, or above it`,
	`"folder": "lib"`:           `:1:19: bmc.folder = "lib": must be an absolute path`,
	`"guid": "f81d4fae7dec11d0a76500a0c91e6bf6"`: `:1:17: bmc.guid = "f81d4fae7dec11d0a76500a0c91e6bf6": ` +
		`must be a string such as "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`,
	`"guid": "00000000-0000-0000-0000-000000000000"`: `:1:17: bmc.guid = "00000000-0000-0000-0000-000000000000": must not be zero`,
	`"log-capacity": 40000`:                          `:1:25: bmc.log-capacity = 40000: must be from 1 to 32768`,
	`"identity": {"firmware": "1.5"}`:                `:1:34: bmc.identity.firmware = "1.5": must be a string such as "1.05", at most "127.99"`,
	`"identity": {"firmware": "128.00"}`:             `:1:34: bmc.identity.firmware = "128.00": must be a string such as "1.05", at most "127.99"`,
	`"identity": {"firmware": 1.05}`:                 `:1:34: bmc.identity.firmware = 1.05: must be a string such as "1.05", at most "127.99"`,
	`"identity": {"auxiliary": "0102"}`:              `:1:35: bmc.identity.auxiliary = "0102": must be a string of 8 hexadecimal digits`,
	`"identity": {"manufacturer": 1048575}`:          `:1:38: bmc.identity.manufacturer = 1048575: must be from 0 to 1048574`,
	`"identity": {"product": 65535}`:                 `:1:33: bmc.identity.product = 65535: must be from 0 to 65534`,
	`"sensors": [{"name": "X", "max": 1}]`:           `:1:30: bmc.sensors[0].name = "X": must have 2 to 16 characters, not 1`,
	`"sensors": [{"name": "Hot", "max": 1e999}]`:     `:1:44: bmc.sensors[0].max = 1e999: is too large`,
	`"sensors": [{"name": "Hot", "max": 99, "upper-critical": 20, "upper-non-critical": 30}]`:             `:1:21: bmc.sensors[0]: sensor "Hot": the thresholds are not in their order`,
	`"sensors": [{"name": "Hot", "max": 99, "upper-critical": 100}]`:                                      `:1:21: bmc.sensors[0]: sensor "Hot": upper-critical 100 is not from min to max, 0 to 99`,
	`"sensors": [{"name": "Hot", "max": 1}, {"name": "Hotter", "max": 1}]`:                                `:1:48: bmc.sensors[1].number = 0: belongs to another one`,
	`"sensors": [{"name": "Hot", "max": 1, "dbus": {"service": "a.b", "path": "/", "interface": "c.d"}}]`: `:1:55: bmc.sensors[0].dbus.property: is missing`,
	`"sensors": [{"name": "Hot", "max": 1, "file": "temp"}]`:                                              `:1:55: bmc.sensors[0].file = "temp": must be an absolute path`,
	`"frus": [{"name": "Board", "board": {"made": "today"}}]`:                                             `:1:54: bmc.frus[0].board.made = "today": must be a date such as "2026-01-31"`,
	`"controllers": [{"name": "Sat", "address": 33}]`:                                                     `:1:52: bmc.controllers[0].address = 33: must be even: an address in its 8-bit form`,
}

func TestFaultsOfTheBMC(t *testing.T) {
	for text, want := range bmcCases {
		file := `{"bmc":{` + text + `}, "hosts": [{"type": "vm", "name": "host0", "path": "tcp:127.0.0.1:9001"}]}`
		_, _, err := Parse(Named(strictFile, false), []byte(file))
		if err == nil {
			t.Errorf("%s: no fault", text)
			continue
		}
		if diff := cmp.Diff(want, strings.TrimPrefix(err.Error(), strictFile)); diff != "" {
			t.Errorf("%s: fault differs (-want +got):\n%s", text, diff)
		}
	}
}
