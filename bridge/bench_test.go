package bridge

import (
	"context"
	"sync"
	"testing"

	"ipmbd/i2c/sim"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// BenchmarkTracked sends tracked messages to a responder that answers at once, with some
// in flight: a turn is the Send Message, the engine's round trip and the answer.
func BenchmarkTracked(b *testing.B) {
	const inFlight = 63
	ctx, stop := context.WithCancel(b.Context())
	var loops sync.WaitGroup
	defer loops.Wait()
	defer stop()
	wire := sim.NewBus()
	if err := wire.Respond(uint8(me), func(frame []byte, reply func([]byte)) {
		f, err := ipmb.Decode(frame)
		if err == nil {
			reply(answerTo(f, deviceID...).Append(nil))
		}
	}); err != nil {
		b.Fatal(err)
	}
	transport, err := wire.Attach(uint8(own))
	if err != nil {
		b.Fatal(err)
	}
	bridge, engine := New(Config{}), ipmb.New(ipmb.Config{})
	bus := bridge.NewInterface(InterfaceConfig{Name: "bus0", Medium: MediumIPMB})
	host := bridge.NewInterface(InterfaceConfig{Name: "host0", Channel: ipmi.ChannelSystemInterface, Bridged: true})
	bridge.Add(bus, busOf(engine))
	bridge.Add(host, nil)
	loops.Go(func() { _ = engine.Run(ctx, transport) })
	loops.Go(func() { bridge.Run(ctx) })

	handler := host.Handler(nobody)
	begun := &ipmi.Request{NetFn: ipmi.NetFnApp, Command: commandSendMessage, Data: append([]byte{0x40}, getDeviceID(me, 0)...)}
	for code := ipmi.CodeDestinationGone; code == ipmi.CodeDestinationGone; { // until both run
		response, err := ipmi.Do(ctx, handler, begun)
		if err != nil {
			b.Fatal(err)
		}
		code = response.Code
	}
	free := make(chan byte, inFlight)
	var requests [inFlight]ipmi.Request
	for n := range byte(inFlight) {
		// The numbers of one command rest before they are used again.
		data := append([]byte{0x40}, bridged(me, n, ipmi.NetFnApp, ipmi.Command(n))...)
		requests[n] = ipmi.Request{Interface: "host0", Channel: ipmi.ChannelSystemInterface, NetFn: ipmi.NetFnApp, Command: commandSendMessage, Data: data}
		free <- n
	}
	var replies [inFlight]ipmi.Reply
	for n := range byte(inFlight) {
		replies[n] = ipmi.ReplyFunc(func(res ipmi.Response, err error) bool {
			if err != nil || res.Code != ipmi.CodeOK {
				b.Error(res.Code, err)
			}
			free <- n
			return true
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		n := <-free
		ipmi.Serve(handler, &requests[n], replies[n])
	}
	for range inFlight {
		<-free
	}
}
