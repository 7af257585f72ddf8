package host

import (
	"fmt"
	"strings"
	"testing"
)

// command is a command in a machine, its status, and a text in its output, without spaces and line
// ends.
type command struct {
	line   string
	status int
	says   string
}

// commands run in each machine on its system interface, in this order.
var commands = []command{
	{"ipmitool mc info", 0, "Device ID : 32 Device Revision : 1"},
	{"ipmitool mc info", 0, "IPMI Version : 2.0"},
	{"ipmitool mc info", 0, "Firmware Revision : 1.05 IPMI Version : 2.0 Manufacturer ID : 343"},
	{"ipmitool mc selftest", 0, "Selftest: passed"},
	{"ipmitool mc guid", 0, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
	{"ipmitool mc getenables", 0, "Event Message Buffer : enabled System Event Logging : enabled"},
	{"ipmitool sel info", 0, "Version : 1.5 (v1.5, v2 compliant) Entries : 0"},
	{"ipmitool sel list", 0, "SEL has no entries"},
	{"ipmitool event 1", 0, "Temperature #0x30 | Upper Critical going high | Asserted"},
	{"ipmitool sel info", 0, "Entries : 1"},
	{"ipmitool sel list", 0, "Temperature #0x30 | Upper Critical going high | Asserted"},
	{"ipmitool sel elist", 0, "UTC | Temperature #0x30 | Upper Critical going high | Asserted"},
	{elistTime, 0, "about now"},
	{"ipmitool sel clear", 0, "Clearing SEL"},
	{"ipmitool sel list", 0, "SEL has no entries"},
	{"ipmitool channel info 0", 0, "Channel Medium Type : IPMB (I2C) Channel Protocol Type : IPMB-1.0"},
	{"ipmitool channel info 15", 0, "Channel Medium Type : System Interface"},
	{"ipmitool channel info 1", 0, "Channel Medium Type : 802.3 LAN Channel Protocol Type : IPMB-1.0 Session Support : multi-session"},
	{"ipmitool raw 6 1", 0, "20 01 01 05 02"},
	{"ipmitool sdr list", 0, "Inlet | 25 degrees C | ok Intrusion | 0x00 | ok"},
	{"ipmitool sensor list", 0, "Inlet | 25.000 | degrees C | ok | na | na | na | na | 80.000 | na " +
		"Intrusion | 0x0 | discrete | 0x0080| na | na | na | na | na | na"},
	{"ipmitool sdr list mcloc", 0, "Baseboard | Dynamic MC @ 20h | ok"},
	{"ipmitool fru print 0", 0, "Board Mfg : Example Board Product : Board One Board Serial : S1 Board Part Number : P1"},
	{"ipmitool fru print", 0, "Product Name : Riser Two FRU Device Description : Spare (ID 2)"},
	{"ipmitool fru print 2", 0, ""},
	{"ipmitool raw 0x0a 0x11 2 0 0 9", 0, "09 01 00 00 00 00 00 00 ff 00"},
	{"ipmitool raw 0x0a 0x12 0 0 1 $(seq 245)", 0, "f5"}, // Behind the board area: how many were written.
	{"ipmitool raw 0x0a 0x11 0 0 1 250", 0, "fa " + octets(245) + " 00 00 00 00 00"},
	{"ipmitool raw 0x0a 0x11 0 0 1 255", 0, "fa " + octets(245) + " 00 00 00 00 00"}, // As many as there is room for.
	{"ipmitool chassis status", 0, "System Power : on Power Overload : false Power Interlock : inactive Main Power Fault : false " +
		"Power Control Fault : false Power Restore Policy : always-off"},
	{"ipmitool chassis power status", 0, "Chassis Power is on"},
	{"ipmitool chassis restart_cause", 0, "System restart cause: unknown"},
	{"ipmitool chassis policy list", 0, "Supported chassis power policy: always-off always-on previous"},
	{"ipmitool chassis policy always-on", 0, "Set chassis power restore policy to always-on"},
	{"ipmitool chassis status", 0, "Power Restore Policy : always-on"},
	{"ipmitool chassis policy previous", 0, "Set chassis power restore policy to previous"},
	{"ipmitool chassis status", 0, "Power Restore Policy : previous"},
	{"ipmitool chassis policy always-off", 0, "Set chassis power restore policy to always-off"},
	{"ipmitool chassis status", 0, "Power Restore Policy : always-off"},
	{"ipmitool chassis identify", 0, "Chassis identify interval: default (15 seconds)"},
	{"ipmitool chassis identify 1", 0, "Chassis identify interval: 1 seconds"},
	{"ipmitool chassis identify force", 0, "Chassis identify interval: indefinite"},
	{"ipmitool chassis identify 0", 0, "Chassis identify interval: off"},
	{"ipmitool mc watchdog get", 0, "Watchdog Timer Is: Stopped"},
	{"ipmitool mc watchdog reset", 1, "Attempt to reset uninitialized watchdog"},
	{"ipmitool mc watchdog set use=oem action=none timeout=600", 0, "Watchdog Timer was successfully configured"},
	{"ipmitool mc watchdog reset", 0, "countdown restarted"},
	{"ipmitool mc watchdog get", 0, "Watchdog Timer Use: OEM (0x45) Watchdog Timer Is: Started/Running"},
	{"ipmitool mc watchdog off", 0, "timer stopped"},
	{"ipmitool mc watchdog get", 0, "Watchdog Timer Is: Stopped"},
	{"ipmitool user list 1", 0, "ID Name Callin Link Auth IPMI Msg Channel Priv Limit" + noUsers()},
	{"ipmitool user summary 1", 0, "Maximum IDs : 10 Enabled User Count : 0"},
	{"ipmitool lan print 1", 0, "Set in Progress : Set Complete"},
	{"ipmitool lan print 1", 0, "IP Address Source : Unspecified IP Address : 0.0.0.0 Subnet Mask : 0.0.0.0 MAC Address : 00:00:00:00:00:00"},
	{"ipmitool lan print 1", 0, "Default Gateway IP : 0.0.0.0 Default Gateway MAC : 00:00:00:00:00:00"},
	{"ipmitool lan print 1", 0, "802.1q VLAN ID : Disabled 802.1q VLAN Priority : 0"},
	// ipmitool reads each parameter back. At CCh, and as long as it reads another value, it asks
	// again for 30 s.
	{"timeout 20 ipmitool lan set 1 auth ADMIN MD5", 1, ""},
	{"timeout 20 ipmitool lan set 1 ipsrc static", 0, ""},
	{"timeout 20 ipmitool lan set 1 ipaddr 10.0.0.2", 0, "Setting LAN IP Address to 10.0.0.2"},
	{"timeout 20 ipmitool lan set 1 netmask 255.255.255.0", 0, "Setting LAN Subnet Mask to 255.255.255.0"},
	{"timeout 20 ipmitool lan set 1 macaddr 02:00:00:00:00:01", 0, "Setting LAN MAC Address to 02:00:00:00:00:01"},
	{"timeout 20 ipmitool lan set 1 defgw ipaddr 10.0.0.1", 0, "Setting LAN Default Gateway IP to 10.0.0.1"},
	{"timeout 20 ipmitool lan set 1 bakgw macaddr 02:00:00:00:00:03", 0, "Setting LAN Backup Gateway MAC to 02:00:00:00:00:03"},
	{"timeout 20 ipmitool lan set 1 snmp private", 0, "Setting LAN SNMP Community String to private"},
	{"timeout 20 ipmitool lan set 1 arp respond on", 0, "Enabling BMC-generated ARP responses"},
	{"timeout 20 ipmitool lan set 1 arp interval 5", 0, "BMC-generated Gratuitous ARP interval: 5.0 seconds"},
	{"timeout 20 ipmitool lan set 1 vlan id 5", 0, ""},
	{"timeout 20 ipmitool lan set 1 vlan priority 3", 0, ""},
	{"timeout 20 ipmitool lan set 1 cipher_privs XXXXaXXXXXXXXXX", 0, ""},
	{"timeout 20 ipmitool lan set 1 bad_pass_thresh 3 1 50 60", 0, ""},
	{"ipmitool lan print 1", 0, "SNMP Community String : private"},
	{"ipmitool lan print 1", 0, "IP Address : 10.0.0.2 Subnet Mask : 255.255.255.0 MAC Address : 02:00:00:00:00:01"},
	{"ipmitool lan print 1", 0, "802.1q VLAN ID : 5 802.1q VLAN Priority : 3"},
	{"timeout 20 ipmitool lan set 1 vlan id off", 0, ""},
	{"ipmitool lan print 1", 0, "802.1q VLAN ID : Disabled"},
	{"ipmitool raw 6 0x38 1 4", 0, "01 00 00 00 00 00 00 00"},
	{"ipmitool user set name 2 admin", 0, ""},
	{"ipmitool user enable 2", 0, ""},
	{"ipmitool raw 6 0x38 1 4", 0, "01 00 04 00 00 00 00 00"},
	{"ipmitool raw 6 0x99", 1, "rsp=0xc1"},

	// Data of any length get an answer: here, that the length is wrong.
	{wrongLengths(1, 50), 0, "50"},
	{wrongLengths(51, 100), 0, "50"},
	{wrongLengths(101, 150), 0, "50"},
	{wrongLengths(151, 200), 0, "50"},
	{wrongLengths(201, 250), 0, "50"},

	// To the satellite and back.
	{"ipmitool -b 0 -t 0x82 mc info", 0, "Device ID : 80 Device Revision : 1 Firmware Revision : 1.04 IPMI Version : 2.0 Manufacturer ID : 343"},
	{"ipmitool -b 0 -t 0x82 raw 6 1", 0, "50 01 01 04 02 20 57 01 00 01 00"},
	{"ipmitool -b 0 -t 0x82 raw 0x30 1 0xa0 0xa1 0xaa 0xb0 0", 0, "a0 a1 aa b0 00"},
	// The longest answer that comes through the bridge, and one that does not.
	{"ipmitool -b 0 -t 0x82 raw 0x30 1 $(seq 243)", 0, octets(243)},
	{"ipmitool -b 0 -t 0x82 raw 0x30 1 $(seq 244)", 1, "rsp=0xce"},
	{"ipmitool -b 0 -t 0x82 raw 0x30 2", 1, "rsp=0xc1"},
	{"ipmitool -b 0 -t 0x84 raw 6 1", 1, "rsp=0xc3"}, // No node is there.
	{"ipmitool -b 0 -t 0x82 raw 6 1", 0, "50 01 01 04 02 20 57 01 00 01 00"},
}

// elistTime reports whether the time of the first event is within an hour of the machine's time.
const elistTime = "set -- $(ipmitool sel elist | tr '|' ' '); " +
	"age=$(($(date +%s) - $(date -u -D '%m/%d/%y %H:%M:%S' -d \"$2 $3\" +%s))); " +
	"[ $age -gt -3600 ] && [ $age -lt 3600 ] && echo about now"

// octets are the numbers from 1 to n as ipmitool prints them.
func octets(n int) string {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i + 1)
	}
	return fmt.Sprintf("% x", data)
}

// noUsers is the list of the ten possible users, none of which exists yet.
func noUsers() string {
	var b strings.Builder
	for id := 1; id <= 10; id++ {
		fmt.Fprintf(&b, " %d true false false NO ACCESS", id)
	}
	return b.String()
}

// wrongLengths counts the requests that are told that their length is wrong.
func wrongLengths(from, to int) string {
	return fmt.Sprintf("for n in $(seq %d %d); do ipmitool raw 6 1 $(seq $n); done 2>&1 | grep -c rsp=0xc7", from, to)
}

// isDone reports whether a command has succeeded.
func (c command) isDone(s section) bool {
	return s.status == c.status && strings.Contains(strings.Join(strings.Fields(s.output), " "), c.says)
}

// has runs a command and checks its result.
func (m *machine) has(t *testing.T, c command) {
	t.Helper()
	if s := m.runs(t, c.line); !c.isDone(s) {
		t.Errorf("%s: status %d, want %d and %q:\n%s", c.line, s.status, c.status, c.says, s.output)
	}
}
