package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bmc"
	"ipmbd/bmc/record"
	"ipmbd/bus"
	"ipmbd/ipmi"
	"ipmbd/units"
)

const strictFile = "/etc/ipmbd/ipmbd.json"
const bridgePath = "/usr/share/ipmbbridge/ipmb-channels.json"

// everything has every key.
const everything = `{
  "channels": [
    {"type": "ipmb", "slave-path": "/dev/ipmb-4", "bmc-addr": 32, "remote-addr": "0x2C"},
    {"type": "me", "slave-path": "/run/sim/me.sock", "bmc-addr": "0x22", "remote-addr": 44, "devIndex": 3,
     "name": "me_sim", "transport": "ipmb-device", "ignore-nack": true, "verify-header-checksum": true, "ipmi-channel": 0, "bus-name": "INTRABMC",
     "timeout-ms": 100, "tries": 3, "duplicate-window-ms": 0, "handler-timeout-ms": 2000, "handler": "signal", "bridge": true,
     "max-frame": 64, "max-calls": 16, "max-handlers": 8}
  ],
  "max-calls-per-sender": 12, "frame-socket": "/run/frames",
  "trusted-names": ["xyz.openbmc_project.NodeManager"],
  "policy": [{"channels": ["me_sim"], "allow": ["app", "0x2C"], "deny": ["app cold-reset"]}],
  "hosts": [
    {"type": "vm", "name": "host0", "path": "unix:/run/ipmbd/host0.sock", "devIndex": 3, "ipmi-channel": 15, "handler": "bmc", "bridge": true}
  ],
  "bmc": {
    "folder": "/var/lib/ipmbd", "guid": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "log-capacity": 100,
    "identity": {"device-id": 33, "revision": 2, "firmware": "1.05", "manufacturer": 343, "product": "0x0B", "auxiliary": "01020304"},
    "sensors": [
      {"name": "Inlet", "number": 1, "type": 1, "entity": 55, "instance": 96, "unit": 1, "min": -20, "max": 107.5, "hysteresis": 2,
       "file": "/sys/class/hwmon/hwmon0/temp1_input", "scale": 0.001,
       "lower-non-recoverable": -10, "lower-critical": 0, "lower-non-critical": 5,
       "upper-non-critical": 70, "upper-critical": 80, "upper-non-recoverable": 90},
      {"name": "Fan", "number": 2, "type": 4, "entity": 29, "unit": 18, "max": 10000,
       "dbus": {"service": "xyz.openbmc_project.FanSensor", "path": "/xyz/openbmc_project/sensors/fan_tach/Fan",
                "interface": "xyz.openbmc_project.Sensor.Value", "property": "Value"}},
      {"name": "Intrusion", "number": 3, "type": 5, "entity": 23, "event-type": "0x6F", "states": 1, "value": 1}
    ],
    "frus": [
      {"id": 0, "name": "Board", "entity": 7, "instance": 1, "size": 512,
       "chassis": {"type": 23, "part-number": "P1", "serial-number": "S1", "custom": ["C1"]},
       "board": {"made": "2026-01-31", "manufacturer": "M2", "name": "N2", "serial-number": "S2", "part-number": "P2", "custom": ["C2"]},
       "product": {"manufacturer": "M3", "name": "N3", "part-number": "P3", "version": "V3", "serial-number": "S3", "asset-tag": "A3", "custom": ["C3"]}}
    ],
    "controllers": [{"name": "Satellite", "address": "0x82", "ipmi-channel": 1, "capabilities": 41, "entity": 46, "instance": 1}]
  }
}
`

var everythingRead = Config{
	Channels: []Channel{
		{SlavePath: "/dev/ipmb-4", BMCAddress: 0x20, RemoteAddress: 0x2C},
		{
			Type: TypeME, SlavePath: "/run/sim/me.sock", BMCAddress: 0x22, RemoteAddress: 0x2C, DevIndex: 3,
			Name: "me_sim", Transport: TransportIPMBDevice, IgnoreNACK: true, VerifyChecksum: true, IPMIChannel: new(ipmi.Channel(0)), BusName: "INTRABMC",
			Timeout: 100 * time.Millisecond, Tries: 3, DuplicateWindow: -1, HandlerTimeout: 2 * time.Second,
			Handler: HandlerSignal, Bridge: true, MaxFrame: 64, MaxCalls: 16, MaxHandlers: 8,
		},
	},
	MaxCallsPerSender: 12, FrameSocket: "/run/frames",
	TrustedNames: []string{"xyz.openbmc_project.NodeManager"},
	Filters: []CommandFilter{{
		Channels: []string{"me_sim"},
		Allow:    []ipmi.Commands{{NetFn: ipmi.NetFnApp, Command: ipmi.AnyCommand}, {NetFn: ipmi.NetFnGroup, Command: ipmi.AnyCommand}},
		Deny:     []ipmi.Commands{{NetFn: ipmi.NetFnApp, Command: 0x02}},
	}},
	Hosts: []Host{{
		Name: "host0", Path: "unix:/run/ipmbd/host0.sock", DevIndex: 3, IPMIChannel: new(ipmi.Channel(15)), Handler: new(HandlerBMC), Bridge: true,
	}},
	BMC: BMC{
		Folder: "/var/lib/ipmbd", LogCapacity: 100,
		// On the wire it is the other way round.
		GUID: [16]byte{0xF6, 0x6B, 0x1E, 0xC9, 0xA0, 0x00, 0x65, 0xA7, 0xD0, 0x11, 0xEC, 0x7D, 0xAE, 0x4F, 0x1D, 0xF8},
		Identity: bmc.Identity{
			ID: 33, Revision: 2, Firmware: bmc.Firmware{Major: 1, Minor: 0x05}, Manufacturer: 343, Product: 11, Auxiliary: [4]byte{1, 2, 3, 4},
		},
		Sensors: []Sensor{
			{SensorConfig: bmc.SensorConfig{
				Name: "Inlet", Number: 1, Type: 1, Entity: 55, Instance: 96, Unit: 1, Min: -20, Max: 107.5, Hysteresis: 2,
				File: "/sys/class/hwmon/hwmon0/temp1_input", Scale: 0.001,
				Thresholds: bmc.Thresholds{
					LowerNonRecoverable: new(-10.0), LowerCritical: new(0.0), LowerNonCritical: new(5.0),
					UpperNonCritical: new(70.0), UpperCritical: new(80.0), UpperNonRecoverable: new(90.0),
				},
			}},
			{
				SensorConfig: bmc.SensorConfig{Name: "Fan", Number: 2, Type: 4, Entity: 29, Unit: 18, Max: 10000},
				Property: Property{
					Service: "xyz.openbmc_project.FanSensor", Path: "/xyz/openbmc_project/sensors/fan_tach/Fan",
					Interface: "xyz.openbmc_project.Sensor.Value", Property: "Value",
				},
			},
			{SensorConfig: bmc.SensorConfig{Name: "Intrusion", Number: 3, Type: 5, Entity: 23, EventType: 0x6F, States: 1, Value: 1}},
		},
		FRUs: []bmc.FRUConfig{{ID: 0, Name: "Board", Entity: 7, Instance: 1, Size: 512, Fields: &record.FRU{
			Chassis: &record.FRUChassis{Type: 23, PartNumber: "P1", SerialNumber: "S1", Custom: []string{"C1"}},
			Board: &record.FRUBoard{
				Made: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), Manufacturer: "M2", Name: "N2", SerialNumber: "S2", PartNumber: "P2", Custom: []string{"C2"},
			},
			Product: &record.FRUProduct{
				Manufacturer: "M3", Name: "N3", PartNumber: "P3", Version: "V3", SerialNumber: "S3", AssetTag: "A3", Custom: []string{"C3"},
			},
		}}},
		Controllers: []bmc.Controller{{Name: "Satellite", Address: 0x82, Channel: 1, Capabilities: 41, Entity: 46, Instance: 1}},
	},
}

// intelFile is like the configurations of Intel's platforms, with an old key.
const intelFile = `{
  "channels": [
    {"type": "me", "master-path": "/dev/i2c-5", "slave-path": "/dev/ipmb-5", "bmc-addr": 32, "remote-addr": 44},
    {"type": "ipmb", "slave-path": "/dev/ipmb-0", "bmc-addr": 32, "remote-addr": 88}
  ]
}`

// fourHosts is as the configurations of multi-host platforms are.
const fourHosts = `{"channels": [
  {"type": "ipmb", "slave-path": "/dev/ipmb-0", "bmc-addr": 32, "remote-addr": 64, "devIndex": 0},
  {"type": "ipmb", "slave-path": "/dev/ipmb-2", "bmc-addr": "0x20", "remote-addr": "0x40", "devIndex": 1},
  {"type": "me",   "slave-path": "/dev/ipmb-3", "bmc-addr": 32, "remote-addr": 44},
  {"type": "ipmb", "slave-path": "/dev/ipmb-4", "bmc-addr": 32, "remote-addr": 64, "devIndex": 2}
]}`

func TestParse(t *testing.T) {
	tests := []struct {
		name     string
		path     string
		data     string
		want     Config
		warnings []string
	}{
		{name: "every key", path: strictFile, data: everything, want: everythingRead},
		{
			name: "no channels", path: strictFile, data: "{}",
			warnings: []string{strictFile + ":1:1: warning: channels: none is served"},
		},
		{
			name: "inventory file that is not there", path: strictFile,
			data: `{"channels": [], "bmc": {"frus": [{"name": "Board", "file": "/does/not/exist"}]}}`,
			want: Config{BMC: BMC{FRUs: []bmc.FRUConfig{{Name: "Board", File: "/does/not/exist"}}}},
			warnings: []string{
				strictFile + ":1:1: warning: channels: none is served",
				strictFile + `:1:35: warning: bmc.frus[0]: FRU 0, "Board" is empty: open /does/not/exist: no such file or directory`,
			},
		},
		{
			name: "file of an Intel platform", path: bridgePath, data: intelFile,
			want: Config{Channels: []Channel{
				{Type: TypeME, SlavePath: "/dev/ipmb-5", BMCAddress: 0x20, RemoteAddress: 0x2C},
				{SlavePath: "/dev/ipmb-0", BMCAddress: 0x20, RemoteAddress: 0x58},
			}},
			warnings: []string{bridgePath + `:3:35: warning: channels[0].master-path = "/dev/i2c-5": unknown key`},
		},
		{
			name: "devIndex stays until the next", path: bridgePath, data: fourHosts,
			want: Config{Channels: []Channel{
				{SlavePath: "/dev/ipmb-0", BMCAddress: 0x20, RemoteAddress: 0x40},
				{SlavePath: "/dev/ipmb-2", BMCAddress: 0x20, RemoteAddress: 0x40, DevIndex: 1},
				{Type: TypeME, SlavePath: "/dev/ipmb-3", BMCAddress: 0x20, RemoteAddress: 0x2C, DevIndex: 1},
				{SlavePath: "/dev/ipmb-4", BMCAddress: 0x20, RemoteAddress: 0x40, DevIndex: 2},
			}},
		},
		{
			name: "first of equal indexes in ipmbbridge's file", path: bridgePath,
			data: `{"channels": [
{"type": "ipmb", "slave-path": "/dev/ipmb-1", "bmc-addr": 32, "remote-addr": 64},
{"type": "ipmb", "slave-path": "/dev/ipmb-2", "bmc-addr": 32, "remote-addr": 64, "devIndex": 0},
{"type": "ipmb", "slave-path": "/dev/ipmb-3", "bmc-addr": 32, "remote-addr": 64, "devIndex": 1}]}`,
			want: Config{Channels: []Channel{
				{SlavePath: "/dev/ipmb-1", BMCAddress: 0x20, RemoteAddress: 0x40},
				{SlavePath: "/dev/ipmb-3", BMCAddress: 0x20, RemoteAddress: 0x40, DevIndex: 1},
			}},
			warnings: []string{
				bridgePath + ":3:1: warning: channels[1]: is left out",
				bridgePath + ":3:94: warning: channels[1].devIndex = 0: index 0 belongs to channels[0]",
			},
		},
		{
			name: "no remote address in ipmbbridge's file", path: bridgePath,
			data: `{"channels": [{"slave-path": "/dev/ipmb-1"}]}`,
			want: Config{Channels: []Channel{{SlavePath: "/dev/ipmb-1"}}},
			warnings: []string{
				bridgePath + ":1:15: warning: channels[0].remote-addr: is missing: org.openbmc.Ipmb does not reach the bus",
			},
		},
		{
			name: "no remote address", data: `{"channels": [{"slave-path": "/dev/ipmb-1"}]}`,
			want: Config{Channels: []Channel{{SlavePath: "/dev/ipmb-1"}}},
		},
		{
			name: "bad entry in ipmbbridge's file leaves its index free", path: bridgePath,
			data: `{"channels": [
{"type": "ipmb", "slave-path": "/dev/ipmb-1", "bmc-addr": 33, "remote-addr": 64, "devIndex": 2},
{"type": "ipmb", "slave-path": "/dev/ipmb-1", "bmc-addr": 32, "remote-addr": 64}]}`,
			want: Config{Channels: []Channel{
				{SlavePath: "/dev/ipmb-1", BMCAddress: 0x20, RemoteAddress: 0x40, DevIndex: 2},
			}},
			warnings: []string{
				bridgePath + ":2:1: warning: channels[0]: is left out",
				bridgePath + ":2:59: warning: channels[0].bmc-addr = 33: must be even: an address in its 8-bit form",
			},
		},
		{
			name: "key twice in ipmbbridge's file", path: bridgePath,
			data: `{"channels": [{"slave-path": "/dev/ipmb-1", "remote-addr": 64, "remote-addr": 44}]}`,
			want: Config{Channels: []Channel{{SlavePath: "/dev/ipmb-1", RemoteAddress: 0x2C}}},
			warnings: []string{
				bridgePath + `:1:64: warning: channels[0].remote-addr = "remote-addr": 44: stands twice`,
			},
		},
		{
			name: "byte order mark in ipmbbridge's file", path: bridgePath,
			data: "\xEF\xBB\xBF" + `{"channels": [{"slave-path": "/dev/ipmb-1", "remote-addr": 64}]}`,
			want: Config{Channels: []Channel{{SlavePath: "/dev/ipmb-1", RemoteAddress: 0x40}}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, warnings, err := Parse(Named(test.path, false), []byte(test.data))
			if err != nil {
				t.Fatal(err)
			}
			test.want.OfIPMBBridge = test.path == bridgePath
			if diff := cmp.Diff(test.want, *got); diff != "" {
				t.Error("configuration differs (-want +got):\n" + diff)
			}
			if diff := cmp.Diff(test.warnings, texts(warnings)); diff != "" {
				t.Error("warnings differ (-want +got):\n" + diff)
			}
		})
	}
}

func texts(warnings []Fault) []string {
	var texts []string
	for _, w := range warnings {
		texts = append(texts, w.Error())
	}
	return texts
}

// badConfigs are files that cannot be used, and all their faults.
var badConfigs = []struct {
	name  string
	path  string // of strictFile when empty
	data  string
	wants []string // without the path
}{
	{name: "empty file", wants: []string{":1:1: is empty"}},
	{name: "blanks only", data: " \n\t", wants: []string{":1:1: is empty"}},
	{name: "byte order mark", data: "\xEF\xBB\xBF{}", wants: []string{":1:1: begins with a byte order mark, which JSON does not have"}},
	{name: "not UTF-8", data: "{\n \"caf\xE9\": 1}", wants: []string{":2:6: is not UTF-8"}},
	{name: "UTF-16", data: "{\x00}\x00", wants: []string{":1:2: invalid character '\\x00' looking for beginning of object key string"}},
	{name: "cut short", data: `{"channels": [`, wants: []string{":1:14: unexpected end of JSON input"}},
	{name: "comma too many", data: "{\n\"channels\": [],\n}", wants: []string{":3:1: a comma stands before \"}\": take it out"}},
	{name: "comment", data: "{} // none", wants: []string{":1:4: JSON has no comments: take it out, and write it into a file beside this one"}},
	{name: "comment in a list", data: "{\"channels\": [\n/* none */]}", wants: []string{":2:1: JSON has no comments: take it out, and write it into a file beside this one"}},
	{name: "hexadecimal number", data: `{"channels": [{"remote-addr": 0x2C}]}`, wants: []string{`:1:31: JSON has no hexadecimal numbers: write "0x2C", with the quotes`}},
	{name: "address without quotes", data: `{"channels": [{"remote-addr": 2Ch}]}`, wants: []string{`:1:31: JSON has no hexadecimal numbers: write "2Ch", with the quotes`}},
	{name: "address of letters without quotes", data: `{"channels": [{"remote-addr": C0h}]}`, wants: []string{`:1:31: JSON has no hexadecimal numbers: write "C0h", with the quotes`}},
	{name: "trailing garbage", data: "{}\n{}", wants: []string{":2:1: invalid character '{' after top-level value"}},
	{name: "not an object", data: "[]", wants: []string{":1:1: must be an object"}},
	{name: "a number", data: " 7", wants: []string{":1:2: 7: must be an object"}},
	{name: "deep nesting", data: strings.Repeat("[", 9999) + strings.Repeat("]", 9999), wants: []string{":1:10: nests deeper than 8 levels"}},
	{name: "deeper than encoding/json goes", data: strings.Repeat(`{"a":`, 20000), wants: []string{":1:50001: invalid character '{' exceeded max depth"}},
	{name: "too large", data: `{"channels": []` + strings.Repeat(" ", maxConfigSize) + "}", wants: []string{":1:1: is larger than 1048576 bytes"}},

	{name: "channels missing in ipmbbridge's file", path: bridgePath, data: "{}", wants: []string{":1:1: channels: is missing"}},
	{name: "channels an object", data: `{"channels": {}}`, wants: []string{":1:14: channels: must be a list"}},
	{name: "channels null in ipmbbridge's file", path: bridgePath, data: `{"channels": null}`, wants: []string{":1:14: channels = null: must be a list"}},
	{name: "entry no object", data: `{"channels": [4]}`, wants: []string{":1:15: channels[0] = 4: must be an object"}},
	{name: "entry without anything", data: `{"channels": [{}]}`, wants: []string{
		":1:15: channels[0].slave-path: is missing",
	}},
	{name: "type of a later ipmbbridge alone", path: bridgePath,
		data: `{"channels": [{"type": "slot-ipmb", "slave-path": "/dev/ipmb-1", "bmc-addr": 32, "remote-addr": 64}]}`,
		wants: []string{
			":1:1: channels: none can be served",
			":1:15: channels[0]: is left out",
			`:1:24: channels[0].type = "slot-ipmb": must be one of ipmb, me`,
		}},
	{name: "all wrong in ipmbbridge's file", path: bridgePath, data: `{"channels": [
{"slave-path": "/dev/ipmb-1", "bmc-addr": 33, "remote-addr": 64},
{"slave-path": "ipmb-2", "remote-addr": 64}]}`,
		wants: []string{
			":1:1: channels: none can be served",
			":2:1: channels[0]: is left out",
			":2:43: channels[0].bmc-addr = 33: must be even: an address in its 8-bit form",
			":3:1: channels[1]: is left out",
			`:3:16: channels[1].slave-path = "ipmb-2": must be an absolute path`,
		}},
	{
		name: "every fault at once",
		data: `{
  "chanels": 1,
  "max-calls-per-sender": 0, "frame-socket": "run/frames",
  "trusted-names": ["com.example.A", "nodots", ":1.7", 5, "com.example.A"],
  "channels": [
    {"type": "slot-ipmb", "slave-path": "dev/ipmb-4", "bmc-addr": "0x21", "remote-addr": 300, "devIndex": 64},
    {"slave-path": "/dev/ipmb-5", "remote-addr": 32, "name": "a-b", "transport": "ipmb-driver", "ipmi-channel": 12,
     "bus-name": "7up", "timeout-ms": 5, "tries": 65, "duplicate-window-ms": 60001, "handler-timeout-ms": 0,
     "handler": "BMC", "max-frame": 31, "max-calls": 4097, "max-handlers": true, "Name": "x", "tries": 65},
    {"slave-path": "/run/sim.sock", "remote-addr": 3.5, "devIndex": -1, "name": "", "handler": "nobody",
     "timeout-ms": 1e3, "tries": "010", "max-calls": "many", "transport": "mqueue"}
  ]
}`,
		wants: []string{
			`:2:14: chanels = 1: unknown key; did you mean channels?`,
			`:3:27: max-calls-per-sender = 0: must be from 1 to 4096`,
			`:3:46: frame-socket = "run/frames": must be an absolute path of at most 107 bytes, as the address of a socket`,
			`:4:38: trusted-names[1] = "nodots": must be a well-known D-Bus name such as com.example.Name`,
			`:4:48: trusted-names[2] = ":1.7": must be a well-known D-Bus name such as com.example.Name`,
			`:4:56: trusted-names[3] = 5: must be a string`,
			`:4:59: trusted-names[4] = "com.example.A": is listed twice`,
			`:6:14: channels[0].type = "slot-ipmb": must be one of ipmb, me`,
			`:6:41: channels[0].slave-path = "dev/ipmb-4": must be an absolute path`,
			`:6:67: channels[0].bmc-addr = "0x21": must be even: an address in its 8-bit form`,
			`:6:90: channels[0].remote-addr = 300: must be from 1 to 255`,
			`:6:107: channels[0].devIndex = 64: must be from 0 to 63`,
			`:7:50: channels[1].remote-addr = 32: is our own address, bmc-addr`,
			`:7:62: channels[1].name = "a-b": must be letters, digits and '_', at most 64`,
			`:7:82: channels[1].transport = "ipmb-driver": must be one of auto, ipmb-dev, ipmb-device, slave-mqueue, seqpacket`,
			`:7:113: channels[1].ipmi-channel = 12: must be from 0 to 11`,
			`:8:18: channels[1].bus-name = "7up": must be letters, digits, '_' and '-', at most 64, not beginning with a digit`,
			`:8:39: channels[1].timeout-ms = 5: must be from 10 to 60000 ms`,
			`:8:78: channels[1].duplicate-window-ms = 60001: must be from 0 to 60000 ms`,
			`:8:107: channels[1].handler-timeout-ms = 0: must be from 1 to 60000 ms`,
			`:9:17: channels[1].handler = "BMC": must be one of host, bmc, signal, none; did you mean bmc?`,
			`:9:37: channels[1].max-frame = 31: must be from 32 to 1024`,
			`:9:54: channels[1].max-calls = 4097: must be from 1 to 4096`,
			`:9:76: channels[1].max-handlers = true: must be a whole number, or one in a string such as "0x20"`,
			`:9:90: channels[1].Name = "x": unknown key; did you mean name?`,
			`:9:95: channels[1].tries = "tries": 65: stands twice`,
			`:9:104: channels[1].tries = 65: must be from 1 to 64`,
			`:10:52: channels[2].remote-addr = 3.5: must be a whole number, or one in a string such as "0x20"`,
			`:10:69: channels[2].devIndex = -1: must be from 0 to 63`,
			`:10:81: channels[2].name = "": must not be empty`,
			`:10:96: channels[2].handler = "nobody": must be one of host, bmc, signal, none`,
			`:11:20: channels[2].timeout-ms = 1e3: must be a whole number, or one in a string such as "0x20"`,
			`:11:34: channels[2].tries = "010": must be a whole number, or one in a string such as "0x20"`,
			`:11:54: channels[2].max-calls = "many": must be a whole number, or one in a string such as "0x20"`,
			`:11:75: channels[2].transport = "mqueue": must be one of auto, ipmb-dev, ipmb-device, slave-mqueue, seqpacket; did you mean slave-mqueue?`,
		},
	},
	{
		name: "index, name and device taken",
		data: `{"channels": [
{"slave-path": "/dev/ipmb-4", "remote-addr": 64, "name": "a"},
{"slave-path": "/dev/ipmb-5", "remote-addr": 64, "name": "a"},
{"slave-path": "/dev//ipmb-4", "remote-addr": 64, "type": "me"},
{"slave-path": "/run/x-4", "remote-addr": 64, "devIndex": 7}]}`,
		wants: []string{
			`:3:1: channels[1].devIndex = 0: index 0 belongs to channels[0]`,
			`:3:58: channels[1].name = "a": name a belongs to channels[0]`,
			`:4:16: channels[2].slave-path = "/dev//ipmb-4": slave-path /dev/ipmb-4 belongs to channels[0]`,
			`:5:16: channels[3].slave-path = "/run/x-4": name bus4 belongs to channels[2]`,
		},
	},
	{
		name: "no number for a name",
		data: `{"channels": [{"slave-path": "/run/sim.sock", "remote-addr": 64}]}`,
		wants: []string{
			`:1:15: channels[0].name: is missing, and slave-path holds no bus number to make one of`,
		},
	},
	{
		name: "switches of another transport",
		data: `{"channels": [
{"slave-path": "/dev/ipmb-1", "remote-addr": 64, "transport": "seqpacket", "ignore-nack": true, "verify-header-checksum": 1},
{"slave-path": "/dev/ipmb-2", "remote-addr": 64, "devIndex": 1, "transport": "ipmb-dev", "ignore-nack": false,
 "verify-header-checksum": true},
{"slave-path": "/dev/ipmb-3", "remote-addr": 64, "devIndex": 2, "transport": "ipmb-device", "ignore-nack": "true"}]}`,
		wants: []string{
			`:2:91: channels[0].ignore-nack = true: is a switch of the transport ipmb-device, not of seqpacket`,
			`:2:123: channels[0].verify-header-checksum = 1: must be true or false`,
			`:4:28: channels[1].verify-header-checksum = true: is a switch of the transport ipmb-device, not of ipmb-dev`,
			`:5:108: channels[2].ignore-nack = "true": must be true or false`,
		},
	},
	{
		name: "slave-mqueue that is not at our address",
		data: `{"channels": [
{"slave-path": "/sys/bus/i2c/devices/4-1010/slave-mqueue", "remote-addr": 64, "transport": "slave-mqueue"},
{"slave-path": "/sys/bus/i2c/devices/5-1011/slave-mqueue", "remote-addr": 64, "devIndex": 1, "transport": "slave-mqueue"},
{"slave-path": "/dev/ipmb-6", "remote-addr": 64, "devIndex": 2, "transport": "slave-mqueue"}]}`,
		wants: []string{
			`:3:16: channels[1].slave-path = "/sys/bus/i2c/devices/5-1011/slave-mqueue": must be the attribute of slave-mqueue at bmc-addr, such as /sys/bus/i2c/devices/4-1010/slave-mqueue`,
			`:4:16: channels[2].slave-path = "/dev/ipmb-6": must be the attribute of slave-mqueue at bmc-addr, such as /sys/bus/i2c/devices/4-1010/slave-mqueue`,
		},
	},
	{
		name: "policy",
		data: `{"channels": [{"slave-path": "/dev/ipmb-4", "remote-addr": 64, "name": "handlers"},
{"slave-path": "/dev/ipmb-5", "remote-addr": 64, "devIndex": 1}], "policy": [
{"channels": ["bus5", "bus4"], "deny": ["chasis", "app cold reset", "", 6, "0x30 0x01"]},
{"channels": ["bus5"]}, {"deny": "app"}, {"deny": ["app"], "allows": []}, 7]}`,
		wants: []string{
			`:1:72: channels[0].name = "handlers": is where the objects of handlers are`,
			`:3:23: policy[0].channels[1] = "bus4": is the name of no channel and no host`,
			`:3:41: policy[0].deny[0] = "chasis": no netFn "chasis"; did you mean chassis?`,
			`:3:51: policy[0].deny[1] = "app cold reset": must be a netFn, or a netFn and a command, such as "app cold-reset"`,
			`:3:69: policy[0].deny[2] = "": must be a netFn, or a netFn and a command, such as "app cold-reset"`,
			`:3:73: policy[0].deny[3] = 6: must be a netFn, or a netFn and a command, such as "app cold-reset"`,
			`:4:1: policy[1].deny: is missing, as is "allow": the entry denies nothing`,
			`:4:34: policy[2].deny = "app": must be a list`,
			`:4:70: policy[3].allows: unknown key; did you mean allow?`,
			`:4:75: policy[4] = 7: must be an object`,
		},
	},
	{
		name: "long value",
		data: `{"channels": [{"slave-path": "/dev/ipmb-1", "remote-addr": "` + strings.Repeat("7", 100) + `"}]}`,
		wants: []string{
			`:1:60: channels[0].remote-addr = "` + strings.Repeat("7", 59) + `…: must be a whole number, or one in a string such as "0x20"`,
		},
	},
}

func TestParseRefuses(t *testing.T) {
	for _, test := range badConfigs {
		t.Run(test.name, func(t *testing.T) {
			path := test.path
			if path == "" {
				path = strictFile
			}
			_, _, err := Parse(Named(path, false), []byte(test.data))
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), path, ""), "\n")
			if diff := cmp.Diff(test.wants, got); diff != "" {
				t.Error("faults differ (-want +got):\n" + diff)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipmbd.json")
	if err := os.WriteFile(path, []byte(everything), 0o600); err != nil {
		t.Fatal(err)
	}
	got, warnings, err := Load(Named(path, false))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if diff := cmp.Diff(everythingRead, *got); diff != "" {
		t.Error("configuration differs (-want +got):\n" + diff)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"no such file": filepath.Join(dir, "absent.json"),
		"a directory":  dir,
		"endless file": "/dev/zero",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Load(Named(path, false))
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v does not name %s", err, path)
			}
		})
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	first, second := Source{Path: filepath.Join(dir, "first.json")}, Source{filepath.Join(dir, "second.json"), true}
	expect := func(want Source) {
		t.Helper()
		if got := Find([]Source{first, second}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	expect(Source{})
	for _, source := range []Source{second, first} {
		if err := os.WriteFile(source.Path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		expect(source)
	}
}

// The path decides about a file that nobody calls ipmbbridge's, and not its name.
func TestNamedFiles(t *testing.T) {
	for path, want := range map[string]bool{
		bridgePath: true, "/usr/share//ipmbbridge/./ipmb-channels.json": true,
		strictFile: false, "/tmp/ipmb-channels.json": false, "/image" + bridgePath: false, "ipmb-channels.json": false,
	} {
		if got := Named(path, false); got != (Source{path, want}) {
			t.Errorf("%+v", got)
		}
		if got := Named(path, true); got != (Source{path, true}) {
			t.Errorf("--ipmbbridge: %+v", got)
		}
	}
}

func TestKnownFilesAreThoseOfTheManual(t *testing.T) {
	if diff := cmp.Diff([]Source{{strictFile, false}, {bridgePath, true}}, Known()); diff != "" {
		t.Error(diff)
	}
	if _, _, err := Load(Source{Path: filepath.Join(t.TempDir(), "absent.json")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error that says the file is not there", err)
	}
	if got, _, err := Load(Source{}); err != nil || !got.Found || len(got.Entries()) > 0 {
		t.Errorf("no file: %+v, %v", got, err)
	}
}

// No file is a configuration too, so that a start always succeeds.
func TestUnitsWaitForNoConfiguration(t *testing.T) {
	for name, unit := range map[string][]byte{
		"ipmbd.service": units.Unit, "ipmbd.socket": units.Socket, "ipmbd-vm@.socket": units.VMSocket,
	} {
		if strings.Contains(string(unit), "Condition") {
			t.Errorf("%s has a condition", name)
		}
	}
}

func TestFoundChannels(t *testing.T) {
	for device, want := range map[string]struct {
		name  string
		index uint8
	}{
		"/dev/ipmb-0":   {"bus0", 0},
		"/dev/ipmb-4":   {"bus4", 16},
		"/dev/ipmb-63":  {"bus63", 252},
		"/dev/ipmb-64":  {"bus64", bus.NoIndex},
		"/dev/ipmb-999": {"bus999", bus.NoIndex},
		"/sys/bus/i2c/devices/5-1010/slave-mqueue": {"bus5", 20},
	} {
		c := FoundChannel(device).WithDefaults()
		if c.Name != want.name || c.Index() != want.index || c.Type != TypeIPMB || c.DevIndex != 0 || c.RemoteAddress != 0 {
			t.Errorf("%s: %+v, index %d", device, c, c.Index())
		}
	}
	both := []Entry{FoundChannel("/dev/ipmb-64").WithDefaults()}
	if err := Clash("channel", FoundChannel("/dev/ipmb-65").WithDefaults(), both); err != nil {
		t.Error(err)
	}
}

// Send Message to channel 0 reaches the first only.
func TestTwoBusesOfOneHostAndChannel(t *testing.T) {
	_, warnings, err := Parse(Named("/etc/ipmbd/ipmbd.json", false), []byte(`{"channels": [
{"type": "ipmb", "slave-path": "/dev/ipmb-4", "remote-addr": 64, "bridge": true},
{"type": "me", "slave-path": "/dev/ipmb-5", "remote-addr": 64, "ipmi-channel": 0}]}`))
	if err == nil && len(warnings) == 0 {
		t.Error("nothing is said of the second bus, which no Send Message reaches")
	}
}

// A number is a command. A reader of the file cannot know that FFh also stands for all others: as
// "allow" it would let all through.
func TestPolicyOfCommandFF(t *testing.T) {
	_, _, err := Parse(Named(strictFile, false), []byte(`{"channels": [{"type": "me", "slave-path": "/dev/ipmb-4", "remote-addr": 64}],
"policy": [{"allow": ["0x30 0xFF"]}]}`))
	if err == nil || !strings.Contains(err.Error(), "FFh stands for all commands") {
		t.Error(err)
	}
}

func TestOneChannelAndOneHost(t *testing.T) {
	c, _, err := ParseChannel([]byte(`{"type": "me", "slave-path": "/dev/ipmb-4", "remote-addr": "0x2C", "devIndex": 2}`))
	if err != nil || c.RemoteAddress != 0x2C || c.Index() != 9 || c.WithDefaults().Name != "bus4" {
		t.Errorf("%+v, %v", c, err)
	}
	e, _, err := ParseHost([]byte(`{"type": "kcs", "path": "/dev/ipmi-kcs3"}`))
	if h, ok := e.(Host); err != nil || !ok || h.Type != HostKCS || h.Name != "ipmi_kcs3" {
		t.Errorf("%+v, %v", e, err)
	}
	e, _, err = ParseHost([]byte(`{"type": "openipmi", "path": "/dev/ipmi0", "devIndex": 1}`))
	if o, ok := e.(OpenIPMI); err != nil || !ok || o.Name != "ipmi0" || o.Index() != 6 {
		t.Errorf("%+v, %v", e, err)
	}
}

// badOnes are objects and their faults, a line for each.
var badOnes = []struct{ name, text, channel, host string }{
	{"nothing", ``, "is empty", "is empty"},
	{"no JSON", `{"type": `, "unexpected end of JSON input", "unexpected end of JSON input"},
	{"not UTF-8", "{\"name\": \"\xff\"}", "is not UTF-8", "is not UTF-8"},
	{"a list", `[]`, "channel: must be an object", "host: must be an object"},
	{"two objects", `{} {}`, "invalid character '{' after top-level value", "invalid character '{' after top-level value"},
	{"empty", `{}`,
		"channel.slave-path: is missing", "host.path: is missing\nhost.name: is missing"},
	{"a key twice", `{"type": "me", "type": "me", "slave-path": "/dev/ipmb-1", "remote-addr": 44}`, "stands twice", ""},
	{"a number that is none", `{"slave-path": "/dev/ipmb-1", "remote-addr": 1e99}`,
		"channel.remote-addr = 1e99: must be a whole number, or one in a string such as \"0x20\"", ""},
	{"deep", `{"name": ` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`, "nests deeper than 8 levels", "nests deeper than 8 levels"},
	{"names with control characters", `{"name": "a\u0000b", "path": "unix:/x", "slave-path": "/x\u0000", "remote-addr": 44}`, "channel.path = ", "host.name = "},
}

func TestBadOnes(t *testing.T) {
	for _, tt := range badOnes {
		_, _, err := ParseChannel([]byte(tt.text))
		if tt.channel != "" && (err == nil || !strings.Contains(err.Error(), tt.channel)) {
			t.Errorf("%s as a channel: %v", tt.name, err)
		}
		_, _, err = ParseHost([]byte(tt.text))
		if tt.host != "" && (err == nil || !strings.Contains(err.Error(), tt.host)) {
			t.Errorf("%s as a host: %v", tt.name, err)
		}
	}
}
