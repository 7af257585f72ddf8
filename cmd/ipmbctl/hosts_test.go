package main

import (
	"strings"
	"testing"

	"ipmbd/dbusapi"
	"ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
)

// hostGoldens are the results of the commands for host interfaces.
var hostGoldens = []struct {
	name string
	args string
	want result
}{
	{"list", "list", result{stdout: `
NAME  DEVICE         TRANSPORT  CHANNEL  INDEX  OWN  REMOTE  STATE
bus0  /dev/ipmb-0    ipmb-dev   0        0      20h  2Ch     Up
me1   /run/me1.sock  seqpacket  1        1      20h  72h     Down: /run/me1.sock: no such file or directory

NAME   TYPE  PATH                        CHANNEL  HANDLER  STATE
host0  vm    unix:/run/ipmbd/host0.sock  14       bmc      Waiting: no machine is connected
kcs3   kcs   /dev/ipmi-kcs3              15       host     Up
`}},
	{"info", "info kcs3", result{stdout: `
name     kcs3
object   /xyz/openbmc_project/Ipmi/Channel/Ipmb/kcs3
path     /dev/ipmi-kcs3
type     kcs
channel  15
handler  host
state    Up

counted since ipmbd started (what is not listed is 0)
requests-received  9
responses-sent     8
`}},
	{"info of one without a machine", "info host0", result{stdout: `
name     host0
object   /xyz/openbmc_project/Ipmi/Channel/Ipmb/host0
path     unix:/run/ipmbd/host0.sock
type     vm
channel  14
handler  bmc
state    Waiting: no machine is connected

counted since ipmbd started (what is not listed is 0)
requests-received  9
responses-sent     8
`}},
	{"info of nothing known", "info host1", result{code: 1, stderr: `
ipmbctl: no bus and no host interface "host1"
  there are: bus0, host0, kcs3, me1
`}},
	{"completion of info", "__complete info h", result{stdout: `
bus0	/dev/ipmb-0
host0	unix:/run/ipmbd/host0.sock
kcs3	/dev/ipmi-kcs3
me1	/run/me1.sock
:4
`, stderr: `
Completion ended with directive: ShellCompDirectiveNoFileComp
`}},
	{"list in JSON", "list --json", result{stdout: "\n" + `[` +
		`{"name":"bus0","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/bus0","device":"/dev/ipmb-0","transport":"ipmb-dev","channel":0,"index":0,"ownAddress":32,"remoteAddress":44,"state":"Up"},` +
		`{"name":"host0","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/host0","device":"unix:/run/ipmbd/host0.sock","type":"vm","channel":14,"handler":"bmc","state":"Waiting","stateReason":"no machine is connected"},` +
		`{"name":"kcs3","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/kcs3","device":"/dev/ipmi-kcs3","type":"kcs","channel":15,"handler":"host","state":"Up"},` +
		`{"name":"me1","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/me1","device":"/run/me1.sock","transport":"seqpacket","channel":1,"index":1,"ownAddress":32,"remoteAddress":114,"state":"Down","stateReason":"/run/me1.sock: no such file or directory"}]
`}},
	{"info in JSON", "info kcs3 --json", result{stdout: `
{"name":"kcs3","path":"/xyz/openbmc_project/Ipmi/Channel/Ipmb/kcs3","device":"/dev/ipmi-kcs3","type":"kcs","channel":15,"handler":"host","state":"Up","statistics":{"dbus-signals-dropped":0,"requests-received":9,"requests-rejected":0,"responses-sent":8}}
`}},
	{"remove", "remove host0", result{stdout: `
host0 is removed
`}},
	{"info of one that is removed", "info host0", result{code: 1, stderr: `
ipmbctl: no bus and no host interface "host0"
  there are: bus0, kcs3, me1
`}},
}

func TestHostInterfacesAreShown(t *testing.T) {
	r := newRig(t, bustest.Config{})
	r.addHosts(t)
	for _, tt := range hostGoldens {
		r.check(t, tt.name, tt.want, strings.Fields(tt.args)...)
	}
}

// Faults are notes beside the list, which stays as it is for programs that read it.
func TestFaultsAreListed(t *testing.T) {
	r := newRig(t, bustest.Config{})
	before := r.ipmbctl(t, "list")
	r.faults = []string{"bmc.folder: no space left on device", "frame-socket: address in use"}
	want := result{before.stdout, "ipmbctl: " + r.faults[0] + "\nipmbctl: " + r.faults[1] + "\n", 0}
	if got := r.ipmbctl(t, "list"); got != want {
		t.Errorf("%+v", got)
	}
	json := r.ipmbctl(t, "list", "--json")
	if !strings.Contains(json.stderr, r.faults[0]) || strings.Contains(json.stdout, r.faults[0]) {
		t.Errorf("%+v", json)
	}
}

// newBareRig is ipmbd without a bus.
func newBareRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{bus: bustest.Start(t)}
	r.open(t)
	r.serve(t)
	return r
}

func TestHostInterfacesWithoutABus(t *testing.T) {
	r := newBareRig(t)
	r.addHost(t, dbusapi.HostProperties{Name: "kcs3", Type: "kcs", Path: "/dev/ipmi-kcs3", Channel: 15, Handler: "host", State: client.Up})
	want := "NAME  TYPE  PATH            CHANNEL  HANDLER  STATE\nkcs3  kcs   /dev/ipmi-kcs3  15       host     Up\n"
	if got := r.ipmbctl(t, "list"); got != (result{want, "", 0}) {
		t.Errorf("%+v", got)
	}
	r.ipmbctl(t, "send", "bus0", "6", "1").want(t, 1, `
ipmbctl: no bus "bus0"
  ipmbd serves no bus; see what it serves: ipmbctl list
`)
}

// ipmbctl does not know whether ipmbd has a configuration file.
func TestNothingIsServed(t *testing.T) {
	r := newBareRig(t)
	r.ipmbctl(t, "list").want(t, 0, `
ipmbctl: ipmbd serves no bus and no host interface
  without a configuration file it serves each IPMB device as soon as the kernel has it:
    driver:       ipmb-dev of Linux (modprobe ipmb_dev_int); ipmb-device or slave-mqueue of OpenBMC
    device tree:  in the node of the I2C bus
      multi-master;
      ipmb@10 { compatible = "ipmb-dev"; reg = <(0x10 | I2C_OWN_SLAVE_ADDRESS)>; i2c-protocol; };
  with a configuration file, add an entry to it, or use ipmbctl add: see man ipmbd.json
`)
	if got := r.ipmbctl(t, "list", "--json"); got != (result{"[]\n", "", 0}) {
		t.Errorf("%+v", got)
	}
	r.ipmbctl(t, "info", "bus0").want(t, 1, `
ipmbctl: no bus and no host interface "bus0"
  ipmbd serves no bus and no host interface; see how it could: ipmbctl list
`)
}
