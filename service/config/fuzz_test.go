package config

import (
	"errors"
	"strings"
	"testing"
)

// FuzzConfig wants no panic, faults with places in each error, and a strict reader that accepts
// no more than the reader of ipmbbridge's file.
func FuzzConfig(f *testing.F) {
	for _, good := range []string{everything, intelFile, fourHosts, "{}"} {
		f.Add([]byte(good))
	}
	for _, bad := range badConfigs {
		if len(bad.data) < 4096 {
			f.Add([]byte(bad.data))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, strictWarnings, strictErr := parsed(t, strictFile, data)
		_, _, bridgeErr := parsed(t, bridgePath, data)
		if strictErr == nil && bridgeErr != nil && !strings.Contains(bridgeErr.Error(), "channels: is missing") {
			t.Errorf("strict takes what ipmbbridge's reader refuses: %v", bridgeErr)
		}
		for _, w := range strictWarnings {
			if w.Problem == "stands twice" || w.Problem == "is left out" || strings.HasPrefix(w.Problem, "unknown key") {
				t.Errorf("strict warns instead of refusing: %v", w)
			}
		}
	})
}

// parsed is Parse with checks of the rules for every file.
func parsed(t *testing.T, path string, data []byte) (*Config, []Fault, error) {
	config, warnings, err := Parse(Named(path, false), data)
	if err == nil {
		for i, ch := range config.Channels {
			if ch.WithDefaults().Name == "" {
				t.Errorf("channel %d has no name", i)
			}
		}
		return config, warnings, nil
	}
	if config != nil {
		t.Error("a configuration beside an error")
	}
	var fault Fault
	if !errors.As(err, &fault) || fault.File != path || fault.Line < 1 || fault.Column < 1 {
		t.Errorf("an error without a place: %v", err)
	}
	return nil, nil, err
}

// FuzzOne wants no panic, an object that is valid in a file if there is no error, and faults if
// there is one.
func FuzzOne(f *testing.F) {
	for _, tt := range badOnes {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte(`{"type": "me", "slave-path": "/dev/ipmb-4", "remote-addr": "0x2C", "devIndex": 2, "handler": "bmc", "bus-name": "A"}`))
	f.Add([]byte(`{"type": "bt", "path": "/dev/ipmi-bt-host", "legacy-api": true, "ipmi-channel": 15}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, err := ParseChannel(data)
		checkOne(t, "channels", data, err)
		_, _, err = ParseHost(data)
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
	if _, _, err := Parse(Named(strictFile, false), []byte(`{"`+list+`": [`+string(data)+`]}`)); err != nil {
		t.Errorf("a file with it: %v", err)
	}
}
