package ipmb

import (
	"context"
	"runtime"
	"testing"
	"time"

	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// wire is a transport whose one frame and whose writes a test lets go on.
type wire struct {
	frames chan []byte
	writes chan struct{} // closed: they end
	closed chan struct{}
}

func newWire() *wire {
	return &wire{frames: make(chan []byte), writes: make(chan struct{}), closed: make(chan struct{})}
}

func (w *wire) ReadFrames(b *i2c.Batch) error {
	select {
	case f := <-w.frames:
		b.Reset()
		b.Add(0, copy(b.Room(), f))
		return nil
	case <-w.closed:
		return i2c.ErrClosed
	}
}

func (w *wire) WriteFrame([]byte) error {
	<-w.writes
	return nil
}

func (w *wire) Limits() i2c.Limits { return i2c.Limits{MaxFrame: 64} }

func (w *wire) Close() error {
	close(w.closed)
	return nil
}

// hanging hangs in its callbacks, until the test releases it.
type hanging struct {
	in     chan struct{} // closed when it hangs
	free   chan struct{}
	stalls bool // it hangs in Config.Stalled
}

func (h hanging) received(Frame) { close(h.in); <-h.free }

func (h hanging) stalled(stalled bool) {
	if stalled && h.stalls {
		close(h.in)
		<-h.free
	}
}

// In real time: a goroutine that waits for a lock is not idle to package synctest.
func TestPing(t *testing.T) {
	t.Parallel()
	broadcast := func(e *Engine) {
		if err := e.StartBroadcast(func(error) {}, ipmi.NetFnApp, 0, 1, nil); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		hang   func(e *Engine, w *wire, h hanging) (free func())
		hangs  bool
		stalls bool // in Config.Stalled
	}{
		"comes back from an engine that is idle": {func(*Engine, *wire, hanging) func() { return func() {} }, false, false},
		"comes back while a write is in the kernel": {func(e *Engine, w *wire, h hanging) func() {
			broadcast(e)
			for busy := false; !busy; {
				e.mu.Lock()
				busy = e.outbox.writing
				e.mu.Unlock()
				runtime.Gosched()
			}
			return func() {}
		}, false, false},
		"hangs with the lock": {func(e *Engine, w *wire, h hanging) func() {
			e.mu.Lock()
			return e.mu.Unlock
		}, true, false},
		"hangs with the reader": {func(e *Engine, w *wire, h hanging) func() {
			w.frames <- Frame{Destination: 0x20, NetFn: ipmi.NetFnApp, Source: 0x2C, Command: 1}.Append(nil)
			<-h.in
			return func() { close(h.free) }
		}, true, false},
		"hangs with the goroutine that watches the deadlines": {func(e *Engine, w *wire, h hanging) func() {
			broadcast(e)
			<-h.in
			return func() { close(h.free) }
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, h := newWire(), hanging{make(chan struct{}), make(chan struct{}), c.stalls}
			e := New(Config{Received: h.received, Stalled: h.stalled})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx, w) }()
			for e.MaxFrame() == 0 {
				runtime.Gosched()
			}
			free := c.hang(e, w, h)
			back := make(chan struct{})
			go func() {
				defer close(back)
				e.Ping()
			}()
			if c.hangs {
				select {
				case <-back:
					t.Error("it came back")
				case <-time.After(20 * time.Millisecond):
				}
			}
			free()
			<-back
			close(w.writes)
			stop()
			<-ended
			e.Ping() // at rest
		})
	}
}
