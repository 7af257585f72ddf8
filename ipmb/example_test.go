package ipmb_test

import (
	"context"
	"fmt"
	"log"
	"runtime"
	"sync"
	"time"

	"ipmbd/i2c/sim"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// A request and the response to it as they are on the bus.
func ExampleFrame() {
	request := ipmb.Frame{
		Destination: 0x2C, Source: ipmi.BMCAddress, Sequence: 5,
		NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID,
	}
	fmt.Printf("% X\n", request.Append(nil))
	fmt.Printf("% X\n", request.Response(ipmi.CodeNodeBusy, nil).Append(nil))
	// Output:
	// 2C 18 BC 20 14 01 CB
	// 20 1C C4 2C 14 01 C0 FF
}

func ExampleDecode() {
	f, err := ipmb.Decode([]byte{0x20, 0x1C, 0xC4, 0x2C, 0x14, 0x01, 0x00, 0x50, 0x01, 0x6E})
	fmt.Println(err)
	fmt.Println(f.Source, f.NetFn, ipmi.CommandName(f.NetFn, f.Command), f.Sequence, f.Code)
	fmt.Printf("% X\n", f.Data)

	_, err = ipmb.Decode([]byte{0x20, 0x1C, 0xC4, 0x2C, 0x14, 0x01, 0xBF})
	fmt.Println(err)
	// Output:
	// <nil>
	// 2Ch app response get-device-id 5 00h ok
	// 50 01
	// ipmb: frame shorter than its kind allows
}

// An engine on a simulated bus asks a satellite for its device ID. The satellite is an engine,
// too, with a handler.
func ExampleEngine() {
	bus := sim.NewBus()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()

	run := func(config ipmb.Config) *ipmb.Engine {
		transport, err := bus.Attach(uint8(config.Address))
		if err != nil {
			log.Fatal(err)
		}
		engine := ipmb.New(config)
		running.Go(func() { engine.Run(ctx, transport) })
		for engine.MaxFrame() == 0 {
			runtime.Gosched() // until it runs
		}
		return engine
	}
	run(ipmb.Config{Address: 0x2C, Handler: ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{Data: []byte{0x50, 0x01, 0x04, 0x00, 0x02, 0x21}}, nil
	})})
	bmc := run(ipmb.Config{Address: ipmi.BMCAddress})

	response, err := bmc.Do(ctx, ipmb.Request{
		Responder: 0x2C, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID,
	})
	if err != nil {
		log.Fatal(err)
	}
	id, err := ipmi.DecodeDeviceID(response.Data)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.Code)
	fmt.Println("firmware", id.Firmware(), "has", id.Support)
	// Output:
	// 00h ok
	// firmware 4.00 has sensors, event generator
}
