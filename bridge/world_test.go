package bridge

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/internal/fakelink"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The participants of the stories: a host on a system interface, and nodes
// on two buses, the second of which the bridge does not serve.
const (
	own    ipmi.Address = 0x20
	me     ipmi.Address = 0x2C // answers at once
	silent ipmi.Address = 0x42 // takes requests and never answers
	absent ipmi.Address = 0x60 // no node
	node   ipmi.Address = 0x30 // asks us
)

const ms = time.Millisecond

// deviceID is me's answer to every request.
var deviceID = octets("50 01 04 00 02 21 57 01 00 0B 0B")

// world is a bridge with a host and two buses, in virtual time.
type world struct {
	t         *testing.T
	bridge    *Bridge
	log       *fakeLog
	ahead     time.Duration // the log's clock, of ours
	published []ipmi.Event
	attention []ipmi.Attention // the attention that the host saw, in order

	host       *Interface
	bus0, bus1 *segment
	end        func() // ends the bridge's Run
}

// segment is a bus with an engine of ours on it.
type segment struct {
	*Interface
	wire    *sim.Bus
	engine  *ipmb.Engine
	station i2c.Transport // at the address node

	mu    sync.Mutex
	heard [][]byte // by me and silent
}

// story runs tell as a test of its own with a new world.
func story(t *testing.T, name string, tell func(t *testing.T, w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, log: &fakeLog{}}
			events := ipmi.NewBlocking(nil)
			w.bridge = New(Config{Blocking: events, Log: w.log, Now: func() time.Time { return time.Now().Add(w.ahead) }, Publish: func(e ipmi.Event) { w.published = append(w.published, e) }})
			ctx, stop := context.WithCancel(t.Context())
			var loops sync.WaitGroup
			defer loops.Wait()
			defer stop()
			w.host = w.bridge.NewInterface(InterfaceConfig{
				Name: "host0", Channel: ipmi.ChannelSystemInterface, Medium: MediumSystemInterface, Protocol: ProtocolKCS,
				Bridged: true, Attention: func(a ipmi.Attention) { w.attention = append(w.attention, a) },
			})
			w.bridge.Add(w.host, nil)
			w.bus0 = w.segment("bus0", 0, true)
			w.bus1 = w.segment("bus1", 1, false)
			for _, s := range []*segment{w.bus0, w.bus1} {
				transport, err := s.wire.Attach(uint8(own))
				if err != nil {
					t.Fatal(err)
				}
				loops.Go(func() { _ = s.engine.Run(ctx, transport) })
			}
			running, end := context.WithCancel(ctx)
			ended := make(chan struct{})
			go func() { defer close(ended); w.bridge.Run(running) }()
			w.end = func() { end(); <-ended; events.Close() }
			defer w.end()
			synctest.Wait()
			tell(t, w)
		})
	})
}

func (w *world) segment(name string, channel ipmi.Channel, bridged bool) *segment {
	s := &segment{wire: sim.NewBus()}
	s.Interface = w.bridge.NewInterface(InterfaceConfig{
		Name: name, Channel: channel, Medium: MediumIPMB, Protocol: ProtocolIPMB, Bridged: bridged,
	})
	s.engine = ipmb.New(ipmb.Config{
		Interface: name, Channel: channel,
		Handler: s.Handler(nobody), BridgeTimeout: s.BridgeTimeout, UnsolicitedResponse: s.UnsolicitedResponse,
	})
	w.bridge.Add(s.Interface, busOf(s.engine))
	s.respond(w.t, me, func(request ipmb.Frame) []ipmb.Frame { return []ipmb.Frame{answerTo(request, deviceID...)} })
	s.respond(w.t, silent, func(ipmb.Frame) []ipmb.Frame { return nil })
	var err error
	if s.station, err = s.wire.Attach(uint8(node)); err != nil {
		w.t.Fatal(err)
	}
	return s
}

var nobody = ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
	return ipmi.Response{}, ipmi.ErrNoHandler
})

// respond makes a function the responder at an address. It receives general
// calls, too.
func (s *segment) respond(t *testing.T, at ipmi.Address, serve func(ipmb.Frame) []ipmb.Frame) {
	t.Helper()
	err := s.wire.Respond(uint8(at), func(b []byte, reply func([]byte)) {
		s.mu.Lock()
		s.heard = append(s.heard, slices.Clone(b))
		s.mu.Unlock()
		if b[0] == generalCallAddress {
			b = b[1:]
		}
		f, err := ipmb.Decode(b)
		if err != nil || f.NetFn.IsResponse() || f.Destination != at {
			return
		}
		for _, answer := range serve(f) {
			reply(answer.Append(nil))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// requests are the requests that the responders of the segment have received so far.
func (s *segment) requests() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heard)
}

// says puts a frame on the bus as the node.
func (s *segment) says(t *testing.T, f ipmb.Frame) {
	t.Helper()
	if err := s.station.WriteFrame(f.Append(nil)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// hears is the next frame to the node, within the time of the story.
func (s *segment) hears(t *testing.T) ipmb.Frame {
	t.Helper()
	var batch i2c.Batch
	if err := s.station.ReadFrames(&batch); err != nil {
		t.Fatal(err)
	}
	frames := batch.Frames()
	if len(frames) != 1 {
		t.Fatalf("the node heard % X", frames)
	}
	f, err := ipmb.Decode(slices.Clone(frames[0]))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// asks is a request of the node and the answer to it.
func (s *segment) asks(t *testing.T, sequence uint8, n ipmi.NetFn, cmd ipmi.Command, data ...byte) ipmb.Frame {
	t.Helper()
	s.says(t, request(own, 0, node, sequence, n, cmd, data...))
	return s.hears(t)
}

// asks is a request of the host to LUN 0 and the answer to it, completion code first.
func (w *world) asks(n ipmi.NetFn, cmd ipmi.Command, data ...byte) []byte {
	w.t.Helper()
	response, err := w.try(n, cmd, data...)
	if err != nil {
		response.Code = ipmi.CodeOf(err)
	}
	synctest.Wait()
	return append([]byte{byte(response.Code)}, response.Data...)
}

// try is asks with the handler's own error.
func (w *world) try(n ipmi.NetFn, cmd ipmi.Command, data ...byte) (ipmi.Response, error) {
	req := &ipmi.Request{Interface: "host0", Channel: ipmi.ChannelSystemInterface, NetFn: n, Command: cmd, Data: data}
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	return ipmi.Do(ctx, w.host.Handler(nobody), req)
}

// sends is a Send Message of the host's and its answer.
func (w *world) sends(head byte, frame []byte) []byte {
	w.t.Helper()
	return w.asks(ipmi.NetFnApp, commandSendMessage, append([]byte{head}, frame...)...)
}

// Other commands of the host's.
func (w *world) flags() []byte   { return w.asks(ipmi.NetFnApp, 0x31) }
func (w *world) fetches() []byte { return w.asks(ipmi.NetFnApp, 0x33) }

func request(to ipmi.Address, lun ipmi.LUN, from ipmi.Address, sequence uint8, n ipmi.NetFn, cmd ipmi.Command, data ...byte) ipmb.Frame {
	return ipmb.Frame{Destination: to, DestinationLUN: lun, Source: from, Sequence: sequence, NetFn: n, Command: cmd, Data: data}
}

// bridged is a request that host software sends on: its answer goes to LUN 2.
func bridged(to ipmi.Address, sequence uint8, n ipmi.NetFn, cmd ipmi.Command, data ...byte) []byte {
	f := request(to, 0, own, sequence, n, cmd, data...)
	f.SourceLUN = 2
	return f.Append(nil)
}

// getDeviceID is such a request to an address.
func getDeviceID(to ipmi.Address, sequence uint8) []byte {
	return bridged(to, sequence, ipmi.NetFnApp, ipmi.CommandGetDeviceID)
}

func answerTo(request ipmb.Frame, data ...byte) ipmb.Frame {
	return request.Response(ipmi.CodeOK, data)
}

// octets reads bytes as the documents write them.
func octets(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// is compares bytes.
func is(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if string(got) != string(octets(want)) {
		t.Errorf("%s: % X, want %s", what, got, want)
	}
}

// fakeLog is a log that may be full.
type fakeLog struct {
	mu     sync.Mutex
	events []ipmi.Event
	err    error
	slow   time.Duration
	onlyOf string // the interface whose events are slow; empty for all
}

func (l *fakeLog) Add(ctx context.Context, e ipmi.Event) error {
	slow := l.slow
	if l.onlyOf != "" && l.onlyOf != e.Interface {
		slow = 0
	}
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.events = append(l.events, e)
	return nil
}

// busOf is a bus on an engine.
func busOf(e *ipmb.Engine) *bus.Bus {
	b := bus.New(bus.Config{}, fakelink.Engine(e))
	b.Begin()
	return b
}
