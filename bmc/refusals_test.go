package bmc

import (
	"testing"
	"time"

	"ipmbd/ipmi"
)

// refusals are requests of the right length whose data are wrong.
var refusals = []struct {
	name    string
	netFn   ipmi.NetFn
	command ipmi.Command
	data    string
	want    string
}{
	{"acpi: system state", ipmi.NetFnApp, 0x06, "90 00", "CC"},
	{"acpi: device state", ipmi.NetFnApp, 0x06, "00 84", "CC"},

	{"set system info: unknown parameter", ipmi.NetFnApp, 0x58, "08 00 00", "80"},
	{"set system info: block", ipmi.NetFnApp, 0x58, "02 10 41", "C9"},
	{"set system info: no block", ipmi.NetFnApp, 0x58, "02 00", "C7"},
	{"set system info: commit", ipmi.NetFnApp, 0x58, "00 02", "CC"},
	{"set system info: long progress", ipmi.NetFnApp, 0x58, "00 01 00", "C7"},
	{"set system info: encoding 3 and a reserved bit", ipmi.NetFnApp, 0x58, "01 00 13 02 61 62", "CC"},
	{"get system info: a reserved bit beside the revision", ipmi.NetFnApp, 0x59, "81 01 00 00", "CC"},
	{"get system info: unknown parameter", ipmi.NetFnApp, 0x59, "00 C0 00 00", "80"},
	{"get system info: block", ipmi.NetFnApp, 0x59, "00 02 01 00", "C9"},

	{"watchdog: use 0", ipmi.NetFnApp, 0x24, "00 00 00 00 0A00", "CC"},
	{"watchdog: use 6", ipmi.NetFnApp, 0x24, "06 00 00 00 0A00", "CC"},
	{"watchdog: reserved bit of use", ipmi.NetFnApp, 0x24, "0C 00 00 00 0A00", "CC"},
	{"watchdog: action 4", ipmi.NetFnApp, 0x24, "04 04 00 00 0A00", "CC"},
	{"watchdog: reserved bit of action", ipmi.NetFnApp, 0x24, "04 08 00 00 0A00", "CC"},
	{"watchdog: an SMI, which no interface carries", ipmi.NetFnApp, 0x24, "44 11 01 00 1400", "CC"},
	{"watchdog: interrupt 4", ipmi.NetFnApp, 0x24, "04 40 00 00 0A00", "CC"},
	{"watchdog: reserved bit of interrupt", ipmi.NetFnApp, 0x24, "04 80 00 00 0A00", "CC"},

	{"authentication: channel", ipmi.NetFnApp, 0x38, "02 04", "CC"},
	{"authentication: privilege 0", ipmi.NetFnApp, 0x38, "01 00", "CC"},
	{"authentication: privilege 6", ipmi.NetFnApp, 0x38, "01 06", "CC"},
	{"authentication: reserved bit", ipmi.NetFnApp, 0x38, "41 04", "CC"},
	{"set channel access: channel", ipmi.NetFnApp, 0x40, "02 60 44", "CC"},
	{"set channel access: no sessions", ipmi.NetFnApp, 0x40, "0F 60 44", "82"},
	{"set channel access: reserved bit of channel", ipmi.NetFnApp, 0x40, "11 60 44", "CC"},
	{"set channel access: kind 3", ipmi.NetFnApp, 0x40, "01 E0 44", "CC"},
	{"set channel access: always available", ipmi.NetFnApp, 0x40, "01 62 44", "83"},
	{"set channel access: alerting", ipmi.NetFnApp, 0x40, "01 40 44", "CC"},
	{"set channel access: user level authentication", ipmi.NetFnApp, 0x40, "01 68 44", "CC"},
	{"set channel access: limit of kind 3", ipmi.NetFnApp, 0x40, "01 60 C4", "CC"},
	{"set channel access: reserved bit of the limit", ipmi.NetFnApp, 0x40, "01 60 54", "CC"},
	{"set channel access: limit", ipmi.NetFnApp, 0x40, "01 60 43", "CC"},
	{"channel access: channel", ipmi.NetFnApp, 0x41, "02 40", "CC"},
	{"channel access: reserved bit of channel", ipmi.NetFnApp, 0x41, "11 40", "CC"},
	{"channel access: neither", ipmi.NetFnApp, 0x41, "01 00", "CC"},
	{"channel access: both", ipmi.NetFnApp, 0x41, "01 C0", "CC"},
	{"channel access: reserved bit", ipmi.NetFnApp, 0x41, "01 41", "CC"},

	{"activate payload: serial over LAN", ipmi.NetFnApp, 0x48, "01 01 00000000", "81"},
	{"activate payload: reserved bit of type", ipmi.NetFnApp, 0x48, "41 01 00000000", "CC"},
	{"activate payload: reserved bit of instance", ipmi.NetFnApp, 0x48, "01 11 00000000", "CC"},
	{"deactivate payload: serial over LAN", ipmi.NetFnApp, 0x49, "01 01 00000000", "81"},
	{"payload activation status: serial over LAN", ipmi.NetFnApp, 0x4A, "01", "CC"},
	{"payload instance info: serial over LAN", ipmi.NetFnApp, 0x4B, "01 01", "CC"},
	{"payload support: no LAN", ipmi.NetFnApp, 0x4E, "0F", "CC"},
	{"payload support: reserved bit", ipmi.NetFnApp, 0x4E, "11", "CC"},

	{"set PEF: unknown parameter", ipmi.NetFnSensor, 0x12, "01 00", "80"},
	{"set PEF: reserved bit", ipmi.NetFnSensor, 0x12, "80 00", "CC"},
	{"set PEF: commit", ipmi.NetFnSensor, 0x12, "00 02", "CC"},
	{"set PEF: no progress", ipmi.NetFnSensor, 0x12, "00", "C7"},
	{"get PEF: unknown parameter", ipmi.NetFnSensor, 0x13, "05 00 00", "80"},

	{"set user access: channel", ipmi.NetFnApp, 0x43, "02 02 04", "CC"},
	{"set user access: user 0", ipmi.NetFnApp, 0x43, "01 00 04", "CC"},
	{"set user access: user 11", ipmi.NetFnApp, 0x43, "01 0B 04", "CC"},
	{"set user access: reserved bit of user", ipmi.NetFnApp, 0x43, "01 42 04", "CC"},
	{"set user access: privilege 0", ipmi.NetFnApp, 0x43, "01 02 00", "CC"},
	{"set user access: privilege 6", ipmi.NetFnApp, 0x43, "01 02 06", "CC"},
	{"set user access: reserved bit of privilege", ipmi.NetFnApp, 0x43, "01 02 14", "CC"},
	{"set user access: reserved bit of sessions", ipmi.NetFnApp, 0x43, "01 02 04 10", "CC"},
	{"set user access: a limit of sessions", ipmi.NetFnApp, 0x43, "01 02 04 01", "CC"},
	{"get user access: channel", ipmi.NetFnApp, 0x44, "02 02", "CC"},
	{"get user access: user 0", ipmi.NetFnApp, 0x44, "01 00", "CC"},
	{"get user access: reserved bit of channel", ipmi.NetFnApp, 0x44, "11 02", "CC"},
	{"get user access: reserved bit of user", ipmi.NetFnApp, 0x44, "01 82", "CC"},
	{"set user name: user 0", ipmi.NetFnApp, 0x45, "00 41000000000000000000000000000000", "CC"},
	{"set user name: the null user", ipmi.NetFnApp, 0x45, "01 41000000000000000000000000000000", "CC"},
	{"set user name: reserved bit", ipmi.NetFnApp, 0x45, "42 41000000000000000000000000000000", "CC"},
	{"get user name: user 11", ipmi.NetFnApp, 0x46, "0B", "CC"},
	{"get user name: reserved bit", ipmi.NetFnApp, 0x46, "42", "CC"},
	{"password: user 11", ipmi.NetFnApp, 0x47, "0B 01", "CC"},
	{"password: reserved bit of user", ipmi.NetFnApp, 0x47, "42 01", "CC"},
	{"password: operation 4", ipmi.NetFnApp, 0x47, "02 04", "CC"},

	{"set LAN: channel", ipmi.NetFnTransport, 0x01, "02 03 01020304", "CC"},
	{"set LAN: reserved bit", ipmi.NetFnTransport, 0x01, "11 03 01020304", "CC"},
	{"set LAN: source of the address", ipmi.NetFnTransport, 0x01, "01 04 05", "CC"},
	{"set LAN: VLAN priority", ipmi.NetFnTransport, 0x01, "01 15 08", "CC"},
	{"set LAN: commit", ipmi.NetFnTransport, 0x01, "01 00 02", "CC"},
	{"set LAN: nothing", ipmi.NetFnTransport, 0x01, "01 03", "C7"},
	{"get LAN: channel", ipmi.NetFnTransport, 0x02, "02 03 00 00", "CC"},
	{"get LAN: reserved bit", ipmi.NetFnTransport, 0x02, "11 03 00 00", "CC"},

	{"chassis control: action 6", ipmi.NetFnChassis, 0x02, "06", "CC"},
	{"chassis control: reserved bit", ipmi.NetFnChassis, 0x02, "13", "CC"},
	{"identify: reserved bit", ipmi.NetFnChassis, 0x04, "0F 02", "CC"},
	{"power restore policy 4", ipmi.NetFnChassis, 0x06, "04", "CC"},

	{"set boot option: unknown parameter", ipmi.NetFnChassis, 0x08, "08 00", "80"},
	{"set boot option: long progress", ipmi.NetFnChassis, 0x08, "00 01 00", "C7"},
	{"set boot option: commit", ipmi.NetFnChassis, 0x08, "00 02", "CC"},
	{"set boot option: short flags", ipmi.NetFnChassis, 0x08, "05 80 00 00 00", "C7"},
	{"set boot option: long flags", ipmi.NetFnChassis, 0x08, "05 80 00 00 00 00 00", "C7"},
	{"set boot option: flag clearing", ipmi.NetFnChassis, 0x08, "03 20", "CC"},
	{"set boot option: no block", ipmi.NetFnChassis, 0x08, "07 00", "C7"},
	{"set boot option: block", ipmi.NetFnChassis, 0x08, "07 05 41", "C9"},
	{"get boot option: reserved bit", ipmi.NetFnChassis, 0x09, "85 00 00", "CC"},
	{"get boot option: unknown parameter", ipmi.NetFnChassis, 0x09, "08 00 00", "80"},
}

// ownGroups are the groups of this file's requests.
var ownGroups = index(deviceCommands, acpiCommands, systemInfoCommands, watchdogCommands, channelCommands, userCommands,
	lanCommands, chassisCommands, bootCommands, pefCommands, payloadCommands)

func TestWrongData(t *testing.T) {
	refused := make(map[commandKey]bool)
	for _, tt := range refusals {
		refused[commandKey{tt.netFn, tt.command}] = true
		story(t, tt.name, func(t *testing.T, b *bench) {
			b.is("answer", b.on(host0, 0, tt.netFn, tt.command, tt.data), tt.want)
		})
	}
	for key, c := range ownGroups {
		if c.max > 0 && !refused[key] {
			t.Errorf("no wrong data for netFn %02Xh command %02Xh", key.netFn, key.command)
		}
	}
}

// What ipmi_sim, the simulator of OpenIPMI 2.0.33, does wrong.
func TestFaultsOfIPMISim(t *testing.T) {
	runs(t, "reset watchdog starts the countdown again", func(t *testing.T, r *rig) {
		r.is("set", r.app(0x24, "44 01 00 00 2800"), "00")
		for range 10 {
			r.is("reset", r.app(0x22, ""), "00")
			time.Sleep(3900 * time.Millisecond)
		}
		r.done("machine")
	})

	runs(t, "get watchdog answers eight bytes", func(t *testing.T, r *rig) {
		r.is("set", r.app(0x24, "44 01 00 00 2800"), "00")
		r.is("get", r.app(0x25, ""), "00 04 01 00 00 2800 2800")
	})

	runs(t, "set watchdog answers without data", func(t *testing.T, r *rig) {
		r.is("get before", r.app(0x25, ""), "00 00 00 00 00 0000 0000")
		r.is("set", r.app(0x24, "04 00 00 00 2800"), "00")
	})

	runs(t, "get chassis capabilities answers six bytes", func(t *testing.T, r *rig) {
		r.is("something longer", r.app(0x01, ""), "00 20 01 00 00 02 D7 00 00 00 00 00")
		r.is("get", r.chassis(0x00, ""), "00 00 00 20 20 20 20")
	})

	runs(t, "a diagnostic interrupt is valid data", func(t *testing.T, r *rig) {
		r.is("chassis control", r.chassis(0x02, "04"), "00")
		r.done("machine", "host0 0: diagnostic interrupt")
	})

	runs(t, "a pre-timeout NMI is valid data", func(t *testing.T, r *rig) {
		r.is("set", r.app(0x24, "44 21 63 00 E803"), "00")
	})

	runs(t, "commands that it does not know", func(t *testing.T, r *rig) {
		r.bmc.config.GUID = [16]byte{0xA1}
		r.is("self test", r.app(0x04, ""), "00 55 00")
		r.is("device GUID", r.app(0x08, ""), "00 A1000000000000000000000000000000")
		r.is("system GUID", r.app(0x37, ""), "00 A1000000000000000000000000000000")
		r.is("restart cause", r.chassis(0x07, ""), "00 00 00")
	})
}

func TestUnknownCommands(t *testing.T) {
	for _, n := range []ipmi.NetFn{ipmi.NetFnChassis, ipmi.NetFnApp, ipmi.NetFnTransport} {
		_, err := ipmi.Do(t.Context(), opened(t, Config{}), &ipmi.Request{NetFn: n, Command: 0xEE})
		if code := ipmi.CodeOf(err); code != ipmi.CodeInvalidCommand {
			t.Errorf("netFn %02Xh: %v", n, code)
		}
	}
}
