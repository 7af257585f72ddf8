package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmi"
)

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
			_, _, err := Parse(strictFile, []byte(`{"channels": [`+channels+`], "hosts": [`+tt.hosts+`]}`))
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
