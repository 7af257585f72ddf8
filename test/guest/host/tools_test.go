package host

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tools are commands of FreeIPMI, ipmiutil and OpenIPMI's shell. A line of their output that looks
// like a fault, or a status other than 0, needs a reason: it is one that a BMC without this
// equipment must give.
var tools = []struct {
	command
	why string
}{
	{command{"bmc-info", 0, "Device Available : yes (normal operation) IPMI Version : 2.0 Sensor Device : supported"}, ""},
	{command{"bmc-info", 0, "Device GUID : f81d4fae-7dec-11d0-a765-00a0c91e6bf6 System GUID : f81d4fae-7dec-11d0-a765-00a0c91e6bf6"}, ""},
	// FreeIPMI 1.6.10 prints old memory for the channels from 2 to 7, which answer CCh.
	{command{"bmc-info", 0, "Channel Number : 1 Medium Type : 802.3 LAN Protocol Type : IPMB-1.0 " +
		"Active Session Count : 0 Session Support : multi-session"}, ""},
	{command{"ipmi-sel --info", 0, "SEL version : 1.5 Number of log entries : 0 Free space remaining : 65535 bytes"}, ""},
	{command{"ipmi-sel --quiet-cache", 0, ""}, ""},
	{command{"ipmitool event 1", 0, "Temperature #0x30 | Upper Critical going high | Asserted"}, ""},
	{command{"ipmi-sel", 0, "Sensor #48 | Temperature | Upper Critical - going high"}, ""},
	{command{"ipmiutil sel", 0, "Temperature #30 Temp Asserted"}, ""},
	{command{"ipmi-sel --delete=1", 0, ""}, ""},
	{command{"ipmitool event 2", 0, "Voltage #0x60 | Lower Critical going low | Asserted"}, ""},
	{command{"ipmi-sel --clear", 0, ""}, ""},
	{command{"ipmi-sel --info", 0, "Number of log entries : 0"}, ""},
	{command{"ipmiutil sel", 0, "Firmware Log (SEL) is empty"}, ""},
	{command{"ipmi-sensors", 0, "Inlet | Temperature | 25.00 | C | 'OK'"}, ""},
	{command{"ipmi-sensors", 0, "Intrusion | Physical Security | N/A | N/A | 'OK'"}, ""},
	{command{"ipmi-sensors -v", 0, "Upper Critical Threshold: 80.000000 C"}, ""},
	{command{"ipmiutil sensor", 0, "Inlet = 19 OK 25.00 degrees C"}, ""},
	{command{"ipmi-fru", 0, "FRU Board Manufacturer: Example FRU Board Product Name: Board One FRU Board Serial Number: S1"}, ""},
	{command{"ipmi-fru -v", 0, "FRU Inventory Device: Riser (ID 01h) FRU Product Language: English " +
		"FRU Product Manufacturer Name: Example FRU Product Name: Riser Two"}, ""},
	{command{"ipmiutil fru", 0, "Board Product Name : Board One"}, ""},
	{command{"ipmi-chassis --get-chassis-status", 0, "System Power : on"}, ""},
	{command{"ipmi-chassis --get-chassis-capabilities", 0, "SEL Device Address : 20h"}, ""},
	{command{"ipmi-chassis --get-power-on-hours-counter", 0, "Power on hours : 0 Hours"}, ""},
	{command{"ipmi-chassis --get-system-restart-cause", 0, "Restart cause : unknown"}, ""},
	{command{"ipmi-chassis --chassis-identify=5", 0, ""}, ""},

	{command{"ipmi-config --checkout >/tmp/core", 1, ""}, "keys of what the BMC has not: see unsupported"},
	{command{unsupported, 0, "Lan6_Conf Lan_Conf_Security_Keys Rmcpplus_Conf_Privilege SOL_Conf Serial_Channel Serial_Conf User"},
		"there is no serial channel, Serial over LAN, cipher suite, or IPv6"},
	{command{"ipmi-config --commit --filename=/tmp/core", 0, ""}, ""},
	{command{"ipmi-config --checkout >/tmp/again; cmp /tmp/core /tmp/again", 0, ""}, ""},
	{command{"ipmi-config --category=chassis --checkout >/tmp/chassis", 0, ""}, ""},
	{command{"ipmi-config --category=chassis --commit --filename=/tmp/chassis", 0, ""}, ""},
	{command{"ipmi-config --category=chassis --checkout | cmp /tmp/chassis", 0, ""}, ""},
	{command{"ipmi-config --category=sensors --checkout >/tmp/sensors", 0, ""}, ""},
	{command{"ipmi-config --category=sensors --commit --filename=/tmp/sensors", 0, ""}, ""},
	{command{"ipmi-config --category=sensors --checkout | cmp /tmp/sensors", 0, ""}, ""},
	{command{"ipmi-config --category=pef --checkout", 1, "Unable to get Number of Alert Policy Entries"},
		"there is no alerting, and then the parameter is optional (table 30-6)"},
	{command{"ipmi-config --commit --key-pair=User2:Username=admin --key-pair=User2:Password=secret --key-pair=User2:Enable_User=Yes", 0, ""}, ""},
	{command{"ipmi-config --checkout --section User2", 1, "Username admin"}, "there is no Serial over LAN"},
	{command{"ipmi-config --checkout --section User2", 1, "Enable_User Yes"}, "there is no Serial over LAN"},
	{command{"ipmi-config --commit --key-pair=Lan_Conf:IP_Address=192.0.2.7", 0, ""}, ""},
	{command{"ipmi-config --checkout --section Lan_Conf", 0, "IP_Address 192.0.2.7"}, ""},

	{command{"ipmiutil health", 0, "Selftest status = 0055 (OK)"}, "sh: dmidecode: not found; the machine has none"},
	{command{"ipmiutil wdt", 0, "Watchdog timer is stopped"}, ""},
	{command{"ipmiutil lan", 0, "Lan Param(3) IP address: 192.0.2.7"}, ""},
	{command{"ipmiutil user list", 0, "User 1: chan=1 disabled No access"}, ""},
	{command{"ipmiutil config >/tmp/ipmiutil", 0, ""}, ""},
	{command{"ipmiutil getevt -t 1", 0, "event receiver sa = 20 lun = 00"}, "get_event timeout: there is no event"},
	{command{"ipmiutil cmd 00 20 18 01", 0, "respData[len=11]: 20 01 01 05 02"}, ""},
	{command{"ipmiutil serial", 247, "No serial channel support found"}, "there is none"},

	{command{openIPMI, 0, "mc list self Domain Name: self MCs Name: self(0.20) > entity list self"}, ""},
	{command{"cat /tmp/openipmish", 0, "sdr_repository_support: true sensor_device_support: true device_id: 0x20 device_revision: 1 fw_revision: 1.05 version: 2.0"}, ""},
	{command{"cat /tmp/openipmish", 0, "Name: self(55.0).Inlet"}, ""},
	{command{"cat /tmp/openipmish", 0, "Object Type: Entity FRU Name: self(7.0) Operation: Add"}, ""},
	{command{"cat /tmp/openipmish", 0, "Value: 2.500000e+01"}, ""},
}

// unsupported prints the sections of which FreeIPMI can read some keys not.
const unsupported = `ipmi-config --checkout -vv | sed -n 's/.*Unable to checkout \([A-Za-z_]*[A-Za-z]6*[A-Za-z_]*\)[0-9]*:.*/\1/p' | sort -u`

// openIPMI opens the BMC as a domain, waits until its last FRU device has been read, and lists the
// objects. Behind exit, OpenIPMI interrupts its own search.
const openIPMI = "mkfifo /tmp/commands; openipmish </tmp/commands >/tmp/openipmish 2>&1 & exec 3>/tmp/commands; " +
	"echo 'domain open self smi 0' >&3; " +
	"for n in $(seq 300); do grep -A 1 'Name: self(7.0)' /tmp/openipmish | grep -q 'Fully Up' && break; usleep 100000; done; " +
	"for c in 'mc list self' 'entity list self' 'mc info self(0.20)' 'sensor get self(55.0).Inlet' 'fru list self' 'sel list self'; do echo \"$c\" >&3; done; " +
	"for n in $(seq 100); do grep -q 'Slots in use' /tmp/openipmish && break; usleep 100000; done; sed -n '/mc list/,$p' /tmp/openipmish; echo exit >&3"

// faults are words of errors and warnings.
var faults = regexp.MustCompile(`(?i)\b(error|errors|fail|failed|unable|cannot|invalid|timeout|time-out|not found|unrecognized|warning)\b`)

// TestManagementTools: the tools of other projects find nothing wrong with the BMC.
func TestManagementTools(t *testing.T) {
	d := start(t, 1)
	m := boot(t, kcs, d.sockets[0], "-initrd", withTools(t))
	m.until(t, "boot", readyLine)
	eventually(t, "the connection of the machine", func() bool { return d.hosts() == 1 })
	m.loads(t, kcs)
	for _, tool := range tools {
		t.Run(tool.line, func(t *testing.T) {
			s := m.runs(t, tool.line)
			if !tool.isDone(s) || tool.why == "" && faults.MatchString(withoutSafeWords(s.output)) {
				t.Errorf("status %d, want %d and %q:\n%s", s.status, tool.status, tool.says, s.output)
			}
		})
	}
}

// withoutSafeWords leaves out words that are no faults where they stand.
func withoutSafeWords(output string) string {
	return strings.NewReplacer(
		"Error: 0", "", // OpenIPMI's result of an operation
		"timeout is 0 seconds", "",
	).Replace(output)
}

// withTools returns an initrd that has the tools of other projects, too.
func withTools(t *testing.T) (file string) {
	t.Helper()
	var archive []byte
	for _, part := range []string{initrd, filepath.Join(fixture, "tools")} {
		b, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		archive = append(archive, b...)
	}
	file = filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
