package ipmb_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// BenchmarkEngine is a request to a responder in the same process and its
// answer, with one and with many calls in flight.
func BenchmarkEngine(b *testing.B) {
	for _, calls := range []int{1, 32} {
		b.Run(fmt.Sprintf("%d in flight", calls), func(b *testing.B) {
			wire := sim.NewBus()
			if err := wire.Respond(uint8(me), benchResponder); err != nil {
				b.Fatal(err)
			}
			transport, err := wire.Attach(uint8(own))
			if err != nil {
				b.Fatal(err)
			}
			engine := ipmb.New(ipmb.Config{})
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			defer running.Wait()
			defer cancel()
			running.Go(func() { _ = engine.Run(ctx, transport) })
			waitForRun(b, engine)

			b.ReportAllocs()
			b.ResetTimer()
			var callers sync.WaitGroup
			for i := range calls {
				callers.Go(func() {
					for range (b.N + i) / calls {
						if _, err := engine.Do(ctx, getDeviceID(me)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			callers.Wait()
			b.StopTimer()
		})
	}
}

// benchResponder answers as a controller answers Get Device ID.
func benchResponder(frame []byte, reply func([]byte)) {
	var buf [32]byte
	request, err := ipmb.Decode(frame)
	if err != nil || request.NetFn.IsResponse() {
		return
	}
	reply(request.Response(ipmi.CodeOK, deviceID).Append(buf[:0]))
}

// waitForRun makes calls until the engine has its transport.
func waitForRun(b *testing.B, engine *ipmb.Engine) {
	for {
		_, err := engine.Do(b.Context(), getDeviceID(me))
		if err == nil {
			return
		}
		if err != ipmb.ErrClosed {
			b.Fatal(err)
		}
	}
}

// BenchmarkServe is a request from the bus that the handler answers at once, and its answer.
func BenchmarkServe(b *testing.B) {
	t := &benchBus{frames: make(chan []byte), answered: make(chan struct{})}
	handler := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{Data: deviceID}, nil
	})
	engine := ipmb.New(ipmb.Config{Handler: handler})
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = engine.Run(ctx, t) })
	b.ReportAllocs()
	var buf [32]byte
	for i := range b.N {
		t.frames <- from(peer, uint8(i)&63, cmdA, byte(i>>6), byte(i>>14)).Append(buf[:0])
		<-t.answered
	}
}

// benchBus takes frames at once.
type benchBus struct {
	frames   chan []byte
	answered chan struct{}
	once     sync.Once
}

func (t *benchBus) ReadFrames(batch *i2c.Batch) error {
	frame, ok := <-t.frames
	if !ok {
		return i2c.ErrClosed
	}
	batch.Reset()
	batch.Add(0, copy(batch.Room(), frame))
	return nil
}

func (t *benchBus) WriteFrame([]byte) error {
	t.answered <- struct{}{}
	return nil
}

func (t *benchBus) TryWriteFrame(frame []byte) (bool, error) { return true, t.WriteFrame(frame) }
func (t *benchBus) Limits() i2c.Limits                       { return i2c.Limits{MaxFrame: 239} }

func (t *benchBus) Close() error {
	t.once.Do(func() { close(t.frames) })
	return nil
}
