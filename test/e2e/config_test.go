package e2e

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// bridgeFile is a configuration of ipmbbridge for a board with two hosts, with
// everything that such files have: keys of older versions, addresses as text, a
// devIndex that the next entry inherits, an entry that comes too late for its
// index, and a device that this board does not have. Addresses of hosts are
// different so that a request shows where it went.
const bridgeFile = `{
  "channels": [
    {"type": "me", "master-path": "/dev/i2c-1", "slave-path": %[1]q, "bmc-addr": 32, "remote-addr": 44},
    {"type": "ipmb", "slave-path": %[2]q, "bmc-addr": "0x20", "remote-addr": "0x40", "devIndex": 0},
    {"type": "ipmb", "slave-path": %[3]q, "bmc-addr": 34, "remote-addr": 66, "devIndex": 1},
    {"type": "me", "slave-path": "/dev/ipmb-250", "bmc-addr": 32, "remote-addr": 44},
    {"type": "ipmb", "slave-path": "/dev/ipmb-251", "bmc-addr": 32, "remote-addr": 68, "devIndex": 1}
  ]
}`

func TestIpmbbridgesFileWorksUnchanged(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	me, one, two := listen(t, "ipmb-1"), listen(t, "ipmb-2"), listen(t, "ipmb-3")
	host := hostd.Start(t, bus.Address, hostd.Print)
	for n, address := range map[*node]byte{me: 0x2C, one: 0x40, two: 0x42} {
		n.respond(address, func(asked packet, send func(packet)) { send(asked.answer(0, asked.to, asked.from)) })
	}
	d := launch(t, "--bus", bus.Address, "--ipmbbridge", "--config",
		writeFile(t, "ipmb-channels.json", fmt.Sprintf(bridgeFile, me.path, one.path, two.path)))
	d.ready(t)
	c := connect(t, bus.Address)
	for index, want := range map[byte]legacyAnswer{
		0: {0, 7, 0, 1, 0, []byte{0x40, 0x20}},
		1: {0, 7, 0, 1, 0, []byte{0x2C, 0x20}},
		4: {0, 7, 0, 1, 0, []byte{0x42, 0x22}},
		5: {4, 0, 0, 0, 0, []byte{}}, // the missing device
		8: {2, 0, 0, 0, 0, []byte{}},
	} {
		if diff := cmp.Diff(want, c.legacy(t, index, 6, 0, 1)); diff != "" {
			t.Errorf("channel %d: %s", index, diff)
		}
	}
	for n, p := range map[*node]packet{
		me:  {to: 0x20, netFn: 6, from: 0x2C, number: 1, cmd: 1},
		two: {to: 0x22, netFn: 6, from: 0x42, number: 1, cmd: 1},
	} {
		if code := n.code(t, p); code != 0 {
			t.Errorf("a request from %02Xh: %02Xh", p.from, code)
		}
		got, devIndex := host.Next(t), int32(p.to-0x20)/2
		if *got.RqSA != int32(p.from>>1) || *got.HostID != devIndex {
			t.Errorf("a request from %02Xh: rqSA %d, hostId %d", p.from, *got.RqSA, *got.HostID)
		}
	}
	d.logged(t, "channels[0].master-path")
	d.logged(t, "index 4 belongs to channels[2]")
}

func TestTransportsByKindOfFile(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-1")
	plain := writeFile(t, "ipmb-2", "no device")
	start(t, bus.Address, channels(
		channel(n, nil),
		channel(&node{path: plain}, object{"devIndex": 1}),
		channel(n, object{"slave-path": "/dev/null", "name": "null", "devIndex": 2}),
	))
	c := connect(t, bus.Address)
	for name, want := range map[string][2]string{
		"bus1": {"Up", "seqpacket"},
		"bus2": {"Down", "auto"},
		"null": {"Down", "auto"},
	} {
		got := [2]string{c.property(t, name, "State").(string), c.property(t, name, "Transport").(string)}
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
