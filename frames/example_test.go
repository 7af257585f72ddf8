package frames_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"sync"

	"ipmbd/bus"
	"ipmbd/frames"
	"ipmbd/i2c/sim"
	"ipmbd/internal/fakelink"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// A client asks the controller at address 2Ch, on the bus with index 4, for its device ID.
func ExampleClient_Do() {
	path, stop := serveExample()
	defer stop()
	client, err := frames.Dial(context.Background(), path)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	request := ipmb.Frame{Destination: 0x2C, Source: 0x20, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID}
	response, err := client.Do(context.Background(), 4, request)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("code %02X, data % X\n", uint8(response.Code), response.Data)
	// Output: code 00, data 20 01 01 00 02
}

// A request without a response ends with a status: there is no bus with index 5.
func ExampleStatusError() {
	path, stop := serveExample()
	defer stop()
	client, err := frames.Dial(context.Background(), path)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = client.Do(context.Background(), 5, ipmb.Frame{Destination: 0x2C, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID})
	if failed, ok := errors.AsType[*frames.StatusError](err); ok {
		fmt.Println(failed.Status == ipmb.StatusInvalid, err)
	}
	// Output: true status 2: bad argument or unknown channel
}

// serveExample serves a simulated bus with index 4 as ipmbd does. A controller at 2Ch responds.
func serveExample() (path string, stop func()) {
	wire, engine := sim.NewBus(), ipmb.New(ipmb.Config{})
	must(wire.Respond(0x2C, func(b []byte, reply func([]byte)) {
		f, err := ipmb.Decode(b)
		must(err)
		reply(f.Response(ipmi.CodeOK, []byte{0x20, 0x01, 0x01, 0x00, 0x02}).Append(nil))
	}))
	transport, err := wire.Attach(0x20)
	must(err)
	b := bus.New(bus.Config{Index: 4}, fakelink.Engine(engine))
	server := frames.NewServer(frames.Config{Bus: func(index uint8) *bus.Bus {
		if index != b.Index() {
			return nil
		}
		return b
	}})
	folder, err := os.MkdirTemp("", "frames")
	must(err)
	path = filepath.Join(folder, "ipmb.sock")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx, transport) })
	running.Go(func() { server.Run(ctx, listener) })
	for err = ipmb.ErrClosed; errors.Is(err, ipmb.ErrClosed); { // until the engine runs
		_, err = engine.Do(ctx, ipmb.Request{Responder: 0x2C, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID})
	}
	b.Begin()
	return path, func() {
		cancel()
		running.Wait()
		must(os.RemoveAll(folder))
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
