package client

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/fakelink"
	"ipmbd/internal/testmain"

	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

func TestMain(m *testing.M) { testmain.Run(m) }

// fakeBus is a bus whose responder does as the command says.
type fakeBus struct {
	*bus.Bus
	mu         sync.Mutex
	properties bus.Properties
	request    ipmb.Request            // the last
	began      chan struct{}           // of each cmdBlock
	errs       map[ipmi.Command]error  // commands that fail
	data       map[ipmi.Command][]byte // and those that are answered
	deviceErr  error                   // of methods that change the device
}

// cmdBlock gets no response; it ends with its caller.
const cmdBlock ipmi.Command = 0xBB

// deviceID is the response of a Management Engine to Get Device ID.
var deviceID = []byte{0x50, 1, 4, 0, 2, 0x21, 0x57, 1, 0, 0x0B, 0x0B}

func newFakeBus(name string, index uint8) *fakeBus {
	b := &fakeBus{
		properties: bus.Properties{
			Name: name, Device: "/dev/ipmb-4", Transport: "ipmb-dev", Index: index,
			OwnAddress: 0x20, RemoteAddress: 0x2C, State: Up, Handler: "host",
		},
		began: make(chan struct{}, 1000),
		data:  map[ipmi.Command][]byte{1: deviceID},
	}
	b.Bus = bus.New(bus.Config{Name: name, Index: index, RemoteAddress: 0x2C}, &fakeLink{&fakelink.Link{Answer: b.exchange}, b})
	b.Begin()
	return b
}

// fakeLink is the link of a fakeBus.
type fakeLink struct {
	*fakelink.Link
	fake *fakeBus
}

// exchange answers a request.
func (b *fakeBus) exchange(cancelled <-chan struct{}, req ipmb.Request) (ipmi.Response, error) {
	b.mu.Lock()
	b.request = req
	err, data := b.errs[req.Command], b.data[req.Command]
	b.mu.Unlock()
	switch {
	case err != nil:
		return ipmi.Response{}, err
	case req.Command == cmdBlock:
		b.began <- struct{}{}
		<-cancelled
		return ipmi.Response{}, context.Canceled
	case data != nil:
		return ipmi.Response{Data: data}, nil
	}
	return ipmi.Response{Code: ipmi.CodeInvalidCommand}, nil
}

func (b *fakeBus) lastRequest() ipmb.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.request
}

// set changes a bus.
func (b *fakeBus) set(change func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deviceErr == nil {
		change()
	}
	return b.deviceErr
}

func (b *fakeBus) change(f func(*bus.Properties)) { _ = b.set(func() { f(&b.properties) }) }

// fail makes commands end with errors.
func (b *fakeBus) fail(errs map[ipmi.Command]error) { _ = b.set(func() { b.errs = errs }) }

// answer sets the data of the response to a command.
func (b *fakeBus) answer(cmd ipmi.Command, data []byte) { _ = b.set(func() { b.data[cmd] = data }) }

// failDevice makes changes of the device end with an error.
func (b *fakeBus) failDevice(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deviceErr = err
}

func (l *fakeLink) Describe(p *bus.Properties) {
	l.fake.mu.Lock()
	defer l.fake.mu.Unlock()
	*p = l.fake.properties
}

func (l *fakeLink) Bind(context.Context) error {
	return l.fake.set(func() { l.fake.properties.State = Up })
}

func (l *fakeLink) Unbind(context.Context) error {
	return l.fake.set(func() { l.fake.properties.State = Down })
}

func (l *fakeLink) Statistics() map[string]uint64 { return map[string]uint64{"calls-answered": 7} }

// fakeHost is a host interface.
type fakeHost struct {
	mu         sync.Mutex
	properties dbusapi.HostProperties
}

func (h *fakeHost) Properties() dbusapi.HostProperties {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.properties
}

func (h *fakeHost) change(f func(*dbusapi.HostProperties)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.properties)
}

func (h *fakeHost) Statistics() map[string]uint64 { return map[string]uint64{"requests-received": 3} }

// rig is an ipmbd with one bus, bus4 at index 0, and another program on the message bus.
type rig struct {
	bus     *bustest.Bus
	server  *dbusapi.Server
	mux     *ipmi.Mux
	object  *dbusapi.BusObject
	fake    *fakeBus
	program *dbuswire.Conn
	heard   chan *dbus.Signal // the signals that the program receives from ipmbd
}

// bus4 is where the rig's bus is exported.
const bus4 = dbus.ObjectPath(xml.BasePath + "/bus4")

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigOn(t, bustest.Start(t))
}

// newRigOn is newRig on a message bus of the test's own.
func newRigOn(t testing.TB, on *bustest.Bus) *rig {
	t.Helper()
	r := &rig{bus: on, mux: new(ipmi.Mux), fake: newFakeBus("bus4", 0), heard: make(chan *dbus.Signal, 1000)}
	r.server = openServer(t, on, dbusapi.Config{Mux: r.mux})
	r.object = addBus(t, r.server, r.fake)
	if err := r.server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.program = dial(t, on, dbuswire.Config{Signal: func(s *dbus.Signal) {
		if s.Sender != dbuswire.BusName {
			r.heard <- s
		}
	}})
	return r
}

// dial connects to a test's bus.
func dial(t testing.TB, on *bustest.Bus, config dbuswire.Config) *dbuswire.Conn {
	t.Helper()
	config.Address = on.Address
	conn, err := dbuswire.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func openClient(t testing.TB, address string) *Client {
	t.Helper()
	c, err := Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// openServer opens a server that runs until the test ends.
func openServer(t testing.TB, on *bustest.Bus, config dbusapi.Config) *dbusapi.Server {
	t.Helper()
	config.Address = on.Address
	s, err := dbusapi.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	run(t, s)
	return s
}

func addBus(t testing.TB, s *dbusapi.Server, fake *fakeBus) *dbusapi.BusObject {
	t.Helper()
	o, err := s.NewBus(fake.properties.Name, fake.properties.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Export(fake.Bus); err != nil {
		t.Fatal(err)
	}
	return o
}

// run runs a server until the test ends.
func run(t testing.TB, s *dbusapi.Server) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, ErrDisconnected) {
			t.Errorf("Run = %v", err)
		}
	})
}

// successor starts the next ipmbd on a message bus.
func (r *rig) successor(t testing.TB, mux *ipmi.Mux) *dbusapi.Server {
	t.Helper()
	server := openServer(t, r.bus, dbusapi.Config{Mux: mux})
	if err := server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	return server
}

// addKCS exports the host interface ipmi-kcs3.
func (r *rig) addKCS(t testing.TB) *fakeHost {
	t.Helper()
	fake := &fakeHost{properties: dbusapi.HostProperties{
		Name: "ipmi-kcs3", Type: "kcs", Path: "/dev/ipmi-kcs3", Channel: 15, Handler: "host", State: Up,
	}}
	o, err := r.server.NewHost(t.Context(), "ipmi-kcs3")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Export(fake, nil); err != nil {
		t.Fatal(err)
	}
	return fake
}

// call calls a method of ipmbd as the other program.
func (r *rig) call(t testing.TB, path dbus.ObjectPath, iface, member string, args ...any) []any {
	t.Helper()
	got, err := r.program.Call(t.Context(), dbuswire.Method{Destination: xml.ServiceName, Path: path, Interface: iface, Member: member}, args...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// legacy calls org.openbmc.Ipmb.sendRequest.
func (r *rig) legacy(t testing.TB, channel, netFn, lun byte, cmd ipmi.Command, data ...byte) {
	t.Helper()
	r.call(t, xml.BasePath, xml.LegacyInterface, "sendRequest", channel, netFn, lun, byte(cmd), append([]byte{}, data...))
}

// roundTrip returns when the server has read all messages that the message bus had for it.
func (r *rig) roundTrip(t testing.TB) { r.call(t, "/", xml.PeerInterface, "Ping") }

// register registers a handler of the other program, which does not respond.
func register(t testing.TB, p *dbuswire.Conn, path dbus.ObjectPath, commands ...commandRow) {
	t.Helper()
	method := dbuswire.Method{Destination: xml.ServiceName, Path: xml.BasePath, Interface: xml.RouterInterface, Member: "RegisterHandler"}
	if _, err := p.Call(t.Context(), method, path, commands); err != nil {
		t.Fatal(err)
	}
}

// appCommand is a command of netFn 06h on all channels.
func appCommand(cmd byte) commandRow {
	return commandRows([]ipmi.Pattern{appPattern(ipmi.Command(cmd))})[0]
}

// fromME is a request of the Management Engine of host 3.
func fromME(data ...byte) *ipmi.Request {
	return &ipmi.Request{Interface: "bus4", Host: 3, Requester: 0x2C, NetFn: 6, LUN: 2, Command: 1, Data: data}
}

// numberedEvent is an event that its generator tells from others.
func numberedEvent(n uint16) ipmi.Event {
	return ipmi.Event{Interface: "bus4", Channel: 7, Generator: n, Message: [7]byte{4, 1, 0x30, 1, 0x57, 0x60, 0x5F}}
}

// happen makes events of these numbers happen.
func (r *rig) happen(numbers ...uint16) {
	for _, n := range numbers {
		r.server.PlatformEvent(numberedEvent(n))
	}
}

// errorName is the name of a peer's error.
func errorName(err error) string {
	peer, _ := errors.AsType[dbus.Error](err)
	return peer.Name
}

// served is how a request ended.
type served struct {
	res ipmi.Response
	err error
}

// serve makes a handler serve a request.
func serve(h ipmi.Handler, req *ipmi.Request) <-chan served {
	done := make(chan served, 1)
	h.ServeIPMI(req, ipmi.ReplyFunc(func(res ipmi.Response, err error) bool {
		res.Data = slices.Clone(res.Data)
		done <- served{res, err}
		return true
	}))
	return done
}

// answerOf makes a handler serve a request, and waits for the response.
func answerOf(h ipmi.Handler, req *ipmi.Request) (ipmi.Response, error) {
	got := <-serve(h, req)
	return got.res, got.err
}

// startHost starts a host IPMI daemon that returns the data of each request.
func startHost(t testing.TB, on *bustest.Bus) {
	t.Helper()
	conn := dial(t, on, dbuswire.Config{Call: func(from *dbuswire.Conn, m *dbuswire.Message) bool {
		args := m.Arguments()
		netFn, lun, cmd, data := args.Byte(), args.Byte(), args.Byte(), bytes.Clone(args.Bytes())
		to := from.ReplyTo(m)
		to.Destination = string(m.Sender)
		h := to.Header(xml.ExecuteOut)
		b := append(h.Begin(8+len(data)), netFn|1, lun, cmd, 0)
		to.Send(dbuswire.Finish(dbuswire.AppendBytes(b, data)), nil)
		return true
	}})
	if _, err := conn.RequestName(xml.HostDaemonName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
}
