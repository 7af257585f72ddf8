package bus

import (
	"context"
	"slices"
	"sync"
	"testing"

	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/internal/testmain"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestMain(m *testing.M) { testmain.Run(m) }

const (
	own    ipmi.Address = 0x20
	remote ipmi.Address = 0x2C // answers with the data of the request
	quiet  ipmi.Address = 0x2E // takes requests and does not answer
)

// world is a bus with an engine and responders. The test starts it.
type world struct {
	*Bus
	wire   *sim.Bus
	engine *ipmb.Engine

	mu   sync.Mutex
	came []byte // the first data byte of each frame on the bus, in order
}

func newWorld(t testing.TB, config Config) *world {
	t.Helper()
	w := &world{wire: sim.NewBus()}
	w.engine = ipmb.New(ipmb.Config{Address: own, RetryPolicy: ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MaxTimeout}})
	config.RemoteAddress = remote
	w.Bus = New(config, struct {
		EngineLink
		Fixed
		Device
	}{EngineLink: EngineLink{w.engine}})
	for _, address := range []ipmi.Address{0, remote, quiet} {
		err := w.wire.Respond(uint8(address), func(b []byte, reply func([]byte)) {
			f, err := ipmb.Decode(b)
			if err != nil || f.NetFn.IsResponse() {
				return
			}
			w.note(f.Data)
			if address == remote {
				reply(f.Response(ipmi.CodeOK, f.Data).Append(nil))
			}
		})
		if err != nil && address != 0 {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) note(data []byte) {
	if len(data) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.came = append(w.came, data[0])
}

// frames are the frames that came so far.
func (w *world) frames() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.came)
}

// run runs the engine; the bus has not begun by that.
func (w *world) run(t testing.TB) (stop func()) {
	t.Helper()
	transport, err := w.wire.Attach(uint8(own))
	if err != nil {
		t.Fatal(err)
	}
	reading := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.engine.Run(ctx, &watched{Transport: transport, reading: reading}) })
	<-reading
	return func() {
		cancel()
		running.Wait()
	}
}

// watched tells when the engine reads.
type watched struct {
	i2c.Transport
	reading chan struct{}
	once    sync.Once
}

func (w *watched) ReadFrames(b *i2c.Batch) error {
	w.once.Do(func() { close(w.reading) })
	return w.Transport.ReadFrames(b)
}

// request is one to the responder that answers, told from others by its data.
func request(n int) ipmb.Request {
	return ipmb.Request{Responder: remote, NetFn: 0x30, Command: ipmi.Command(n), Data: []byte{byte(n)}}
}

// numbers are 0 to n-1.
func numbers(n int) (all []byte) {
	for i := range n {
		all = append(all, byte(i))
	}
	return all
}
