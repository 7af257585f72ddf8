package config

import (
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
