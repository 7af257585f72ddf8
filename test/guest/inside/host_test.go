package inside

import (
	"testing"

	"github.com/godbus/dbus/v5"
)

// echo is the network function of which serveHost answers every command with
// the request's data.
const echo = 0x30

// deviceID is the answer to Get Device ID of serveHost: device 32, firmware
// 1.04, IPMI 2.0, manufacturer 343, product 2832.
var deviceID = []byte{0x20, 0x01, 0x01, 0x04, 0x02, 0x21, 0x57, 0x01, 0x00, 0x10, 0x0B}

// serveHost puts a host IPMI daemon on a message bus until the test ends, with
// the one method of phosphor-host-ipmid.
func serveHost(t *testing.T, address string) {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	err = conn.ExportMethodTable(map[string]any{"execute": execute},
		"/xyz/openbmc_project/Ipmi", "xyz.openbmc_project.Ipmi.Server")
	if err != nil {
		t.Fatal(err)
	}
	reply, err := conn.RequestName("xyz.openbmc_project.Ipmi.Host", dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("request name: %v, %v", reply, err)
	}
}

// hostReply is the one result of execute.
type hostReply struct {
	NetFn, LUN, Command, Code byte
	Data                      []byte
}

func execute(netFn, lun, cmd byte, data []byte, _ map[string]dbus.Variant) (hostReply, *dbus.Error) {
	reply := hostReply{NetFn: netFn | 1, LUN: lun, Command: cmd, Data: []byte{}}
	switch {
	case netFn == 0x06 && cmd == 0x01:
		reply.Data = deviceID
	case netFn == echo:
		reply.Data = data
	default:
		reply.Code = 0xC1
	}
	return reply, nil
}
