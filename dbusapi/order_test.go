package dbusapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/internal/fakelink"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// engineBus is a bus with an engine on a wire with one responder, 2Ch.
type engineBus struct {
	*fakeBus
	engine *ipmb.Engine

	mu     sync.Mutex
	frames []ipmb.Frame // as they are written
}

func newEngineBus(t testing.TB, respond func(request ipmb.Frame, reply func([]byte))) *engineBus {
	t.Helper()
	wire := sim.NewBus()
	err := wire.Respond(0x2C, func(frame []byte, reply func([]byte)) {
		if f, err := ipmb.Decode(frame); err == nil && f.Destination == 0x2C && !f.NetFn.IsResponse() {
			respond(f, reply)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	transport, err := wire.Attach(0x20)
	if err != nil {
		t.Fatal(err)
	}
	b := &engineBus{fakeBus: newFakeBus("bus4", 0), engine: ipmb.New(ipmb.Config{})}
	b.renew()
	b.Begin()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.engine.Run(ctx, &recorder{transport, b}) }()
	t.Cleanup(func() { cancel(); <-ended })
	sent := make(chan error, 1)
	for errors.Is(b.StartBroadcast(nil, func(err error) { sent <- err }, 0x30, 0, 0xFF, nil), ipmb.ErrClosed) {
	}
	<-sent
	b.frames = nil
	return b
}

// renew makes it a bus that has not begun.
func (b *engineBus) renew() {
	b.fakeBus.Bus = bus.New(bus.Config{Name: "bus4", MaxCalls: 1000, RemoteAddress: 0x2C}, fakelink.Engine(b.engine))
}

// answer answers a request with its data.
func answer(f ipmb.Frame, reply func([]byte)) {
	reply(f.Response(ipmi.CodeOK, f.Data).Append(nil))
}

// recorder is a transport that notes the frames that are written.
type recorder struct {
	i2c.Transport
	bus *engineBus
}

func (r *recorder) WriteFrame(frame []byte) error {
	if f, err := ipmb.Decode(slices.Clone(frame)); err == nil {
		r.bus.mu.Lock()
		r.bus.frames = append(r.bus.frames, f)
		r.bus.mu.Unlock()
	}
	return r.Transport.WriteFrame(frame)
}

// written is the first byte of the data of each frame that was written.
func (b *engineBus) written() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	var data []byte
	for _, f := range b.frames {
		data = append(data, f.Data[0])
	}
	b.frames = nil
	return data
}

// newEngineRig is a rig whose bus has an engine. Its server does not run.
func newEngineRig(t *testing.T, bus *engineBus) *rig {
	t.Helper()
	r := newStoppedRig(t, Config{})
	r.object.Withdraw()
	r.object.FreeIndex()
	r.fake = bus.fakeBus
	o, err := r.server.NewBus("bus4", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Export(bus.Bus); err != nil {
		t.Fatal(err)
	}
	r.object = o
	return r
}

// crowd is many calls of one client, and all messages that it gets.
type crowd struct {
	t    *testing.T
	conn *dbuswire.Conn
	raw  chan *dbus.Message
	b    []byte // the calls
}

func newCrowd(t *testing.T, r *rig) *crowd {
	c := &crowd{t: t, conn: dial(t, r.bus, dbuswire.Config{}), raw: make(chan *dbus.Message, 10000)}
	c.conn.Eavesdrop(c.raw)
	t.Cleanup(c.leave)
	return c
}

// leave ends the connection. The library must not have the channel when it does.
func (c *crowd) leave() {
	c.conn.Eavesdrop(nil)
	_ = c.conn.Close()
}

// add adds a call, and returns its serial.
func (c *crowd) add(flags byte, path dbus.ObjectPath, iface, member string, args ...any) uint32 {
	c.t.Helper()
	headers := map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:        dbus.MakeVariant(path),
		dbus.FieldMember:      dbus.MakeVariant(member),
		dbus.FieldDestination: dbus.MakeVariant(xml.ServiceName),
	}
	if iface != "" {
		headers[dbus.FieldInterface] = dbus.MakeVariant(iface)
	}
	b := bustest.Encode(c.t, binary.LittleEndian, &dbus.Message{Type: dbus.TypeMethodCall, Headers: headers, Body: args})
	serial := c.conn.NewSerial()
	b[2] = flags
	binary.LittleEndian.PutUint32(b[8:], serial)
	c.b = append(c.b, b...)
	return serial
}

// send sends the calls at once.
func (c *crowd) send() {
	c.t.Helper()
	if err := c.conn.Send(c.b, nil); err != nil {
		c.t.Fatal(err)
	}
	c.b = nil
}

// reply is the next reply, with the serial of its call.
func (c *crowd) reply() (uint32, *dbus.Message) {
	for {
		msg := <-c.raw
		if msg.Type == dbus.TypeMethodReply || msg.Type == dbus.TypeError {
			return msg.Headers[dbus.FieldReplySerial].Value().(uint32), msg
		}
	}
}

// The requests of one client go out in the order of its calls, by whichever methods.
func TestCallsOfAClientAreSentInOrder(t *testing.T) {
	const bursts, each = 300, 10
	bus := newEngineBus(t, answer)
	r := newEngineRig(t, bus)
	c := newCrowd(t, r)
	methods := []func(n byte) uint32{
		func(n byte) uint32 {
			return c.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(0x30), byte(0), n, []byte{n})
		},
		func(n byte) uint32 {
			return c.add(0, bus4, xml.BusInterface, "sendRequest", byte(0x2C), byte(0x30), byte(0), n, []byte{n})
		},
		func(n byte) uint32 {
			return c.add(0, bus4, xml.BusInterface, "sendRequestWithOptions", byte(0), byte(0x30), byte(0), n, []byte{n},
				map[string]dbus.Variant{"tries": dbus.MakeVariant(uint32(2))})
		},
		func(n byte) uint32 {
			return c.add(0, bus4, "", "sendRequest", byte(0), byte(0x30), byte(0), n, []byte{n})
		},
	}
	for burst := range bursts {
		owed := make(map[uint32]bool)
		var want []byte
		for n := range byte(each) {
			owed[methods[rand.N(len(methods))](n)] = true
			want = append(want, n)
		}
		c.send()
		for range each {
			serial, msg := c.reply()
			if !owed[serial] || msg.Type != dbus.TypeMethodReply {
				t.Fatalf("burst %d: %v", burst, msg)
			}
			delete(owed, serial)
		}
		if got := bus.written(); !slices.Equal(got, want) {
			t.Fatalf("burst %d went out as %v", burst, got)
		}
	}
}

func TestBroadcastsOfAClientAreSentInOrder(t *testing.T) {
	const each = 50
	bus := newEngineBus(t, answer)
	r := newEngineRig(t, bus)
	c := newCrowd(t, r)
	var want []byte
	for n := range byte(each) {
		c.add(0, bus4, xml.BusInterface, "sendBroadcast", byte(0x30), byte(0), n, []byte{n})
		want = append(want, n)
	}
	c.send()
	for range each {
		if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply || len(msg.Body) != 0 {
			t.Fatalf("%v", msg)
		}
	}
	if got := bus.written(); !slices.Equal(got, want) {
		t.Errorf("they went out as %v", got)
	}
}

// Commands by signal are carried out in the order of the signals.
func TestBroadcastSignalsAreObeyedInOrder(t *testing.T) {
	const each = maxRunning / 2 // calls of one round may not have ended in the next
	bus := newEngineBus(t, answer)
	r := newEngineRig(t, bus)
	run(t, r.server)
	for range 20 {
		var want []byte
		for n := range byte(each) {
			if err := r.client.Emit("/", "a.b."+broadcastMember, byte(0), byte(0x30), byte(0), n, []byte{n}); err != nil {
				t.Fatal(err)
			}
			want = append(want, n)
		}
		var got []byte
		for len(got) < each {
			got = append(got, bus.written()...)
			_, _ = r.call(t, "/", xml.PeerInterface, "Ping")
		}
		if !slices.Equal(got, want) {
			t.Fatalf("they went out as %v", got)
		}
	}
	if n := r.server.Statistics()["signals-dropped"]; n > 0 {
		t.Errorf("%d were dropped", n)
	}
}

// Calls that change something are carried out in the order of one client.
func TestOtherCallsOfAClientAreServedInOrder(t *testing.T) {
	const each = 100
	m := new(fakeManager)
	r := newRig(t, Config{Manager: m})
	c := newCrowd(t, r)
	var serials []uint32
	var want []string
	for n := range each {
		serials = append(serials, c.add(0, BasePath, xml.ManagerInterface, "AddBus", fmt.Sprint(n)))
		want = append(want, fmt.Sprint("AddBus ", n))
	}
	c.send()
	for _, serial := range serials {
		if got, msg := c.reply(); got != serial || msg.Type != dbus.TypeMethodReply {
			t.Fatalf("reply to %d, want %d: %v", got, serial, msg)
		}
	}
	if !slices.Equal(m.asked, want) {
		t.Errorf("%v", m.asked)
	}
}

// A call waits until its bus takes calls, in order, and without a goroutine.
func TestCallsWaitUntilTheirBusHasBegun(t *testing.T) {
	const each = 20
	bus := newEngineBus(t, answer)
	bus.renew()
	r := newEngineRig(t, bus)
	c, leaver := newCrowd(t, r), newCrowd(t, r)
	leaver.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(0x30), byte(0), byte(1), []byte{0xAA})
	leaver.send()
	for r.fake.InProgress() < 1 {
		_, _ = r.call(t, "/", xml.PeerInterface, "Ping")
	}
	leaver.leave()
	var want []byte
	for n := range byte(each) {
		c.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(0x30), byte(0), n, []byte{n})
		want = append(want, n)
	}
	c.send()
	for gone := false; !gone; {
		_, _ = r.call(t, "/", xml.PeerInterface, "Ping")
		r.server.clients.mu.Lock()
		gone = r.server.clients.known[leaver.conn.Name()] == nil
		r.server.clients.mu.Unlock()
	}
	for r.fake.InProgress() != each {
		_, _ = r.call(t, "/", xml.PeerInterface, "Ping")
	}
	if got := bus.written(); len(got) > 0 {
		t.Errorf("%v went out before", got)
	}
	bus.Begin()
	for range each {
		if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply || msg.Body[0].([]any)[0] != int32(0) {
			t.Errorf("%v", msg)
		}
	}
	if got := bus.written(); !slices.Equal(got, want) {
		t.Errorf("they went out as %v", got)
	}
	if n := r.fake.InProgress(); n != 0 {
		t.Errorf("%d calls in progress", n)
	}
}

func TestCloseEndsCallsThatWaitForTheirBus(t *testing.T) {
	bus := newEngineBus(t, answer)
	bus.renew()
	r := newEngineRig(t, bus)
	c := newCrowd(t, r)
	c.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(0x30), byte(0), byte(1), []byte{1})
	c.send()
	for r.fake.InProgress() < 1 {
		_, _ = r.call(t, "/", xml.PeerInterface, "Ping")
	}
	_ = r.server.Close()
	if n := r.fake.InProgress(); n != 0 {
		t.Errorf("%d calls in progress", n)
	}
}

// The calls of a client that leaves end on a bus with an engine too, and with Close.
func TestCallsToAnEngineEndWithTheirCaller(t *testing.T) {
	asked := make(chan struct{}, 100)
	bus := newEngineBus(t, func(f ipmb.Frame, _ func([]byte)) {
		if f.Command != 0xFF { // the broadcast of newEngineBus
			asked <- struct{}{}
		}
	})
	r := newEngineRig(t, bus)
	for _, end := range []func(*crowd){(*crowd).leave, func(*crowd) { _ = r.server.Close() }} {
		c := newCrowd(t, r)
		for n := range byte(5) {
			c.add(0, bus4, xml.BusInterface, "sendRequestWithOptions", byte(0), byte(0x30), byte(0), n, []byte{n},
				map[string]dbus.Variant{"timeout-ms": dbus.MakeVariant(uint32(60000)), "tries": dbus.MakeVariant(uint32(1))})
		}
		c.send()
		for range 5 {
			<-asked
		}
		end(c)
		for r.fake.InProgress() > 0 && r.server.conn.Context().Err() == nil {
			_, _ = r.call(t, "/", xml.PeerInterface, "Ping")
		}
	}
	if n := bus.engine.Statistics()["calls-cancelled"]; n != 10 {
		t.Errorf("%d calls were cancelled", n)
	}
}
