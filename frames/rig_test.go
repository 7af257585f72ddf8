package frames

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c/sim"
	"ipmbd/internal/await"
	"ipmbd/internal/fakelink"
	"ipmbd/internal/socket"
	"ipmbd/internal/testmain"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestMain(m *testing.M) { testmain.Run(m) }

// timeLimit is how long a test waits for what must happen.
const timeLimit = 20 * time.Second

// The nodes on the buses of the tests.
const (
	own    ipmi.Address = 0x20
	echoes ipmi.Address = 0x2C // answers with the data of the request
	quiet  ipmi.Address = 0x2E // takes requests and does not answer
	absent ipmi.Address = 0x30
	liar   ipmi.Address = 0x32 // see lie
	other  ipmi.Address = 0x34 // gets no requests
	mine   ipmi.Address = 0x81 // the client's own address; on no bus
)

// testBus is a bus in the process, and an engine.
type testBus struct {
	*bus.Bus
	wire   *sim.Bus
	engine *ipmb.Engine
}

// count is a counter of the engine.
func (b *testBus) count(name string) uint64 { return b.engine.Statistics()[name] }

// hungUpOn has the arguments of Config.HungUp.
type hungUpOn struct {
	who bus.Process
	why error
}

// rig is a server with buses.
type rig struct {
	*Server
	path   string
	hungUp chan hungUpOn
	buses  sync.Map // by index
	stop   func()
}

// newRig makes a server without buses, unless config has some, which ends with its test.
func newRig(t testing.TB, config Config) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "frames")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{path: filepath.Join(dir, "socket"), hungUp: make(chan hungUpOn, 10)}
	if config.Bus == nil {
		config.Bus = r.bus
	}
	config.HungUp = func(who bus.Process, why error) {
		select {
		case r.hungUp <- hungUpOn{who, why}:
		default: // No test needs that many.
		}
	}
	r.Server = NewServer(config)
	listener, err := socket.Listen(t.Context(), network, r.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx, listener.(*net.UnixListener)) })
	r.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(r.stop)
	return r
}

// bus is the Config.Bus of a rig.
func (r *rig) bus(index uint8) *bus.Bus {
	if found, ok := r.buses.Load(index); ok {
		return found.(*testBus).Bus
	}
	return nil
}

// addBus adds a bus whose requests are sent once, and time out after 1 s.
func (r *rig) addBus(t testing.TB, index uint8) *testBus {
	t.Helper()
	return r.addLimitedBus(t, index, 1<<20)
}

// addLimitedBus adds a bus with a number of places.
func (r *rig) addLimitedBus(t testing.TB, index uint8, limit int) *testBus {
	t.Helper()
	bus := newTestBus(t, limit)
	transport, err := bus.wire.Attach(uint8(own))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = bus.engine.Run(ctx, transport) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	eventually(t, "the engine to run", func() bool {
		_, err := bus.engine.Do(ctx, ipmb.Request{Responder: echoes, NoWait: true})
		return err == nil
	})
	r.buses.Store(index, bus)
	return bus
}

// newTestBus makes a bus that does not run, and is known to be down.
func newTestBus(t testing.TB, limit int) *testBus {
	t.Helper()
	engine := ipmb.New(ipmb.Config{Address: own, RetryPolicy: ipmb.RetryPolicy{Tries: 1, Timeout: time.Second}})
	bus := &testBus{bus.New(bus.Config{MaxCalls: limit}, fakelink.Engine(engine)), sim.NewBus(), engine}
	bus.Begin()
	for address, respond := range map[ipmi.Address]func(request ipmb.Frame, reply func(ipmb.Frame)){
		echoes: echo,
		quiet:  func(ipmb.Frame, func(ipmb.Frame)) {},
		liar:   lie(),
	} {
		err := bus.wire.Respond(uint8(address), func(b []byte, reply func([]byte)) {
			if f, err := ipmb.Decode(b); err == nil && !f.NetFn.IsResponse() {
				respond(f, func(answer ipmb.Frame) { reply(answer.Append(nil)) })
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return bus
}

// answerTo is the response to a request on the bus, with its data.
func answerTo(f ipmb.Frame) ipmb.Frame {
	return f.Response(ipmi.CodeOK, f.Data)
}

func echo(f ipmb.Frame, reply func(ipmb.Frame)) { reply(answerTo(f)) }

// lie makes a responder that sends a false answer beside each answer, and answers many times twice
// or too late.
func lie() func(f ipmb.Frame, reply func(ipmb.Frame)) {
	var n atomic.Uint32
	return func(f ipmb.Frame, reply func(ipmb.Frame)) {
		answer := answerTo(f)
		foreign, wrong := answer, answer
		foreign.Source, wrong.Command = other, answer.Command+1
		foreign.Data, wrong.Data = []byte{0xBA, 0xD0}, []byte{0xBA, 0xD1}
		reply(foreign)
		reply(wrong)
		switch n.Add(1) % 8 {
		case 0:
			answer.Data = bytes.Clone(answer.Data)
			time.AfterFunc(2*ipmb.MinTimeout, func() { reply(answer) })
		case 1, 2, 3:
			reply(answer)
			reply(answer)
		default:
			reply(answer)
		}
	}
}

// raw is a client that writes and reads packets.
type raw struct{ *net.UnixConn }

func (r *rig) connect(t testing.TB) raw {
	t.Helper()
	conn, err := net.DialUnix(network, nil, &net.UnixAddr{Name: r.path, Net: network})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(timeLimit))
	return raw{conn}
}

func (c raw) send(t testing.TB, packet []byte) {
	t.Helper()
	if _, err := c.Write(packet); err != nil {
		t.Fatal(err)
	}
}

// receive is the next packet; nil, that the server has hung up.
func (c raw) receive(t testing.TB) []byte {
	t.Helper()
	b, err := c.next()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("nothing comes")
	}
	return b
}

// next is the next packet; nil when none comes.
func (c raw) next() ([]byte, error) {
	b := make([]byte, 2*MaxFrame)
	n, err := c.Read(b)
	if err != nil || n == 0 {
		return nil, err
	}
	return b[:n], nil
}

// request is a request of the client's to a responder, with data.
func request(to ipmi.Address, sequence uint8, data ...byte) ipmb.Frame {
	return ipmb.Frame{
		Destination: to, NetFn: 0x30, DestinationLUN: 1, Source: mine, Sequence: sequence, SourceLUN: 2, Command: 0x41, Data: data,
	}
}

// packet is a request in a packet.
func packet(index uint8, f ipmb.Frame) []byte { return f.Append([]byte{index}) }

// answerPacket is the packet with the response to a request.
func answerPacket(index uint8, f ipmb.Frame) []byte { return answerTo(f).Append([]byte{index, 0}) }

// failurePacket is the packet that says that a request failed.
func failurePacket(index uint8, status ipmb.Status, f ipmb.Frame) []byte {
	return append([]byte{index, byte(status)}, f.Append(nil)[:headBytes]...)
}

// numbered is data that no other request has.
func numbered(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// eventually waits for something to become true.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	await.Until(t, timeLimit, what, happened)
}

// awaited is the next value of a channel.
func awaited[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	return await.Receive(t, timeLimit, what, from)
}
