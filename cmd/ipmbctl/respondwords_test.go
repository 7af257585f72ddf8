package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
)

func TestWordsOfRespond(t *testing.T) {
	for words, want := range map[string]struct {
		flags    respondFlags
		patterns string
		answer   ipmi.Response
	}{
		"app get-device-id":     {respondFlags{}, "app get-device-id on all channels", ipmi.Response{Data: []byte{}}},
		"6 1 0x20 07h 9":        {respondFlags{}, "app get-device-id on all channels", ipmi.Response{Data: []byte{0x20, 7, 9}}},
		"chassis all":           {respondFlags{code: "C1h"}, "chassis all commands on all channels", ipmi.Response{Code: 0xC1, Data: []byte{}}},
		"0x30 1 2 all":          {respondFlags{exec: "x", channels: "7,0"}, "30h 01h on channels 0, 7, 30h 02h on channels 0, 7, 30h all commands on channels 0, 7", ipmi.Response{}},
		"group 1":               {respondFlags{exec: "x", group: "DCh", timeout: time.Second}, "group DCh 01h on all channels", ipmi.Response{}},
		"oem 1":                 {respondFlags{exec: "x", iana: "343"}, "oem IANA 343 01h on all channels", ipmi.Response{}},
		"oem all":               {respondFlags{exec: "x", iana: "FFFFFFh", channels: "15"}, "oem IANA 16777215 all commands on channel 15", ipmi.Response{}},
		"app cold-reset 3 0x47": {respondFlags{exec: "x"}, "app cold-reset on all channels, app warm-reset on all channels, app set-user-password on all channels", ipmi.Response{}},
	} {
		patterns, answer, err := want.flags.parse(strings.Fields(words))
		if err != nil {
			t.Errorf("%s: %v", words, err)
			continue
		}
		if got := patternsText(patterns); got != want.patterns {
			t.Errorf("%s: %s", words, got)
		}
		if diff := cmp.Diff(want.answer, answer); diff != "" {
			t.Errorf("%s: %s", words, diff)
		}
	}
}

func TestWordsThatAreNoRespond(t *testing.T) {
	for _, tt := range []struct {
		words string
		flags respondFlags
		want  string
	}{
		{"", respondFlags{}, "no network function and no command"},
		{"app", respondFlags{}, "no command after network function app"},
		{"ap 1", respondFlags{}, `no netFn "ap"; did you mean app?`},
		{"app cold", respondFlags{}, `app has no command "cold"`},
		{"app 1 20 de", respondFlags{}, `data byte 2: "de" is no number; write it 0xde`},
		{"app 1 cold", respondFlags{exec: "x"}, `app has no command "cold"`},
		{"app 1", respondFlags{code: "300"}, `--code: "300" is no byte`},
		{"app 1", respondFlags{code: "0", exec: "x"}, "--code and --exec: the program says the completion code"},
		{"app 1", respondFlags{timeout: time.Second}, "--timeout is for --exec"},
		{"app 1", respondFlags{timeout: 6 * time.Second, exec: "x"}, "--timeout is 10ms to 5s: ipmbd waits no longer"},
		{"app 1", respondFlags{channels: "0,"}, `--channels: "" is no byte`},
		{"app 1", respondFlags{channels: "16"}, "--channels: channels are 0 to 15"},
		{"app 1", respondFlags{group: "DCh"}, "--group is for network function 2Ch, not app"},
		{"group 1", respondFlags{iana: "343"}, "--iana is for network function 2Eh, not group"},
		{"group 1", respondFlags{group: "0x100"}, `--group: "0x100" is no byte`},
		{"oem 1", respondFlags{iana: "0x1000000"}, `--iana: "0x1000000" is no number up to FFFFFFh`},
	} {
		_, _, err := tt.flags.parse(strings.Fields(tt.words))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %q", tt.words, err, tt.want)
		} else if !errors.As(err, new(usageError)) {
			t.Errorf("%q: %v is no usage error", tt.words, err)
		}
	}
}
