package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
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
			config, _, err := Parse(Named(strictFile, false), []byte(`{"channels": [], "hosts": [`+tt.hosts+`]}`))
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

// A virtual machine is a host for itself: an entry with its devIndex shares its watchdog,
// its boot options and its state.
func TestMachinesAndTheirDevIndex(t *testing.T) {
	for name, tt := range devIndexCases {
		t.Run(name, func(t *testing.T) {
			channels := `{"type": "ipmb", "slave-path": "/dev/ipmb-4", "remote-addr": 64, "devIndex": 4}`
			_, _, err := Parse(Named(strictFile, false), []byte(`{"channels": [`+channels+`], "hosts": [`+tt.hosts+`]}`))
			if tt.want == "" && err == nil {
				return
			}
			if err == nil || tt.want == "" || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

const device = `{"type": "openipmi", "path": "/dev/ipmi0"`

var openIPMICases = map[string]struct {
	hosts string
	want  []string // parts of the faults
}{
	"a device":               {device + `}`, nil},
	"all keys":               {device + `, "name": "bmc", "devIndex": 2, "ipmi-channel": 7, "handler": "signal", "commands": ["sensor platform-event", "0x30"]}`, nil},
	"the system interface":   {device + `, "ipmi-channel": 15}`, nil},
	"two channels of it":     {device + `}, ` + device + `, "name": "bmc", "devIndex": 1, "ipmi-channel": 7}`, nil},
	"a bus of the same host": {device + `, "devIndex": 3}`, nil}, // indexes 12, 13 and 14
	"a channel twice":        {device + `}, ` + device + `, "name": "bmc", "devIndex": 1}`, []string{`hosts[1].path = "/dev/ipmi0": channel 0 of /dev/ipmi0 belongs to hosts[0]`}},
	"an index twice":         {device + `}, {"type": "openipmi", "path": "/dev/ipmi1"}`, []string{"hosts[1].devIndex = 0: index 2 belongs to hosts[0]"}},
	"a name twice":           {device + `}, ` + device + `, "devIndex": 1, "ipmi-channel": 1}`, []string{"hosts[1].name: name ipmi0 belongs to hosts[0]"}},
	"no IPMB channel":        {device + `, "ipmi-channel": 12}`, []string{"ipmi-channel = 12"}},
	"a handler of nothing":   {device + `, "handler": "bmc"}`, []string{"hosts[0].commands: is missing"}},
	"no path":                {`{"type": "openipmi", "name": "bmc"}`, []string{"hosts[0].path: is missing"}},
	"a bridge":               {device + `, "bridge": true}`, []string{"hosts[0].bridge = true: is not for hosts of type openipmi"}},
	"an older interface":     {device + `, "legacy-api": true}`, []string{"hosts[0].legacy-api = true: is for hosts of type bt only"}},
	"no command":             {device + `, "commands": ["nonsense"]}`, []string{`hosts[0].commands[0]`}},
	"commands of a host":     {`{"type": "kcs", "path": "/dev/ipmi-kcs3", "commands": ["app"]}`, []string{"hosts[0].commands", "is for hosts of type openipmi only"}},
	"signals of a host":      {`{"type": "kcs", "path": "/dev/ipmi-kcs3", "handler": "signal"}`, []string{"hosts[0].handler"}},
}

func TestOpenIPMIInAFile(t *testing.T) {
	for name, tt := range openIPMICases {
		t.Run(name, func(t *testing.T) {
			channels := `{"type": "ipmb", "slave-path": "/dev/ipmb-4", "remote-addr": 64, "devIndex": 3}, {"type": "me", "slave-path": "/dev/ipmb-5", "remote-addr": 44, "devIndex": 3}`
			_, _, err := Parse(Named(strictFile, false), []byte(`{"channels": [`+channels+`], "hosts": [`+tt.hosts+`]}`))
			if (err == nil) != (len(tt.want) == 0) {
				t.Fatalf("faults: %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q, want %q", err, want)
				}
			}
		})
	}
}

func TestOpenIPMIDefaults(t *testing.T) {
	got := OpenIPMI{Path: "/dev/ipmi-dev0", DevIndex: 1}.WithDefaults()
	want := OpenIPMI{Name: "ipmi_dev0", Path: "/dev/ipmi-dev0", DevIndex: 1, IPMIChannel: new(ipmi.Channel(0)), Handler: new(HandlerNone)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnswerTimeInAFile(t *testing.T) {
	const ssif = `{"type": "ssif", "path": "/dev/ipmi-ssif-host"`
	for entry, want := range map[string]string{ // part of the fault
		ssif + `, "answer-ms": 14000}`: "",
		ssif + `, "answer-ms": 50}`:    "",
		ssif + `}`:                     "",
		ssif + `, "answer-ms": 14001}`: "hosts[0].answer-ms = 14001: must be from 50 to 14000",
		ssif + `, "answer-ms": 0}`:     "hosts[0].answer-ms = 0: must be from 50 to 14000",
		`{"type": "kcs", "path": "/dev/ipmi-kcs3", "answer-ms": 400}`:    "hosts[0].answer-ms = 400: is for hosts of type ssif only",
		`{"type": "openipmi", "path": "/dev/ipmi0", "answer-ms": 400}`:   "hosts[0].answer-ms = 400: is for hosts of type ssif only",
		`{"name": "host0", "path": "unix:/run/host0", "answer-ms": 400}`: "hosts[0].answer-ms = 400: is for hosts of type ssif only",
		`{"type": "bt", "path": "/dev/ipmi-bt-host", "answer-ms": 400}`:  "hosts[0].answer-ms = 400: is for hosts of type ssif only",
	} {
		config, _, err := Parse(Named(strictFile, false), []byte(`{"channels": [], "hosts": [`+entry+`]}`))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
		if strings.Contains(entry, "14000") && (err != nil || config.Hosts[0].AnswerTime != 14*time.Second) {
			t.Errorf("%s: %v", entry, config.Hosts)
		}
	}
}
