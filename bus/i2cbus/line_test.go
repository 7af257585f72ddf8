package i2cbus

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
)

// line is a transport in the hands of a test.
type line struct {
	write func(frame []byte) error // nil: taken
	count map[string]uint64

	over   chan struct{} // end of file
	closed chan struct{}
	once   sync.Once
}

func newLine() *line { return &line{over: make(chan struct{}), closed: make(chan struct{})} }

func (l *line) ReadFrames(*i2c.Batch) error {
	select {
	case <-l.over:
		return io.EOF
	case <-l.closed:
		return i2c.ErrClosed
	}
}

func (l *line) WriteFrame(frame []byte) error {
	if l.write == nil {
		return nil
	}
	return l.write(frame)
}

func (l *line) Limits() i2c.Limits { return i2c.Limits{MaxFrame: 264} }

func (l *line) Counters() map[string]uint64 { return l.count }

func (l *line) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// health is a state and the reason for it.
type health struct {
	state  bus.State
	reason string
}

// changes counts the notifications of a bus.
type changes struct {
	bus *bus.Bus

	mu   sync.Mutex
	seen []health
}

func (c *changes) changed() {
	state, reason := c.bus.State()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, health{state, reason})
}

// states returns the notifications since its last call.
func (c *changes) states() []bus.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	var states []bus.State
	for _, h := range c.seen {
		states = append(states, h.state)
	}
	c.seen = nil
	return states
}

// testConfig is the configuration of a bus with all defaults.
func testConfig() Config {
	return Config{
		Config: bus.Config{Name: "bus5", Index: 1, Channel: 1, Handler: "host", RemoteAddress: 0x2C},
		Path:   "/dev/ipmb-5", Transport: Auto,
	}
}

// opener opens the transport of a test's bus and says which kind it is.
type opener func() (t i2c.Transport, kind string, err error)

// newTestBus makes a bus that is not open yet.
func newTestBus(open opener) (*bus.Bus, *changes) {
	machine := newMachine()
	machine.opener = open
	return newBusOn(machine, testConfig(), false)
}

// newBusOn makes a bus on a machine.
func newBusOn(m *machine, c Config, autoBind bool) (*bus.Bus, *changes) {
	told := new(changes)
	c.AutoBind, c.Changed = autoBind, told.changed
	told.bus = newLink(c, newDevice(c, m.system()), new(Engines)).bus
	return told.bus, told
}

// onLine is a bus that opens a line, and always the same.
func onLine(l *line) (*bus.Bus, *changes) {
	return newTestBus(func() (i2c.Transport, string, error) { return l, "seqpacket", nil })
}

// runBus opens and runs a bus until the bubble's test ends it.
func runBus(t *testing.T, b *bus.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b.Open(ctx)
	ended := make(chan struct{})
	go func() {
		b.Run(ctx)
		close(ended)
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-ended
	}
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func ms(n ...int) []time.Duration {
	times := make([]time.Duration, len(n))
	for i := range n {
		times[i] = time.Duration(n[i]) * time.Millisecond
	}
	return times
}
