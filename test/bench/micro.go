package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"

	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// measurement is a piece of code that was run many times.
type measurement struct {
	name   string
	result testing.BenchmarkResult
	goal   string
}

// measureCode runs what has no process of its own.
func measureCode(ctx context.Context, quick bool) ([]measurement, error) {
	testing.Init()
	if quick {
		if err := flag.Set("test.benchtime", "1x"); err != nil {
			return nil, err
		}
	}
	engine, err := measureEngine(ctx)
	return []measurement{
		{"frame encode", testing.Benchmark(encode), ""},
		{"frame decode", testing.Benchmark(decode), ""},
		{"engine round trip over mem", engine, "under 2000 ns, at most 2 allocations"},
	}, err
}

var getDeviceID = ipmb.Frame{
	Destination: responderAddress,
	NetFn:       ipmi.NetFnApp,
	Source:      bmcAddress,
	Sequence:    1,
	Command:     ipmi.CommandGetDeviceID,
}

func encode(b *testing.B) {
	answer := deviceIDAnswer(getDeviceID)
	frame := make([]byte, 0, answer.Len())
	for b.Loop() {
		frame = answer.Append(frame[:0])
	}
}

func decode(b *testing.B) {
	frame := deviceIDAnswer(getDeviceID).Append(nil)
	for b.Loop() {
		if _, err := ipmb.Decode(frame); err != nil {
			b.Fatal(err)
		}
	}
}

// measureEngine sends requests one after the other on a bus in the process.
func measureEngine(ctx context.Context) (testing.BenchmarkResult, error) {
	bus := i2c.NewBus()
	transport, err := bus.Attach(uint8(bmcAddress))
	if err != nil {
		return testing.BenchmarkResult{}, err
	}
	if err := bus.Respond(uint8(responderAddress), respondInProcess()); err != nil {
		return testing.BenchmarkResult{}, err
	}
	engine := ipmb.New(ipmb.Config{Address: bmcAddress})
	running, stop := context.WithCancel(ctx)
	var loop sync.WaitGroup
	loop.Go(func() { _ = engine.Run(running, transport) })
	defer loop.Wait()
	defer stop()
	return roundTrips(ctx, engine)
}

// respondInProcess is the responder as a function. Calls do not overlap: one
// request is in flight.
func respondInProcess() func(frame []byte, reply func([]byte)) {
	var out []byte
	return func(frame []byte, reply func([]byte)) {
		request, err := ipmb.Decode(frame)
		if err != nil {
			return
		}
		out = deviceIDAnswer(request).Append(out[:0])
		reply(out)
	}
}

func roundTrips(ctx context.Context, engine *ipmb.Engine) (testing.BenchmarkResult, error) {
	request := ipmb.Request{Responder: responderAddress, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID}
	failed := ipmb.ErrClosed
	for errors.Is(failed, ipmb.ErrClosed) && ctx.Err() == nil { // until it runs
		_, failed = engine.Do(ctx, request)
	}
	result := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, failed = engine.Do(ctx, request); failed != nil {
				b.FailNow()
			}
		}
	})
	if failed != nil {
		return result, fmt.Errorf("engine: %w", failed)
	}
	return result, nil
}
