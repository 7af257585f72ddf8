package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bmc"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

var addressCases = map[string]ipmi.Address{
	`44`: 0x2C, `"44"`: 0x2C, `"0x2C"`: 0x2C, `"0X2c"`: 0x2C, `"2Ch"`: 0x2C, `"2cH"`: 0x2C, `"40h"`: 0x40, `"C0h"`: 0xC0,
	`"h"`: 0, `"-2h"`: 0, `"0x"`: 0, `"0x2Ch"`: 0, `"2C"`: 0, `"044"`: 0, `"100h"`: 0, `""`: 0, `"0h"`: 0,
}

func TestAddressesInAFile(t *testing.T) {
	for text, want := range addressCases {
		c, _, err := ParseChannel([]byte(`{"slave-path": "/dev/ipmb-4", "remote-addr": ` + text + `}`))
		if (err == nil) != (want != 0) || c.RemoteAddress != want {
			t.Errorf("%s: got %v, %v; want %v", text, c.RemoteAddress, err, want)
		}
	}
	if _, _, err := ParseChannel([]byte(`{"slave-path": "/dev/ipmb-4", "remote-addr": 44, "tries": "2h"}`)); err == nil {
		t.Error("a number that is no address ends in h")
	}
}

func TestWarnings(t *testing.T) {
	for name, tt := range map[string]struct{ keys, want string }{
		"8-bit addresses":              {`"slave-path": "/dev/ipmb-4", "bmc-addr": "20h", "remote-addr": "2Ch"`, ""},
		"an address in 7 bits":         {`"slave-path": "/dev/ipmb-4", "bmc-addr": "10h", "remote-addr": 64`, `warning: channels[0].bmc-addr = "10h": looks like an address in 7 bits: the 8-bit form, which belongs here, would be 0x20`},
		"another one":                  {`"slave-path": "/dev/ipmb-4", "remote-addr": 22`, `warning: channels[0].remote-addr = 22: looks like an address in 7 bits: the 8-bit form, which belongs here, would be 0x2C`},
		"an address in one of 7 bits?": {`"slave-path": "/dev/ipmb-4", "remote-addr": 34`, ""},
		"the whole bus": {`"slave-path": "/dev/i2c-4", "remote-addr": 64`, `warning: channels[0].slave-path = "/dev/i2c-4": is an I2C bus, on which nothing is received: name the device ` +
			`that a driver makes on it, /dev/ipmb-4 of ipmb-dev or /sys/bus/i2c/devices/4-1010/slave-mqueue of slave-mqueue; ipmbctl bind makes either`},
	} {
		_, warnings, err := Parse(Named(strictFile, false), []byte(`{"$schema": "ipmbd.schema.json", "channels": [{`+tt.keys+`}]}`))
		got := strings.Join(texts(warnings), "\n")
		if _, after, ok := strings.Cut(got, ": "); ok {
			got = after
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", name, err, diff)
		}
		_, warnings, err = ParseChannel([]byte(`{` + tt.keys + `}`))
		if err != nil || len(warnings) > 1 || (len(warnings) == 1) != (tt.want != "") {
			t.Errorf("%s, added at run time: %v, %v", name, warnings, err)
		}
	}
}

// The fault of an address has the address once, and what it must be.
func TestAddressesOfMachines(t *testing.T) {
	for path, want := range map[string]string{
		"tcp:0.0.0.0:9002":   "must have a loopback address and a port, as in tcp:127.0.0.1:9002",
		"tcp:localhost:9002": "must have a loopback address and a port, as in tcp:127.0.0.1:9002",
		"unix:run/a":         "must have an absolute path, as in unix:/run/ipmbd/host0.sock",
		"127.0.0.1:9002":     "must be unix:PATH or tcp:HOST:PORT",
	} {
		_, _, err := Parse(Named(strictFile, false), []byte(`{"hosts": [{"type": "vm", "name": "a", "path": "`+path+`"}]}`))
		if want = fmt.Sprintf("hosts[0].path = %q: %s", path, want); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Each program that connects is the machine, and a TCP socket admits every user.
func TestWarningAboutTCP(t *testing.T) {
	for name, tt := range map[string]struct{ host, place string }{
		"TCP":            {`{"type": "vm", "name": "a", "path": "tcp:127.0.0.1:9002"}`, `1:48: warning: hosts[0].path = "tcp:127.0.0.1:9002": `},
		"TCP by default": {`{"name": "a", "path": "tcp:[::1]:9002"}`, `1:34: warning: hosts[0].path = "tcp:[::1]:9002": `},
		"a Unix socket":  {`{"type": "vm", "name": "a", "path": "unix:/run/a"}`, ""},
		"a device":       {`{"type": "kcs", "path": "/dev/ipmi-kcs3"}`, ""},
	} {
		_, warnings, err := Parse(Named(strictFile, false), []byte(`{"hosts": [`+tt.host+`]}`))
		_, added, failed := ParseHost([]byte(tt.host))
		got := strings.Join(texts(warnings), "\n")
		switch {
		case err != nil || failed != nil:
			t.Errorf("%s: %v, %v", name, err, failed)
		case tt.place == "" && (got != "" || added != nil):
			t.Errorf("%s: %s, %v", name, got, added)
		case tt.place != "" && (!strings.HasPrefix(got, strictFile+":"+tt.place+"has no authentication") || len(warnings) != 1 || len(added) != 1):
			t.Errorf("%s: %s, %v", name, got, added)
		}
	}
}

// The bounds in tags are the bounds of the packages that are configured.
func TestBounds(t *testing.T) {
	of := func(of any, key string) (low, high int64) {
		for _, f := range fieldsOf(reflect.TypeOf(of)) {
			if f.key == key {
				return f.low, f.high
			}
		}
		t.Fatalf("%T has no key %s", of, key)
		return
	}
	if low, high := of(Channel{}, "timeout-ms"); low != ipmb.MinTimeout.Milliseconds() || high != ipmb.MaxTimeout.Milliseconds() {
		t.Errorf("timeout-ms: %d to %d", low, high)
	}
	if low, high := of(Channel{}, "tries"); low != 1 || high != ipmb.MaxTries {
		t.Errorf("tries: %d to %d", low, high)
	}
	for _, key := range []string{"duplicate-window-ms", "handler-timeout-ms"} {
		if _, high := of(Channel{}, key); time.Duration(high)*time.Millisecond != time.Minute {
			t.Errorf("%s: %d", key, high)
		}
	}
	for _, entry := range []any{Channel{}, Host{}} {
		if low, high := of(entry, "devIndex"); low != 0 || high != MaxDevIndex {
			t.Errorf("devIndex of %T: %d to %d", entry, low, high)
		}
	}
	_, most := of(BMC{}, "log-capacity")
	for capacity, good := range map[int64]bool{1: true, most: true, most + 1: false} {
		if err := (bmc.Config{LogCapacity: int(capacity)}).Validate(); (err == nil) != good {
			t.Errorf("log-capacity %d: %v", capacity, err)
		}
	}
}

// A struct that names a format which does not exist would check nothing.
func TestFormatsExist(t *testing.T) {
	seen := make(map[reflect.Type]bool)
	var look func(reflect.Type)
	look = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || seen[of] {
			return
		}
		seen[of] = true
		for _, f := range fieldsOf(of) {
			if _, ok := formats[f.format]; !ok && f.format != "" {
				t.Errorf("%v: key %s has the format %q", of, f.key, f.format)
			}
		}
		for i := range of.NumField() {
			look(of.Field(i).Type)
		}
	}
	look(reflect.TypeFor[Config]())
	look(reflect.TypeFor[hostEntry]())
	if len(seen) < 12 {
		t.Error("too few", seen)
	}
}
