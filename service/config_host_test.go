package service

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLegacyAPIInAFile(t *testing.T) {
	for name, tt := range map[string]struct {
		hosts string
		want  []string // parts of the faults
	}{
		"a host of type bt": {`{"type": "bt", "path": "/dev/ipmi-bt-host", "legacy-api": true}`, nil},
		"off elsewhere":     {`{"type": "kcs", "path": "/dev/ipmi-kcs3", "legacy-api": false}`, nil},
		"another type":      {`{"type": "kcs", "path": "/dev/ipmi-kcs3", "legacy-api": true}`, []string{"hosts[0].legacy-api = true: is for hosts of type bt only"}},
		"a machine":         {`{"name": "host0", "path": "unix:/run/host0", "legacy-api": true}`, []string{"hosts[0].legacy-api = true: is for hosts of type bt only"}},
		"another handler":   {`{"type": "bt", "path": "/dev/ipmi-bt-host", "handler": "bmc", "legacy-api": true}`, []string{"hosts[0].legacy-api = true: needs the handler host"}},
		"two of them": {`{"type": "bt", "path": "/dev/ipmi-bt-host", "legacy-api": true}, {"type": "bt", "path": "/dev/ipmi-bt-host2", "legacy-api": true}`,
			[]string{"hosts[1].legacy-api = true: org.openbmc.HostIpmi belongs to hosts[0]"}},
		"a word": {`{"type": "bt", "path": "/dev/ipmi-bt-host", "legacy-api": "yes"}`, []string{"hosts[0].legacy-api"}},
	} {
		t.Run(name, func(t *testing.T) {
			config, _, err := ParseConfig(strictFile, []byte(`{"channels": [], "hosts": [`+tt.hosts+`]}`))
			var faults []string
			if err != nil {
				faults = strings.Split(err.Error(), "\n")
			}
			if len(faults) != len(tt.want) {
				t.Fatalf("faults: %v", faults)
			}
			for i, want := range tt.want {
				if !strings.Contains(faults[i], want) {
					t.Errorf("%q, want %q", faults[i], want)
				}
			}
			if err == nil {
				if diff := cmp.Diff(strings.Contains(tt.hosts, "true"), config.Hosts[0].LegacyAPI); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
