package host

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// busConfiguration configures a machine's message bus: every client may do everything.
const busConfiguration = `<busconfig><type>session</type><listen>unix:path=/var/run/dbus/system_bus_socket</listen>` +
	`<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>` +
	`<allow send_destination="*"/><allow eavesdrop="true"/></policy></busconfig>`

// runsIPMBD starts a message bus in the machine and an ipmbd whose channel is the
// kernel's IPMI driver.
func (m *machine) runsIPMBD(t *testing.T, config string) {
	t.Helper()
	m.prints(t, "mkdir -p /var/run/dbus")
	m.prints(t, "echo '"+busConfiguration+"' >/tmp/bus.conf")
	m.prints(t, "dbus-daemon --config-file=/tmp/bus.conf --fork --nopidfile")
	m.prints(t, "echo '"+config+"' >/tmp/ipmbd.json")
	m.prints(t, "ipmbd --config /tmp/ipmbd.json >/tmp/ipmbd.log 2>&1 &")
	m.eventually(t, "ipmbctl list")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ipmbd in the machine said:\n%s", m.runs(t, "cat /tmp/ipmbd.log").output)
		}
	})
}

// onDriver are the commands of ipmbctl in a machine, through the kernel's driver, whose
// BMC is the daemon outside.
var onDriver = []command{
	{"ipmbctl list", 0, "ipmi0 /dev/ipmi0 openipmi 0 2 20h 20h Up"},
	{"ipmbctl info ipmi0", 0, "openipmi"},
	{"ipmbctl send ipmi0 app get-device-id", 0, "request 20h app get-device-id completion code 00h ok data 20 01 01 05 02"},
	{"ipmbctl send ipmi0 0x20 app get-device-id", 0, "product 11 (000Bh)"},
	{"ipmbctl send ipmi0 6 0x99", 3, "C1h"},
	{"ipmbctl send ipmi0 0x82 app get-device-id", 0, "request 82h app get-device-id completion code 00h ok data 50 01 01 04 02 20 57 01 00 01 00"},
	{"ipmbctl send ipmi0 0x82 0x30 0x01 0xa0 0xa1 0xaa", 0, "data a0 a1 aa"},
	{"ipmbctl send ipmi0 0x82 0x30 0x02", 3, "C1h"},
	{"ipmbctl send ipmi0 0x82 0x30 0x01 $(seq 200)", 0, "c4 c5 c6 c7 c8"},
	{"ipmbctl send ipmi0 app send-message 0", 6, "the driver of this bus cannot do that"},
	{"ipmbctl send --tries 1 ipmi0 0x84 app get-device-id", 3, "C3h"}, // No node is there.
	{"ipmbctl scan --yes --from 0x80 --to 0x88 ipmi0", 0, "82h device 50h revision 1"},
	{"ipmbctl scan --yes --from 0x80 --to 0x88 ipmi0", 0, "1 of 5 addresses answers on ipmi0; 0 not acknowledged, 4 silent"},
	{"ipmbctl sel list ipmi0 0x20", 0, ""},
	{"ipmbctl handlers", 0, "ipmi0 none"},
}

// TestOpenIPMI: ipmbd and its client are in the machine, too, and have the kernel's
// driver as their channel.
func TestOpenIPMI(t *testing.T) {
	t.Parallel()
	d := start(t, 1)
	m := bootHosts(t, d, kcs)[0]
	m.runsIPMBD(t, `{"hosts": [{"type": "openipmi", "path": "/dev/ipmi0"}]}`)
	for _, c := range onDriver {
		t.Run(c.line, func(t *testing.T) { m.has(t, c) })
	}
	t.Run("somebody watches", func(t *testing.T) {
		m.prints(t, "ipmbctl monitor ipmi0 >/tmp/watched 2>/tmp/watching &")
		m.eventually(t, "grep watching /tmp/watching")
		m.has(t, onDriver[2])
		m.eventually(t, "grep 'ipmi0 .*<- 20h .*app get-device-id .*00h ok' /tmp/watched")
	})
	t.Run("an event of the satellite", func(t *testing.T) { m.showsEvents(t, d) })
	m.prints(t, "ipmbctl respond 0x30 0x55 0xca 0xfe >/tmp/responder 2>&1 &")
	m.eventually(t, "grep answering /tmp/responder")
	t.Run("a request of the satellite", func(t *testing.T) { m.isAsked(t, d) })
	t.Run("the driver goes and comes back", func(t *testing.T) {
		m.prints(t, "basename $(readlink /sys/class/ipmi/ipmi0/device) >/tmp/device")
		m.prints(t, "cat /tmp/device >/sys/bus/platform/drivers/ipmi_si/unbind")
		m.eventually(t, "ipmbctl list | grep 'ipmi0.*Down'")
		m.prints(t, "cat /tmp/device >/sys/bus/platform/drivers/ipmi_si/bind")
		m.eventually(t, "ipmbctl list | grep 'ipmi0.*Up'")
		m.has(t, onDriver[2])
		m.isAsked(t, d)
	})
	if log := m.prints(t, "cat /tmp/ipmbd.log"); strings.Contains(log, "ERROR") {
		t.Errorf("ipmbd in the machine said:\n%s", log)
	}
}

// showsEvents checks that an event that the BMC outside has received reaches subscribers inside,
// and the log there.
func (m *machine) showsEvents(t *testing.T, d *daemon) {
	t.Helper()
	m.prints(t, "ipmbctl events >/tmp/events 2>/tmp/listening &")
	m.eventually(t, "grep showing /tmp/listening")
	for sensor := byte(0x31); sensor < 0x34; sensor++ {
		if code := d.satellites[0].event(t, sensor); code != 0 {
			t.Errorf("the event was answered %v", code)
		}
	}
	for sensor := 0x31; sensor < 0x34; sensor++ {
		m.eventually(t, fmt.Sprintf("grep 'ipmi0 .*temperature %02Xh: ' /tmp/events", sensor))
	}
	m.has(t, command{"ipmbctl sel list", 0, "82h temperature 33h: upper critical going high asserted"})
}

// isAsked checks that requests of the satellite to host software, LUN 2, come through the BMC
// outside and the driver to the handler inside, and the answers back. The driver answers requests
// without a registered program.
func (m *machine) isAsked(t *testing.T, d *daemon) {
	t.Helper()
	const hostSoftware ipmi.LUN = 2
	// The driver passes a command on a little after its handler is registered.
	isServed := func(try uint8) bool {
		probe := ipmb.Frame{NetFn: 0x30, DestinationLUN: hostSoftware, Sequence: 10 + try, Command: 0x55, Data: []byte{0xFF, try}}
		return d.satellites[0].asks(t, probe).Code == ipmi.CodeOK
	}
	for try := uint8(0); !isServed(try); try++ {
		if try == 50 {
			t.Fatal("the driver passes nothing on")
		}
	}
	for i := range uint8(5) {
		request := ipmb.Frame{NetFn: 0x30, DestinationLUN: hostSoftware, SourceLUN: 1, Sequence: i, Command: 0x55, Data: []byte{i}}
		answer := d.satellites[0].asks(t, request)
		if answer.Code != ipmi.CodeOK || !bytes.Equal(answer.Data, []byte{0xCA, 0xFE}) || answer.Sequence != i || answer.DestinationLUN != 1 {
			t.Errorf("request %d: %+v", i, answer)
		}
	}
	if answer := d.satellites[0].asks(t, ipmb.Frame{NetFn: 0x30, DestinationLUN: hostSoftware, Sequence: 6, Command: 0x56}); answer.Code != ipmi.CodeInvalidCommand {
		t.Errorf("what nobody serves: %+v", answer)
	}
}
