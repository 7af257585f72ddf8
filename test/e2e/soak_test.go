package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"ipmbd/frames"
	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// TestSoak: programs, satellites and a machine ask without end, while everything around the daemon
// breaks, and the daemon too. No answer reaches a wrong call, none comes twice, each call ends,
// and at the end nothing is left: the daemon has as many descriptors and goroutines as a new one.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	fresh := s.measure()

	working, rest := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() { s.program(working, i) })
	}
	workers.Go(func() { s.satellite(working) })
	workers.Go(func() { s.machine(working) })
	for i := range 4 {
		workers.Go(func() { s.framer(working, i) })
	}

	// Half of the time nothing ends the daemon, so that one of them grows old.
	s.breakThings(soakTime/2, slices.Concat(mishaps, changes, disasters))
	old := s.daemon.Load()
	young := s.memory()
	s.breakThings(soakTime/2, slices.Concat(mishaps, changes))
	grown := s.memory()

	rest()
	workers.Wait()
	s.host.Kill()
	for _, how := range slices.Sorted(maps.Keys(s.ended.counts)) {
		t.Logf("%8d %s", s.ended.counts[how], how)
	}
	if s.daemon.Load() != old {
		t.Error("the daemon has ended by itself")
	}
	t.Logf("resident: %d KiB when young, %d KiB when old", young>>10, grown>>10)
	// With the race detector it is much of a daemon's youth until it has all it needs.
	if !race && grown > young*3/2+4<<20 {
		t.Error("the daemon has grown")
	}
	eventually(t, fmt.Sprintf("%d descriptors, as a new daemon has, or %d more", fresh.descriptors, lazyConns), func() bool {
		return s.daemon.Load().descriptors(t) <= fresh.descriptors+lazyConns
	})
	noneIsLeft(t, fresh.goroutines, s.measure().goroutines)
	for _, who := range []string{"program", "satellite", "machine", "framer"} {
		if s.ended.counts[who+": answered"] == 0 {
			t.Errorf("no %s had an answer", who)
		}
	}
}

// soak is the board of TestSoak.
type soak struct {
	t        *testing.T
	bus      *bustest.Bus
	config   string
	node     *node  // of bus5, whose satellite at 2Ch echoes
	asking   *node  // of bus6, whose satellite asks the host daemon
	vm       string // where the machine connects
	vmConfig object
	frames   string // the frame socket
	host     *hostd.Daemon
	daemon   atomic.Pointer[daemon] // the one that runs
	ended    outcomes
	chance   *rand.Rand // which mishaps, and how long they last
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, chance: chance(t), bus: bustest.Start(t), node: listen(t, "ipmb-5"), asking: listen(t, "ipmb-6")}
	s.node.respond(0x2C, echo)
	s.vmConfig, s.vm = vm(t, "host0", object{"devIndex": 2})
	all := hosts([]object{s.vmConfig},
		channel(s.node, object{"timeout-ms": 100}), channel(s.asking, object{"devIndex": 1}))
	all, s.frames = withFrames(t, all)
	s.config = configFile(t, all)
	s.startHost()
	s.startDaemon()
	return s
}

func (s *soak) startHost() {
	host, err := hostd.Open(s.bus.Path())
	if err != nil {
		s.t.Fatal(err)
	}
	s.host = host
	s.t.Cleanup(host.Kill)
}

func (s *soak) startDaemon() {
	d := launch(s.t, "--bus", s.bus.Path(), "--config", s.config, "--log-level", "error")
	d.ready(s.t)
	s.daemon.Store(d)
}

// sizes has the memory and descriptors of a daemon.
type sizes struct {
	descriptors int
	goroutines  map[string]int
}

// lazyConns are connections to the message bus that a daemon makes when it first needs
// them, as for an event, or for a machine whose garbage was a wish for a reset.
const lazyConns = 2

// measure ends the daemon, and starts a new one.
func (s *soak) measure() sizes {
	d := s.daemon.Load()
	c := connect(s.t, s.bus.Path())
	for _, bus := range []string{"bus5", "bus6"} {
		c.state(s.t, bus, "Up")
	}
	c.reloaded(s.t) // All has begun that is begun after the daemon is ready.
	c.Close()
	z := sizes{d.descriptors(s.t), nil}
	z.goroutines = d.goroutines(s.t)
	s.startDaemon()
	return z
}

// memory is how much the daemon has, in bytes.
func (s *soak) memory() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.daemon.Load().pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		s.t.Fatal(err)
	}
	return resident * os.Getpagesize()
}

// program has calls of its own data answered.
func (s *soak) program(ctx context.Context, number int) {
	var c client
	defer func() { c.leave() }()
	for n := uint64(0); ctx.Err() == nil; n++ {
		if !c.isConnected() {
			conn, err := dbus.Connect(s.bus.Path())
			if err != nil {
				s.pause("program: no message bus")
				continue
			}
			c = client{conn}
		}
		want := tagged(uint64(number)<<48 | n)
		call := c.send("bus5", 0x2C, 0x30, 0, byte(n%16), want...)
		select {
		case <-call.Done:
		case <-time.After(timeLimit):
			s.t.Errorf("a call has not ended after %v", timeLimit)
			return
		}
		switch how := payload(call, want); how {
		case "":
			s.ended.add("program: answered")
		case "another call's data":
			s.t.Errorf("program %d: %s", number, how)
		default:
			s.pause("program: " + how)
		}
	}
}

// framer is a program at the frame socket.
func (s *soak) framer(ctx context.Context, number int) {
	for ctx.Err() == nil {
		c, err := frames.Dial(ctx, s.frames)
		if err != nil {
			s.pause("framer: nobody listens")
			continue
		}
		s.framerAsks(ctx, c, number)
		c.Close()
	}
}

// framerAsks asks until the connection ends.
func (s *soak) framerAsks(ctx context.Context, c *frames.Client, number int) {
	for n := uint64(0); ctx.Err() == nil; n++ {
		want := tagged(uint64(number+100)<<48 | n)
		limited, cancel := context.WithTimeout(ctx, timeLimit)
		got, err := c.Do(limited, 1, frameTo(0x2C, want...))
		late := limited.Err() != nil && ctx.Err() == nil
		cancel()
		failed, isStatus := errors.AsType[*frames.StatusError](err)
		switch {
		case late:
			s.t.Errorf("a request has not ended after %v", timeLimit)
			return
		case err == nil && !bytes.Equal(got.Data, want):
			s.t.Errorf("framer %d: asked with % X, hears % X", number, want, got.Data)
			return
		case err == nil:
			s.ended.add("framer: answered")
		case isStatus:
			s.pause(fmt.Sprint("framer: status ", failed.Status))
		default:
			s.pause("framer: disconnected")
			return
		}
	}
}

// isConnected reports whether the message bus is still there.
func (c client) isConnected() bool { return c.Conn != nil && c.Connected() }

func (c client) leave() {
	if c.Conn != nil {
		c.Close()
	}
}

// pause notes the errors, and waits until they are over.
func (s *soak) pause(what string) {
	s.ended.add(what)
	<-time.After(5 * time.Millisecond)
}

// last is how long a mishap lasts, or the quiet time after one: at most this long.
func (s *soak) last(most time.Duration) {
	<-time.After(time.Duration(s.chance.Int64N(int64(most))))
}

// satelliteTime is longer than the daemon may take to answer.
const satelliteTime = 6 * time.Second

// satellite has requests of its own data answered by the host daemon, each once at
// most.
func (s *soak) satellite(ctx context.Context) {
	var answered [64]bool
	for n := uint64(0); ctx.Err() == nil; n++ {
		request := toHost(byte(n%64), hostd.CommandEcho, tagged(n)...)
		answered[request.number] = false
		if !s.asking.write(request.bytes()) {
			s.pause("satellite: nobody is connected")
			continue
		}
		for late := time.After(satelliteTime); !answered[request.number]; {
			select {
			case b := <-s.asking.inbox:
				s.satelliteHears(b, &answered, request)
			case <-late:
				s.ended.add("satellite: no answer")
				answered[request.number] = true
			}
		}
	}
}

// satelliteHears takes a frame; request is the last one.
func (s *soak) satelliteHears(b []byte, answered *[64]bool, request packet) {
	p, ok := unpack(b)
	if !ok || len(p.data) == 0 || p.cmd != request.cmd {
		s.t.Errorf("satellite: hears % X", b)
		return
	}
	switch {
	case answered[p.number]:
		s.t.Errorf("satellite: a second answer: % X", b)
	case p.data[0] != 0:
		s.ended.add(fmt.Sprintf("satellite: %02Xh", p.data[0]))
	case p.number != request.number || !bytes.HasSuffix(p.data, request.data):
		s.t.Errorf("satellite: asked % X, hears % X", request.bytes(), b)
	default:
		s.ended.add("satellite: answered")
	}
	answered[p.number] = true
}

// machine asks its BMC, on one connection after the other.
func (s *soak) machine(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := net.Dial("unix", s.vm)
		if err != nil {
			s.pause("machine: nobody listens")
			continue
		}
		s.machineAsks(ctx, conn)
		conn.Close()
	}
}

// machineAsks asks until the connection ends.
func (s *soak) machineAsks(ctx context.Context, conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(timeLimit))
	if _, err := conn.Write([]byte{0xFF, 0x01, 0xA1, 0x08, 0x3F, 0xA1}); err != nil {
		return
	}
	for seq := byte(0); ctx.Err() == nil; seq++ {
		if _, err := conn.Write(escape([]byte{seq, 6 << 2, 1})); err != nil {
			s.pause("machine: disconnected")
			return
		}
		answer, err := nextAnswer(conn)
		switch {
		case err != nil:
			s.pause("machine: disconnected")
			return
		case len(answer) < 4 || answer[0] != seq || answer[1] != 7<<2 || answer[2] != 1 || answer[3] != 0:
			s.t.Errorf("machine: asked with number %02X, hears % X", seq, answer)
			return
		}
		s.ended.add("machine: answered")
	}
}

// breakThings has one thing after the other go wrong.
func (s *soak) breakThings(length time.Duration, what []mishap) {
	for end := time.Now().Add(length); time.Now().Before(end) && !s.t.Failed(); {
		m := what[s.chance.IntN(len(what))]
		s.ended.add("broken: " + m.name)
		m.happens(s)
		s.last(200 * time.Millisecond)
	}
}
