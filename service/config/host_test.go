package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var legacyCases = map[string]struct {
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
}

func TestLegacyAPIInAFile(t *testing.T) {
	for name, tt := range legacyCases {
		t.Run(name, func(t *testing.T) {
			config, _, err := Parse(strictFile, []byte(`{"channels": [], "hosts": [`+tt.hosts+`]}`))
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

const (
	vm  = `{"type": "vm", "name": "host0", "path": "unix:/run/host0"}`
	kcs = `{"type": "kcs", "path": "/dev/ipmi-kcs3"}`
	bt  = `{"type": "bt", "path": "/dev/ipmi-bt-host"}`
)

func secondVM(keys string) string {
	return `{"type": "vm", "name": "host1", "path": "unix:/run/host1"` + keys + `}`
}

var devIndexCases = map[string]struct{ hosts, want string }{
	"one each":                     {vm + "," + secondVM(`, "devIndex": 1`), ""},
	"both without":                 {vm + "," + secondVM(""), "hosts[1].devIndex = 0: the machine of devIndex 0 belongs to hosts[0]: give each machine its own devIndex"},
	"one says what is the default": {secondVM(`, "devIndex": 0`) + "," + vm, "hosts[1].devIndex = 0: the machine of devIndex 0 belongs to hosts[0]"},
	"both the same":                {secondVM(`, "devIndex": 3`) + "," + strings.ReplaceAll(secondVM(`, "devIndex": 3`), "host1", "host2"), "hosts[1].devIndex = 3"},
	"interfaces of one host":       {kcs + "," + bt, ""},
	"a machine and a bus":          {secondVM(`, "devIndex": 4`), ""},
}

// A virtual machine is a host for itself: who shares its devIndex shares its watchdog,
// its boot options and its state.
func TestMachinesAndTheirDevIndex(t *testing.T) {
	for name, tt := range devIndexCases {
		t.Run(name, func(t *testing.T) {
			channels := `{"type": "ipmb", "slave-path": "/dev/ipmb-4", "remote-addr": 64, "devIndex": 4}`
			_, _, err := Parse(strictFile, []byte(`{"channels": [`+channels+`], "hosts": [`+tt.hosts+`]}`))
			if tt.want == "" && err == nil {
				return
			}
			if err == nil || tt.want == "" || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
