package e2e

import (
	"bytes"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
)

// multiNode is the path of the signal updateBmcSlaveAddr.
const multiNode = "/xyz/openbmc_project/MultiNode/Status"

// emit sends a signal and waits until everybody has it.
func (c client) emit(t *testing.T, seen <-chan *dbus.Signal, path dbus.ObjectPath, member string, args ...any) {
	t.Helper()
	if err := c.Emit(path, "com.example.Anything."+member, args...); err != nil {
		t.Fatal(err)
	}
	receive(t, "the signal", seen)
}

// broadcastOf is the arguments of sendBroadcast.
func broadcastOf(channel, netFn, lun, cmd byte, data ...byte) []any {
	return []any{channel, netFn, lun, cmd, data}
}

func TestBroadcastSignalIsObeyedFromRootOnly(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	start(t, bus.Address, channels(channel(n, nil)))
	root, other := connect(t, bus.Address), connectAs(t, bus.Address, nobody)
	seen := root.signals(t, "sendBroadcast")
	other.emit(t, seen, "/any/path", "sendBroadcast", broadcastOf(1, 0x2C, 0, 7)...)
	root.emit(t, seen, "/any/path", "sendBroadcast", broadcastOf(1, 6, 0, 1)...)
	if got, want := n.next(t), unhex(t, "00 18 E8 20 00 01 DF"); !bytes.Equal(got, want) {
		t.Errorf("on the bus: % X, want % X", got, want)
	}
	root.emit(t, seen, "/any/path", "sendBroadcast", broadcastOf(1, 0x2E, 2, 0x40, 0x57, 1, 0)...)
	want := packet{to: 0, netFn: 0x2E, from: 0x20, fromLUN: 2, cmd: 0x40, data: []byte{0x57, 1, 0}}.bytes()
	if got := n.next(t); !bytes.Equal(got, want) {
		t.Errorf("on the bus: % X, want % X", got, want)
	}
}

func TestTrustedNameMayBroadcast(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	config := channels(channel(n, nil))
	config["trusted-names"] = []string{"com.example.Manager"}
	start(t, bus.Address, config)
	stranger, manager := connectAs(t, bus.Address, nobody), connectAs(t, bus.Address, nobody)
	if _, err := manager.RequestName("com.example.Manager", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	seen := connect(t, bus.Address).signals(t, "sendBroadcast")
	for i, c := range []client{stranger, manager} {
		c.emit(t, seen, "/any/path", "sendBroadcast", broadcastOf(1, 6, 0, byte(i))...)
	}
	if got := mustUnpack(t, n.next(t)); got.cmd != 1 {
		t.Errorf("on the bus: % X", got.bytes())
	}
}

func TestMalformedSignalsDoNothing(t *testing.T) {
	t.Parallel()
	needsRoot(t) // whose signals are obeyed
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x40, echo)
	d := start(t, bus.Address, channels(channel(n, object{"type": "ipmb", "remote-addr": 0x40})))
	c := connect(t, bus.Address)
	broadcast, address := c.signals(t, "sendBroadcast"), c.signals(t, "updateBmcSlaveAddr")
	y := func(n ...byte) (args []any) {
		for _, b := range n {
			args = append(args, b)
		}
		return args
	}
	bodies := [][]any{
		nil, {"text"}, y(0), y(0, 6, 0, 1), append(y(0, 6, 0, 1), "text"), append(y(0, 6, 0, 1), []int32{1}),
		append(y(0, 6, 0, 1), []byte{}, byte(1)), {int32(0), int32(6), int32(0), int32(1), []byte{}},
		{[]byte{0, 6, 0, 1}}, {dbus.MakeVariant(byte(0))}, {map[string]dbus.Variant{"a": dbus.MakeVariant("b")}},
		append(y(0, 7, 0, 1), []byte{}),    // netFn of a response
		append(y(0, 0x40, 0, 1), []byte{}), // beyond six bits
		append(y(0, 6, 4, 1), []byte{}),    // LUN beyond two bits
		append(y(9, 6, 0, 1), []byte{}),    // no such channel
		append(y(0, 6, 0, 1), make([]byte, 400)),
	}
	for _, body := range bodies {
		c.emit(t, broadcast, "/any", "sendBroadcast", body...)
	}
	for _, body := range append(bodies,
		y(0, 5, 0x23), // an odd address
		y(0, 5, 0x00), // the general call
		y(0, 6, 0x30), // another I2C bus
		y(1, 5, 0x30), // no such channel
	) {
		c.emit(t, address, multiNode, "updateBmcSlaveAddr", body...)
	}
	c.emit(t, address, "/another/path", "updateBmcSlaveAddr", y(0, 5, 0x30)...)

	// The signals are carried out in order: this one comes to the bus first.
	c.emit(t, broadcast, "/any", "sendBroadcast", broadcastOf(0, 6, 0, 1)...)
	if got, want := n.next(t), unhex(t, "00 18 E8 20 00 01 DF"); !bytes.Equal(got, want) {
		t.Errorf("on the bus: % X, want % X", got, want)
	}
	if got := c.property(t, "bus5", "OwnAddress"); got != byte(0x20) {
		t.Errorf("OwnAddress %02Xh", got)
	}
	if got := c.legacy(t, 0, 0x30, 0, 1, 4); got.Status != 0 || d.ended() {
		t.Errorf("a call afterwards: %+v", got)
	}
}

func TestOwnAddressSignalIsObeyedFromRootOnly(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(echo)
	n.respond(0x40, respond)
	start(t, bus.Address, channels(channel(n, object{"type": "ipmb", "remote-addr": 0x40, "handler": "none"})))
	c := connect(t, bus.Address)
	seen := c.signals(t, "updateBmcSlaveAddr")
	connectAs(t, bus.Address, nobody).emit(t, seen, multiNode, "updateBmcSlaveAddr", byte(0), byte(5), byte(0x24))
	c.emit(t, seen, multiNode, "updateBmcSlaveAddr", byte(0), byte(5), byte(0x22))
	eventually(t, "OwnAddress 22h", func() bool {
		own := c.property(t, "bus5", "OwnAddress")
		if own == byte(0x24) {
			t.Fatal("nobody was obeyed")
		}
		return own == byte(0x22)
	})
	if got := c.legacy(t, 0, 0x30, 0, 1, 4); got.Status != 0 {
		t.Errorf("a call: %+v", got)
	}
	if got := receive(t, "the request", asked); got.from != 0x22 {
		t.Errorf("it came from %02Xh", got.from)
	}
	for _, address := range []byte{0x20, 0x22} {
		n.send(t, packet{to: address, netFn: 6, from: 0x40, number: address & 3, cmd: 1}.bytes())
	}
	if got := mustUnpack(t, n.next(t)); got.from != 0x22 {
		t.Errorf("%02Xh answered", got.from)
	}
	// A second change works as the first did.
	c.emit(t, seen, multiNode, "updateBmcSlaveAddr", byte(0), byte(5), byte(0x20))
	eventually(t, "OwnAddress 20h", func() bool { return c.property(t, "bus5", "OwnAddress") == byte(0x20) })
}
