package inside

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipmbd/dbusapi/client"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The clock that the guest has at first, and jumps of it. A clock of 32 bits ends in
// 2038.
var (
	clockBegin = time.Date(2007, 7, 1, 0, 0, 0, 0, time.UTC)
	clockJumps = []struct {
		name string
		to   time.Time
		log  string // how ipmbctl shows an event of then
	}{
		{"30 years ahead", time.Date(2037, 7, 1, 0, 0, 0, 0, time.UTC), " 2037-07-01 00:"},
		{"back to 1970", time.Date(1970, 1, 1, 1, 0, 0, 0, time.UTC), " 1h"},
	}
)

// Two buses of the daemon: on one every unfinished exchange lasts a minute, on the other hardly
// any time.
const (
	patientBus, hastyBus = "patient", "hasty"
	hastyMS              = 1000
)

// Commands of the handler.
const (
	heldCommand    ipmi.Command = 0x51 // answered when the test says so
	countedCommand ipmi.Command = 0x52
)

// TestClockJumpsByYears: calls in progress go on as if nothing had happened, in
// both directions. Only the event log follows the clock.
func TestClockJumpsByYears(t *testing.T) {
	setClock(t, clockBegin)
	t.Cleanup(func() { setClock(t, clockBegin) })
	w := newClockWorld(t)
	for _, jump := range clockJumps {
		t.Run(jump.name, func(t *testing.T) {
			answered := w.calls(t, patientBus)
			question := w.node.isAsked(t)
			silent := w.calls(t, hastyBus)
			w.node.isAsked(t)
			held := w.node.asks(t, bmcAddress, echo, heldCommand, 1, 2, 3)
			<-w.began
			given := w.node.asks(t, secondAddress, echo, heldCommand)
			<-w.began
			w.startsWatchdog(t, bmcAddress, longWatchdog)
			w.startsWatchdog(t, secondAddress, 1)

			setClock(t, jump.to)

			w.node.answers(t, question, 0xCA)
			if o := ends(t, answered); o.err != nil || !bytes.Equal(o.answer.Data, []byte{0xCA}) {
				t.Errorf("the call that was answered: % X, %v", o.answer.Data, o.err)
			}
			if o := ends(t, silent); !errors.Is(o.err, ipmb.ErrTimeout) {
				t.Errorf("the call that was not: %v", o.err)
			}
			w.node.hears(t, given, ipmi.CodeTimeout)
			w.release <- struct{}{}
			w.release <- struct{}{}
			w.node.hears(t, held, ipmi.CodeOK, 1, 2, 3)
			w.repeats(t, held)
			w.forgets(t)
			w.watches(t)
			w.callsOn(t)
			w.logs(t, jump.log)
			if out := w.ipmbctl(t, "list"); strings.Count(out, " Up") != 2 {
				t.Errorf("ipmbctl list printed:\n%s", out)
			}
		})
	}
	if got := w.statistics(t); got["calls-started"] != got["calls-answered"]+got["calls-timeout"] || got["calls-timeout"] != uint64(len(clockJumps)) {
		t.Errorf("calls: %d started, %d answered, %d timed out", got["calls-started"], got["calls-answered"], got["calls-timeout"])
	}
	w.node.hearsNoMore(t)
}

// setClock sets the guest's clock.
func setClock(t *testing.T, to time.Time) {
	t.Helper()
	now := unix.NsecToTimespec(to.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
}

// clockWorld is a daemon on two buses, a node on their wire, and a handler.
type clockWorld struct {
	*daemon
	node *clockNode

	began   chan struct{} // a held command
	release chan struct{} // one of them
	mu      sync.Mutex
	served  map[ipmi.Command]int
}

func newClockWorld(t *testing.T) *clockWorld {
	t.Helper()
	l := newLoop(t)
	bus := func(name, kind string, port int, address ipmi.Address, handlerMS, timeoutMS, windowMS int) channel {
		return channel{"name": name, "type": kind, "slave-path": ipmbDev.bind(t, l, port, address), "bmc-addr": address, "remote-addr": otherAddress,
			"handler": "bmc", "tries": 1, "timeout-ms": timeoutMS, "handler-timeout-ms": handlerMS, "duplicate-window-ms": windowMS}
	}
	const minute = 60_000
	w := &clockWorld{
		daemon: start(t,
			bus(patientBus, "ipmb", 0, bmcAddress, minute, minute, minute),
			bus(hastyBus, "me", 2, secondAddress, hastyMS, hastyMS, 1)),
		node:  newClockNode(t, ipmbDev.bind(t, l, 1, otherAddress)),
		began: make(chan struct{}, 2), release: make(chan struct{}, 2), served: make(map[ipmi.Command]int),
	}
	w.handles(t)
	return w
}

// handles registers the handler until the test ends.
func (w *clockWorld) handles(t *testing.T) {
	t.Helper()
	var patterns []ipmi.Pattern
	for _, c := range []ipmi.Command{heldCommand, countedCommand} {
		patterns = append(patterns, ipmi.Pattern{Channels: ipmi.AllChannels, NetFn: echo, Command: c, Group: ipmi.AnyGroup})
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	handler := ipmi.HandlerFunc(func(req *ipmi.Request, reply ipmi.Reply) { w.serve(ctx, req, reply) })
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := w.Serve(ctx, patterns, handler, func(client.Notice) {}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); serving.Wait() })
	eventually(t, func() string {
		if w.node.of(t, w.node.asks(t, secondAddress, echo, countedCommand)).Code != ipmi.CodeOK {
			return "a handler"
		}
		return ""
	})
}

func (w *clockWorld) serve(ctx context.Context, req *ipmi.Request, reply ipmi.Reply) {
	w.mu.Lock()
	w.served[req.Command]++
	w.mu.Unlock()
	answer := func() { reply.Answer(ipmi.Response{Data: req.Data}, nil) }
	if req.Command != heldCommand {
		answer()
		return
	}
	w.began <- struct{}{}
	go func() {
		select {
		case <-w.release:
		case <-ctx.Done(): // of a test that has failed
		}
		answer()
	}()
}

// count is how often the handler was asked.
func (w *clockWorld) count(c ipmi.Command) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.served[c]
}

// clockOutcome is how a call ended.
type clockOutcome struct {
	answer ipmi.Response
	err    error
}

// calls begins a call to the node.
func (w *clockWorld) calls(t *testing.T, bus string, data ...byte) <-chan clockOutcome {
	ended := make(chan clockOutcome, 1)
	go func() {
		answer, err := w.Send(t.Context(), bus, ipmb.Request{NetFn: echo, Command: 0x01, Data: data})
		ended <- clockOutcome{answer, err}
	}()
	return ended
}

// ends is how a call ends that has to.
func ends(t *testing.T, call <-chan clockOutcome) clockOutcome {
	t.Helper()
	select {
	case o := <-call:
		return o
	case <-time.After(timeLimit):
		t.Fatal("a call does not end")
		panic("unreachable")
	}
}

// callsOn checks that more calls than there are numbers have their answers.
func (w *clockWorld) callsOn(t *testing.T) {
	t.Helper()
	for i := range byte(ipmb.SequenceNumbers + 6) {
		ended := w.calls(t, patientBus, i)
		question := w.node.isAsked(t)
		w.node.answers(t, question, question.Data...)
		if o := ends(t, ended); o.err != nil || !bytes.Equal(o.answer.Data, []byte{i}) {
			t.Errorf("call %d: % X, %v", i, o.answer.Data, o.err)
		}
	}
}

// repeats checks that a repeated request gets its response again, from the one that has sent it.
func (w *clockWorld) repeats(t *testing.T, request ipmb.Frame) {
	t.Helper()
	before := w.count(request.Command)
	w.node.settles(t, bmcAddress)
	w.node.writes(t, request)
	w.node.hears(t, request, ipmi.CodeOK, request.Data...)
	if more := w.count(request.Command) - before; more > 0 {
		t.Errorf("the handler was asked %d times more", more)
	}
}

// forgets checks that a request that looks like an earlier one counts as a new one when the
// earlier one has expired.
func (w *clockWorld) forgets(t *testing.T) {
	t.Helper()
	request := w.node.asks(t, secondAddress, echo, countedCommand)
	w.node.hears(t, request, ipmi.CodeOK)
	before := w.count(countedCommand)
	eventually(t, func() string {
		w.node.settles(t, secondAddress)
		w.node.writes(t, request)
		w.node.hears(t, request, ipmi.CodeOK)
		if w.count(countedCommand) == before {
			return "the handler is not asked again"
		}
		return ""
	})
}

// longWatchdog is a countdown that no test sees the end of, in seconds.
const longWatchdog = 6000

// Commands of the watchdog (IPMI 2.0, section 27).
const (
	resetWatchdog ipmi.Command = 0x22
	setWatchdog   ipmi.Command = 0x24
	getWatchdog   ipmi.Command = 0x25
)

// startsWatchdog starts the watchdog of a bus, for OEM use without an action.
func (w *clockWorld) startsWatchdog(t *testing.T, at ipmi.Address, seconds uint16) {
	t.Helper()
	const oem, expiredFlags = 5, 0x3E
	data := binary.LittleEndian.AppendUint16([]byte{oem, 0, 0, expiredFlags}, 10*seconds)
	w.node.hears(t, w.node.asks(t, at, ipmi.NetFnApp, setWatchdog, data...), ipmi.CodeOK)
	w.node.hears(t, w.node.asks(t, at, ipmi.NetFnApp, resetWatchdog), ipmi.CodeOK)
}

// watches checks that the long countdown goes on and that the short one expires.
func (w *clockWorld) watches(t *testing.T) {
	t.Helper()
	watchdog := func(at ipmi.Address) (running bool, expired byte, left time.Duration) {
		d := w.node.of(t, w.node.asks(t, at, ipmi.NetFnApp, getWatchdog)).Data
		if len(d) != 8 {
			t.Fatalf("Get Watchdog Timer: % X", d)
		}
		return d[0]&0x40 != 0, d[3], time.Duration(binary.LittleEndian.Uint16(d[6:])) * 100 * time.Millisecond
	}
	if running, expired, left := watchdog(bmcAddress); !running || expired != 0 || left < longWatchdog*time.Second/2 {
		t.Errorf("the watchdog: running %v, expired %02X, %v left", running, expired, left)
	}
	eventually(t, func() string {
		if running, expired, left := watchdog(secondAddress); running || expired == 0 {
			return fmt.Sprintf("the watchdog does not expire: %v left", left)
		}
		return ""
	})
}

// logs checks the time of a new event in the log.
func (w *clockWorld) logs(t *testing.T, at string) {
	t.Helper()
	w.node.hears(t, w.node.asks(t, bmcAddress, ipmi.NetFnSensor, ipmi.CommandPlatformEvent, 0x04, 0x01, 0x31, 0x01, 0x59, 0x60, 0x5F), ipmi.CodeOK)
	lines := strings.Split(strings.TrimSpace(w.ipmbctl(t, "sel", "list")), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, at) || !strings.Contains(last, "temperature 31h") {
		t.Errorf("the last event is %q, want one of %q", last, at)
	}
}

// clockNode is a controller on the wire, by hand.
type clockNode struct {
	link     i2c.Transport
	frames   chan ipmb.Frame
	heard    []ipmb.Frame // of these, not asked for yet
	sequence uint8
}

func newClockNode(t *testing.T, path string) *clockNode {
	t.Helper()
	link, err := ipmbDev.open(path)
	if err != nil {
		t.Fatal(err)
	}
	n := &clockNode{link: link, frames: make(chan ipmb.Frame, 64)}
	var reading sync.WaitGroup
	reading.Go(func() {
		var batch i2c.Batch
		for link.ReadFrames(&batch) == nil {
			for _, b := range batch.Frames() {
				if f, err := ipmb.Decode(bytes.Clone(b)); err != nil {
					t.Errorf("% X: %v", b, err)
				} else {
					n.frames <- f
				}
			}
		}
	})
	t.Cleanup(func() { link.Close(); reading.Wait() })
	return n
}

// next is the next frame that is wanted; those before it are kept.
func (n *clockNode) next(t *testing.T, wanted func(ipmb.Frame) bool) ipmb.Frame {
	t.Helper()
	end := time.After(timeLimit)
	for {
		if i := slices.IndexFunc(n.heard, wanted); i >= 0 {
			f := n.heard[i]
			n.heard = slices.Delete(n.heard, i, i+1)
			return f
		}
		select {
		case f := <-n.frames:
			n.heard = append(n.heard, f)
		case <-end:
			t.Fatalf("the node has heard only %+v", n.heard)
		}
	}
}

// isAsked is the next request.
func (n *clockNode) isAsked(t *testing.T) ipmb.Frame {
	t.Helper()
	return n.next(t, func(f ipmb.Frame) bool { return !f.NetFn.IsResponse() })
}

// hearsNoMore checks that nothing has come twice or without a request.
func (n *clockNode) hearsNoMore(t *testing.T) {
	t.Helper()
	n.settles(t, bmcAddress)
	n.settles(t, secondAddress)
	if len(n.heard) > 0 || len(n.frames) > 0 {
		t.Errorf("the node has heard %+v and %d more frames", n.heard, len(n.frames))
	}
}

func (n *clockNode) writes(t *testing.T, f ipmb.Frame) {
	t.Helper()
	if err := n.link.WriteFrame(f.Append(nil)); err != nil {
		t.Fatal(err)
	}
}

// asks sends a request with a number of its own.
func (n *clockNode) asks(t *testing.T, to ipmi.Address, netFn ipmi.NetFn, c ipmi.Command, data ...byte) ipmb.Frame {
	t.Helper()
	n.sequence = (n.sequence + 1) % ipmb.SequenceNumbers
	f := ipmb.Frame{Destination: to, NetFn: netFn, Source: otherAddress, Sequence: n.sequence, Command: c, Data: data}
	n.writes(t, f)
	return f
}

// answers answers a request.
func (n *clockNode) answers(t *testing.T, f ipmb.Frame, data ...byte) {
	t.Helper()
	n.writes(t, f.Response(ipmi.CodeOK, data))
}

// of is the answer to a request.
func (n *clockNode) of(t *testing.T, request ipmb.Frame) ipmb.Frame {
	t.Helper()
	return n.next(t, func(f ipmb.Frame) bool {
		return f.NetFn == request.NetFn.Response() && f.Source == request.Destination &&
			f.Sequence == request.Sequence && f.Command == request.Command
	})
}

// settles sends a request, after which the daemon has finished the answer before it: a repeat that
// comes earlier gets no other.
func (n *clockNode) settles(t *testing.T, at ipmi.Address) {
	t.Helper()
	n.of(t, n.asks(t, at, ipmi.NetFnApp, ipmi.CommandGetDeviceID))
}

// hears checks the answer to a request.
func (n *clockNode) hears(t *testing.T, request ipmb.Frame, code ipmi.CompletionCode, data ...byte) {
	t.Helper()
	if f := n.of(t, request); f.Code != code || !bytes.Equal(f.Data, data) {
		t.Errorf("the answer to %+v is %v % X", request, f.Code, f.Data)
	}
}
