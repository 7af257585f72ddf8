package config

import (
	"errors"
	"strings"
	"testing"
)

// FuzzConfig wants no panic, a valid configuration where there is no error,
// faults with places where there is one, and the file's own judgement of a
// strict file to be no milder than of ipmbbridge's.
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
		if strictErr == nil && len(strictWarnings) > 1 {
			t.Errorf("strict warns instead of refusing: %v", strictWarnings)
		}
	})
}

// parsed is Parse with what holds for every file checked.
func parsed(t *testing.T, path string, data []byte) (*Config, []Fault, error) {
	config, warnings, err := Parse(path, data)
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
