package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"ipmbd/dbusapi/client"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The examples start an ipmbd of their own. Programs open client.SystemBus.

// open opens a client, or ends the program.
func open(address string) *client.Client {
	ipmbd, err := client.Open(context.Background(), address)
	if err != nil {
		log.Fatal(err)
	}
	return ipmbd
}

func ExampleClient_Send() {
	service := client.StartExampleService()
	defer service.Stop()
	ipmbd := open(service.Address)
	defer ipmbd.Close()

	getDeviceID := ipmb.Request{Responder: 0x2C, NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID}
	response, err := ipmbd.Send(context.Background(), "bus4", getDeviceID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v: % x\n", response.Code, response.Data)

	// A bus that does not exist is an error, as is a node that does not respond.
	_, err = ipmbd.Send(context.Background(), "bus5", getDeviceID)
	var notFound *client.NotFoundError
	if errors.As(err, &notFound) {
		fmt.Printf("%v; there are %v\n", err, notFound.Known)
	}
	// Output:
	// 00h ok: 50 01 04 00 02 21 57 01 00 0b 0b
	// no bus "bus5"; there are [bus4]
}

func ExampleClient_Endpoints() {
	service := client.StartExampleService()
	defer service.Stop()
	ipmbd := open(service.Address)
	defer ipmbd.Close()

	endpoints, err := ipmbd.Endpoints(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range endpoints {
		if e.Bus != nil {
			fmt.Printf("bus %s on %s is %s\n", e.Name, e.Device, e.Bus.State)
		} else {
			fmt.Printf("host interface %s on %s is %s\n", e.Name, e.Device, e.Host.State)
		}
	}
	// Output: bus bus4 on /dev/ipmb-4 is Up
}

// A program serves command 01h of network function 30h.
func ExampleClient_Serve() {
	service := client.StartExampleService()
	defer service.Stop()
	ipmbd := open(service.Address)
	defer ipmbd.Close()

	ctx, stop := context.WithCancel(context.Background())
	pattern := ipmi.Pattern{NetFn: 0x30, Command: 1, Group: ipmi.AnyGroup, Channels: ipmi.AllChannels}
	handler := ipmi.Immediate(func(r *ipmi.Request) (ipmi.Response, error) {
		fmt.Printf("request of %v on %s: % x\n", r.Requester, r.Interface, r.Data)
		return ipmi.Response{Data: []byte{42}}, nil
	})
	err := ipmbd.Serve(ctx, []ipmi.Pattern{pattern}, handler, func(n client.Notice) {
		if n.Kind == client.ServiceStarted { // The handler is registered.
			fmt.Println("response:", service.Request(0x30, 1, 7).Data)
			stop()
		}
	})
	fmt.Println("end:", err)
	// Output:
	// request of 2Ch on bus4: 07
	// response: [42]
	// end: <nil>
}

func ExampleClient_Events() {
	service := client.StartExampleService()
	defer service.Stop()
	ipmbd := open(service.Address)
	defer ipmbd.Close()

	ctx, stop := context.WithCancel(context.Background())
	show := func(e ipmi.Event) error {
		fmt.Printf("%s: asserted %t, data % x\n", e.Interface, e.Asserted(), e.Data())
		stop()
		return nil
	}
	err := ipmbd.Events(ctx, show, func(n client.Notice) {
		if n.Kind == client.ServiceStarted { // The program is subscribed.
			service.Event()
		}
	})
	fmt.Println("end:", err)
	// Output:
	// bus4: asserted true, data 57 60 5f
	// end: <nil>
}

func ExampleClient_Monitor() {
	service := client.StartExampleService()
	defer service.Stop()
	ipmbd := open(service.Address)
	defer ipmbd.Close()

	ctx, stop := context.WithCancel(context.Background())
	err := ipmbd.Monitor(ctx, func(n client.Notice) error {
		switch n.Kind {
		case client.MonitorStarted:
			_, err := ipmbd.Send(ctx, "bus4", ipmb.Request{NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID})
			return err
		case client.RequestSeen:
			fmt.Printf("%s %v: request %v %02Xh\n", n.Bus, n.Node, n.NetFn, uint8(n.Command))
		case client.ResponseSeen:
			fmt.Printf("%s %v: %v\n", n.Bus, n.Node, n.Code)
			stop()
		}
		return nil
	})
	fmt.Println("end:", err)
	// Output:
	// bus4 2Ch: request app 01h
	// bus4 2Ch: 00h ok
	// end: <nil>
}
