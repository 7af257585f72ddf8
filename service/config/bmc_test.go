package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var bmcCases = map[string]string{
	`"folder": "lib"`: `:1:19: bmc.folder = "lib": must be an absolute path`,
	`"guid": "f81d4fae7dec11d0a76500a0c91e6bf6"`: `:1:17: bmc.guid = "f81d4fae7dec11d0a76500a0c91e6bf6": ` +
		`must be a string such as "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`,
	`"guid": "00000000-0000-0000-0000-000000000000"`:                       `:1:17: bmc.guid = "00000000-0000-0000-0000-000000000000": must not be zero`,
	`"log-capacity": 40000`:                                                `:1:25: bmc.log-capacity = 40000: must be from 1 to 32768`,
	`"identity": {"firmware": "1.5"}`:                                      `:1:34: bmc.identity.firmware = "1.5": must be a string such as "1.05", at most "127.99"`,
	`"identity": {"firmware": "128.00"}`:                                   `:1:34: bmc.identity.firmware = "128.00": must be a string such as "1.05", at most "127.99"`,
	`"identity": {"firmware": 1.05}`:                                       `:1:34: bmc.identity.firmware = 1.05: must be a string such as "1.05", at most "127.99"`,
	`"identity": {"auxiliary": "0102"}`:                                    `:1:35: bmc.identity.auxiliary = "0102": must be a string of 8 hexadecimal digits`,
	`"sensors": [{"name": "X", "max": 1}]`:                                 `:1:21: bmc.sensors[0]: sensor "X": a name of 1 bytes; 2 to 16 are possible`,
	`"sensors": [{"name": "Hot", "max": 1e999}]`:                           `:1:44: bmc.sensors[0].max = 1e999: is too large`,
	`"sensors": [{"name": "Hot", "max": 1}, {"name": "Hotter", "max": 1}]`: `:1:48: bmc.sensors[1].number = 0: belongs to another one`,
	`"sensors": [{"name": "Hot", "max": 1, "dbus": {"service": "a.b", "path": "/", "interface": "c.d"}}]`: `:1:55: bmc.sensors[0].dbus.property: is missing`,
	`"sensors": [{"name": "Hot", "max": 1, "file": "temp"}]`:                                              `:1:55: bmc.sensors[0].file = "temp": must be an absolute path`,
	`"frus": [{"name": "Board", "file": "/does/not/exist"}]`:                                              `:1:18: bmc.frus[0]: FRU 0, "Board": open /does/not/exist: no such file or directory`,
	`"frus": [{"name": "Board", "board": {"made": "today"}}]`:                                             `:1:54: bmc.frus[0].board.made = "today": must be a date such as "2026-01-31"`,
	`"controllers": [{"name": "Sat", "address": 33}]`:                                                     `:1:52: bmc.controllers[0].address = 33: must be even: an address in its 8-bit form`,
}

func TestFaultsOfTheBMC(t *testing.T) {
	for text, want := range bmcCases {
		file := `{"bmc":{` + text + `}, "hosts": [{"type": "vm", "name": "host0", "path": "tcp:127.0.0.1:9001"}]}`
		_, _, err := Parse(strictFile, []byte(file))
		if err == nil {
			t.Errorf("%s: no fault", text)
			continue
		}
		if diff := cmp.Diff(want, strings.TrimPrefix(err.Error(), strictFile)); diff != "" {
			t.Errorf("%s: fault differs (-want +got):\n%s", text, diff)
		}
	}
}
