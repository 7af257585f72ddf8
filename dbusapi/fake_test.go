package dbusapi

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/fakelink"
	"ipmbd/internal/testmain"

	"ipmbd/bus"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// fakeBus is a bus whose responder does as the command says.
type fakeBus struct {
	*bus.Bus
	mu         sync.Mutex
	properties bus.Properties
	requests   []ipmb.Request
	broadcasts []ipmb.Request
	told       chan struct{} // of each broadcast and new address

	began chan struct{}           // of each cmdBlock
	ended chan error              // of each cmdBlock, why
	errs  map[ipmi.Command]error  // commands that fail
	data  map[ipmi.Command][]byte // and those that are answered

	deviceErr error  // of methods that change the device
	binding   func() // called by Bind; nil for nothing
}

// cmdBlock is never answered; it ends with its context.
const cmdBlock ipmi.Command = 0xBB

// deviceID is the Get Device ID answer of a Management Engine.
var deviceID = []byte{0x50, 1, 4, 0, 2, 0x21, 0x57, 1, 0, 0x0B, 0x0B}

func newFakeBus(name string, index uint8) *fakeBus { return newLimitedFakeBus(name, index, 0) }

// newLimitedFakeBus makes a bus with a number of places; one program may have half of them.
func newLimitedFakeBus(name string, index uint8, limit int) *fakeBus {
	b := &fakeBus{
		properties: bus.Properties{
			Name: name, Device: "/dev/ipmb-4", Transport: "ipmb-dev", Channel: 0, Index: index,
			OwnAddress: 0x20, RemoteAddress: 0x2C, State: bus.Up, Handler: "host",
		},
		told:  make(chan struct{}, 100),
		began: make(chan struct{}, 1000),
		ended: make(chan error, 1000),
		errs:  make(map[ipmi.Command]error),
		data:  map[ipmi.Command][]byte{1: deviceID},
	}
	config := bus.Config{Name: name, Index: index, MaxCalls: limit, RemoteAddress: 0x2C}
	b.Bus = bus.New(config, &fakeLink{&fakelink.Link{Answer: b.exchange}, b})
	b.Begin()
	return b
}

// fakeLink is the link of a fakeBus.
type fakeLink struct {
	*fakelink.Link
	fake *fakeBus
}

// Send notes the requests in their order.
func (l *fakeLink) Send(c *bus.Call, req *ipmb.Request) error {
	r := *req
	r.Data = bytes.Clone(req.Data)
	l.fake.mu.Lock()
	l.fake.requests = append(l.fake.requests, r)
	l.fake.mu.Unlock()
	return l.Link.Send(c, req)
}

// exchange answers a request.
func (b *fakeBus) exchange(cancelled <-chan struct{}, req ipmb.Request) (ipmi.Response, error) {
	b.mu.Lock()
	err, data := b.errs[req.Command], b.data[req.Command]
	b.mu.Unlock()
	switch {
	case err != nil:
		return ipmi.Response{}, err
	case req.Command == cmdBlock:
		b.began <- struct{}{}
		<-cancelled
		b.ended <- context.Canceled
		return ipmi.Response{}, context.Canceled
	case data != nil:
		return ipmi.Response{Data: data}, nil
	}
	return ipmi.Response{Code: ipmi.CodeInvalidCommand}, nil
}

func (l *fakeLink) StartBroadcast(done func(error), netFn ipmi.NetFn, lun ipmi.LUN, cmd ipmi.Command, data []byte) error {
	b := l.fake
	b.mu.Lock()
	b.broadcasts = append(b.broadcasts, ipmb.Request{NetFn: netFn, RequesterLUN: lun, Command: cmd, Data: bytes.Clone(data)})
	err := b.errs[cmd]
	b.mu.Unlock()
	b.told <- struct{}{}
	done(err)
	return nil
}

func (l *fakeLink) Drain(context.Context) {}

func (l *fakeLink) Describe(p *bus.Properties) {
	l.fake.mu.Lock()
	defer l.fake.mu.Unlock()
	*p = l.fake.properties
}

func (b *fakeBus) change(f func(*bus.Properties)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.properties)
}

func (l *fakeLink) RetryPolicy() ipmb.RetryPolicy { return l.fake.Properties().Policy }

func (l *fakeLink) SetRetryPolicy(p ipmb.RetryPolicy) {
	l.fake.change(func(now *bus.Properties) { now.Policy = p })
}

func (l *fakeLink) SetOwnAddress(_ context.Context, a ipmi.Address) error {
	if !a.IsSlave() {
		return ipmb.ErrInvalid
	}
	if err := l.fake.set(func(now *bus.Properties) { now.OwnAddress = a }); err != nil {
		return err
	}
	l.fake.told <- struct{}{}
	return nil
}

func (l *fakeLink) Bind(context.Context) error {
	if l.fake.binding != nil {
		l.fake.binding()
	}
	return l.fake.bound(true)
}

func (l *fakeLink) Unbind(context.Context) error { return l.fake.bound(false) }

// bound is the end of Bind and Unbind.
func (b *fakeBus) bound(up bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deviceErr != nil {
		return b.deviceErr
	}
	b.properties.State = bus.Down
	if up {
		b.properties.State = bus.Up
	}
	return nil
}

func (l *fakeLink) SetIgnoreNACK(on bool) error {
	return l.fake.set(func(p *bus.Properties) { p.IgnoreNACK = on })
}

func (l *fakeLink) SetVerifyChecksum(on bool) error {
	return l.fake.set(func(p *bus.Properties) { p.VerifyChecksum = on })
}

func (b *fakeBus) set(change func(*bus.Properties)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deviceErr == nil {
		change(&b.properties)
	}
	return b.deviceErr
}

func (l *fakeLink) Statistics() map[string]uint64 { return map[string]uint64{"calls-answered": 7} }

// failDevice makes changes of the device end with an error.
func (b *fakeBus) failDevice(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deviceErr = err
}

// fail makes commands end with errors.
func (b *fakeBus) fail(errs map[ipmi.Command]error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs = errs
}

// answer makes a command be answered with data.
func (b *fakeBus) answer(cmd ipmi.Command, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data[cmd] = data
}

func (b *fakeBus) lastRequest() ipmb.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests[len(b.requests)-1]
}

// rig is a server with one bus, bus4 at index 0, and a client.
type rig struct {
	bus    *bustest.Bus
	server *Server
	object *BusObject
	fake   *fakeBus
	client *dbuswire.Conn
	heard  chan *dbus.Signal // the signals that the client receives
}

// bus4 is where the rig's bus is exported.
const bus4 = BasePath + "/bus4"

func newRig(t *testing.T, config Config) *rig {
	t.Helper()
	r := newStoppedRig(t, config)
	run(t, r.server)
	return r
}

// newStoppedRig is a rig whose server does not run yet.
func newStoppedRig(t *testing.T, config Config) *rig {
	t.Helper()
	return newStoppedRigOf(t, config, newFakeBus("bus4", 0))
}

func newStoppedRigOf(t *testing.T, config Config, fake *fakeBus) *rig {
	t.Helper()
	r := &rig{bus: bustest.Start(t), fake: fake, heard: make(chan *dbus.Signal, 10000)}
	r.server = openServer(t, r.bus, config)
	r.object = addBus(t, r.server, r.fake)
	if err := r.server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.client = dial(t, r.bus, dbuswire.Config{Signal: func(s *dbus.Signal) {
		if s.Sender == r.server.conn.Name() {
			r.heard <- s
		}
	}})
	return r
}

// stall keeps what the server sends in its queue, until flush is called or the test ends.
func (r *rig) stall(t *testing.T) (flush func()) {
	t.Helper()
	for !r.server.conn.Hold() {
		runtime.Gosched() // It writes the messages that the test has caused.
	}
	flush = sync.OnceFunc(r.server.conn.Flush)
	t.Cleanup(flush)
	return flush
}

func openServer(t *testing.T, bus *bustest.Bus, config Config) *Server {
	t.Helper()
	config.Address = bus.Address
	if config.programOf == nil {
		config.programOf = ownProgram
	}
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ownProgram takes each connection for a program of its own, of root if it is of our user.
func ownProgram(name string, found bus.Process) bus.Process {
	number, _ := strconv.Atoi(strings.TrimPrefix(name, ":1."))
	own := bus.Process{PID: int32(number + 1), UID: found.UID}
	if int(found.UID) == os.Geteuid() {
		own.UID = 0
	}
	return own
}

// realProgram takes each connection for its real program.
func realProgram(_ string, found bus.Process) bus.Process { return found }

func addBus(t *testing.T, s *Server, fake *fakeBus) *BusObject {
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
func run(t *testing.T, s *Server) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// listen makes the client receive the server's signals from now on. Signals sent before the answer
// to a call have passed the message bus when the answer comes.
func (r *rig) listen(t *testing.T) {
	t.Helper()
	if _, err := r.call(t, "/", xml.PeerInterface, "Ping"); err != nil {
		t.Fatal(err)
	}
	if err := r.client.AddMatch(t.Context(), "type='signal',sender='"+xml.ServiceName+"'"); err != nil {
		t.Fatal(err)
	}
}

// call calls a method as the client.
func (r *rig) call(t *testing.T, path dbus.ObjectPath, iface, member string, args ...any) ([]any, error) {
	t.Helper()
	return r.client.Call(t.Context(), dbuswire.Method{Destination: xml.ServiceName, Path: path, Interface: iface, Member: member}, args...)
}

// legacy calls org.openbmc.Ipmb.sendRequest and returns the struct's members.
func (r *rig) legacy(t *testing.T, channel, netFn, lun byte, cmd ipmi.Command, data ...byte) []any {
	t.Helper()
	got, err := r.call(t, BasePath, xml.LegacyInterface, "sendRequest", channel, netFn, lun, byte(cmd), append([]byte{}, data...))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("sendRequest has %d results", len(got))
	}
	return got[0].([]any)
}

// errorName is the name of a peer's error.
func errorName(err error) string {
	peer, ok := err.(dbus.Error)
	if !ok {
		return "not a D-Bus error"
	}
	return peer.Name
}

func TestMain(m *testing.M) { testmain.Run(m) }

// dial connects to a test's bus.
func dial(t testing.TB, bus *bustest.Bus, config dbuswire.Config) *dbuswire.Conn {
	t.Helper()
	config.Address = bus.Address
	conn, err := dbuswire.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
