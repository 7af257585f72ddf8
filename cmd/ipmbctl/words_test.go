package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestWordsOfAMessage(t *testing.T) {
	getDeviceID := ipmb.Request{NetFn: 6, Command: 1, Data: []byte{}}
	to := func(m ipmb.Request, responder ipmi.Address) ipmb.Request {
		m.Responder = responder
		return m
	}
	for words, want := range map[string]ipmb.Request{
		"app get-device-id":      getDeviceID,
		"6 1":                    getDeviceID,
		"0x06 0x01":              getDeviceID,
		"06h 01h":                getDeviceID,
		"APP Get-Device-ID":      getDeviceID,
		"0x20 6 1":               to(getDeviceID, 0x20),
		"32 6 1":                 to(getDeviceID, 0x20),
		"72h app get-device-id":  to(getDeviceID, 0x72),
		"0x2C app get-device-id": to(getDeviceID, 0x2C),
		"0x2C app 1":             to(getDeviceID, 0x2C),
		"0x2c 6 1":               to(getDeviceID, 0x2C),
		"44 6 1":                 to(getDeviceID, 0x2C),
		"2Eh 6 1":                to(getDeviceID, 0x2E),
		"0xEE 6 1":               to(getDeviceID, 0xEE),
		"0x10 6 1":               to(getDeviceID, 0x10),
		"0x30 app get-device-id": to(getDeviceID, 0x30),
		"0x2c 6 0x99 1":          {Responder: 0x2C, NetFn: 6, Command: 0x99, Data: []byte{1}},
		"0x2c 0x30 6 1":          {Responder: 0x2C, NetFn: 0x30, Command: 6, Data: []byte{1}},
		"0x2c 2 0xdc 1 0":        {NetFn: 0x2C, Command: 2, Data: []byte{0xDC, 1, 0}},
		"0x2c 1 0":               {NetFn: 0x2C, Command: 1, Data: []byte{0}},
		"0x2c 6 0":               {NetFn: 0x2C, Command: 6, Data: []byte{0}},
		"0x30 6 0x99":            {NetFn: 0x30, Command: 6, Data: []byte{0x99}},
		"2Eh 2 1":                {Responder: 0x2E, NetFn: 2, Command: 1, Data: []byte{}},
		"--addr 0x2C 6 1":        to(getDeviceID, 0x2C),
		"--addr 2Ch 6 1":         to(getDeviceID, 0x2C),
		"--addr 0 6 1":           getDeviceID,
		"--addr 6 6 1":           to(getDeviceID, 6),
		"0x30 1":                 {NetFn: 0x30, Command: 1, Data: []byte{}},
		"0x30 0x33 1":            {NetFn: 0x30, Command: 0x33, Data: []byte{1}},
		"0x2e 0xdf 0x57 1 0":     {NetFn: 0x2E, Command: 0xDF, Data: []byte{0x57, 1, 0}},
		"oem 2 0x57 1 0":         {NetFn: 0x2E, Command: 2, Data: []byte{0x57, 1, 0}},
		"--addr 0 0x30 2 1":      {NetFn: 0x30, Command: 2, Data: []byte{1}},
		"--addr 0x30 2 1":        {Responder: 0x30, NetFn: 2, Command: 1, Data: []byte{}},
		"--addr 0 0x20 1":        {NetFn: 0x20, Command: 1, Data: []byte{}},
		"0 1 0 00 07 8 255 0xff": {Command: 1, Data: []byte{0, 0, 7, 8, 255, 255}},
	} {
		got, err := parseRequest(splitAddr(words))
		if err != nil {
			t.Errorf("%s: %v", words, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", words, diff)
		}
	}
}

// splitAddr takes --addr and its value from the words.
func splitAddr(words string) ([]string, string) {
	if rest, found := strings.CutPrefix(words, "--addr "); found {
		addr, rest, _ := strings.Cut(rest, " ")
		return strings.Fields(rest), addr
	}
	return strings.Fields(words), ""
}

func TestWordsThatAreNoMessage(t *testing.T) {
	for words, want := range map[string]string{
		"":                   "no network function",
		"app":                "no command after network function app",
		"0x2c":               "no network function",
		"--addr 0":           "no network function",
		"0x72 ap get":        `no netFn "ap"; did you mean app?`,
		"0x30 6 1":           "0x30 can be an address or a network function",
		"0x2c 0 0":           "0x2c can be an address or a network function", // Get PICMG Properties
		"0x2c 4 2 1":         "0x2c can be an address or a network function",
		"2Eh 6 1 0x57 1 0":   "2Eh can be an address or a network function",
		"62 2 1":             "62 can be an address or a network function",
		"0x3e 0x30 1":        "0x3e can be an address or a network function",
		"0xEF 6 1":           "address EFh: addresses are even",
		"0xF0 6 1":           "netFn F0h is larger than 3Eh",
		"0x21 6 1":           "address 21h: addresses are even",
		"7 1":                "netFn 07h is that of a response",
		"0x20 1":             "netFn 01h is that of a response",
		"--addr 0x21 6 1":    "address 21h: addresses are even",
		"--addr 0x100 6 1":   "is no byte",
		"--addr x 6 1":       "is no byte",
		"--addr 0 0x40 1":    "larger than 3Eh",
		"6 0x100":            "at most 255",
		"6 1 256":            "data byte 1: \"256\" is no byte",
		"6 1 0 -1":           "data byte 2: \"-1\" is no byte",
		"6 1 0 0 010":        "data byte 3: \"010\": is it octal or decimal? Write 10 or 0x0A",
		"6 1 de ad":          "data byte 1: \"de\" is no number; write it 0xde",
		"6 1 0x":             "data byte 1: \"0x\" is no byte",
		"6 1 h":              "data byte 1: \"h\" is no byte",
		"6 1 0x12h":          "data byte 1: \"0x12h\" is no byte",
		"6 1 1_0":            "data byte 1: \"1_0\" is no byte",
		"6 1 +1":             "data byte 1: \"+1\" is no byte",
		"6 1 1,2":            "data byte 1: \"1,2\" is no byte",
		"app send-mesage 1":  "did you mean send-message",
		"chassis get-sdr":    "it is one of storage",
		"6 get-device-id de": "data byte 1: \"de\" is no number",
	} {
		got, err := parseRequest(splitAddr(words))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %q", words, got, err, want)
		} else if !errors.As(err, new(usageError)) {
			t.Errorf("%q: %v is no usage error", words, err)
		}
	}
}

func TestFlagsOfSendReachTheBus(t *testing.T) {
	r := newRig(t, bustest.Config{})
	got := r.ipmbctl(t, "send", "bus0", "--lun", "1", "--requester-lun", "2", "--timeout", "300ms", "--tries", "3",
		"--fail-fast", "--broadcast", "--addr", "84h", "app", "get-device-id", "9")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	want := ipmb.Request{
		Responder: 0x84, NetFn: 6, LUN: 1, RequesterLUN: 2, Command: 1, Data: []byte{9},
		RetryPolicy: ipmb.RetryPolicy{Tries: 3, Timeout: 300 * time.Millisecond}, FailFast: true, GeneralCall: true,
	}
	if diff := cmp.Diff(want, r.bus0.last()); diff != "" {
		t.Error(diff)
	}
}

func TestFlagsOfScanReachTheBus(t *testing.T) {
	r := newRig(t, bustest.Config{})
	if got := r.ipmbctl(t, "scan", "bus0", "--from", "84h", "--to", "84h"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	want := ipmb.Request{
		Responder: 0x84, NetFn: 6, Command: 1, Data: []byte{},
		RetryPolicy: ipmb.RetryPolicy{Tries: scanTries, Timeout: scanTimeout}, FailFast: true,
	}
	if diff := cmp.Diff(want, r.bus0.last()); diff != "" {
		t.Error(diff)
	}
}

// What parses is a valid request, says nothing that was not said, and parses
// the same when it is written out in full.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{"app get-device-id", "0x20 6 1 2", "2Ch 6 1", "0x2e 0xdf 0x57 1 0", "010 1", "--addr 0 0x30 2", "6 1 0xFFh", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, addr := splitAddr(text)
		m, err := parseRequest(words, addr)
		if err != nil {
			return
		}
		switch named := len(words) - 2 - len(m.Data); {
		case m.Responder != 0 && !m.Responder.IsSlave(), m.NetFn.IsResponse(), m.NetFn > ipmi.MaxNetFn:
			t.Fatalf("%q: %+v", text, m)
		case named != 0 && (named != 1 || addr != "" || m.Responder == 0):
			t.Fatalf("%q: %d words are %+v", text, len(words), m)
		}
		whole := []string{fmt.Sprint(uint8(m.NetFn)), fmt.Sprint(uint8(m.Command))}
		for _, b := range m.Data {
			whole = append(whole, fmt.Sprintf("0x%x", b))
		}
		again, err := parseRequest(whole, fmt.Sprintf("%02Xh", uint8(m.Responder)))
		if diff := cmp.Diff(m, again); err != nil || diff != "" {
			t.Fatalf("%q: %v %s", text, err, diff)
		}
	})
}

func TestTimesOfFlags(t *testing.T) {
	r := newRig(t, bustest.Config{})
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "0.5": 500 * time.Millisecond, "5s": 5 * time.Second, "500ms": 500 * time.Millisecond,
		"1m": time.Minute, "1": time.Second,
	} {
		if got := r.ipmbctl(t, "send", "bus0", "--timeout", text, "6", "1"); got.code != 0 {
			t.Errorf("%s: %+v", text, got)
		}
		if got := r.bus0.last().RetryPolicy.Timeout; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "x", "0", "0s", "-5", "5 s", "61", "NaN", "1e99", "0.001"} {
		for _, args := range [][]string{{"send", "bus0", "6", "1"}, {"scan", "bus0"}, {"sel", "list", "bus0"}, {"respond", "6", "1", "--exec", "true"}} {
			if got := r.ipmbctl(t, append(args, "--timeout", text)...); got.code != exitUsage {
				t.Errorf("%q, %v: %+v", text, args, got)
			}
		}
	}
}

func TestNumbersOfThings(t *testing.T) {
	for want, got := range map[string]string{
		"0 buses": counted(0, "bus"), "1 bus": counted(1, "bus"), "2 buses": counted(2, "bus"),
		"1 address": counted(1, "address"), "2 addresses": counted(2, "address"),
		"1 record": counted(1, "record"), "2 records": counted(2, "record"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
