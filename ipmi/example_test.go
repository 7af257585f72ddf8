package ipmi_test

import (
	"context"
	"fmt"

	"ipmbd/ipmi"
)

// A handler registers one command. All others of the interface go to a default handler.
func ExampleMux() {
	var mux ipmi.Mux
	mux.SetDefault("bus0", ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{}, ipmi.ErrNotPresent
	}))
	echo := ipmi.Immediate(func(req *ipmi.Request) (ipmi.Response, error) {
		return ipmi.Response{Data: req.Data}, nil
	})
	command := ipmi.Pattern{Channels: ipmi.AllChannels, NetFn: 0x30, Command: 0x01, Group: ipmi.AnyGroup}
	registration, err := mux.Register("echo", echo, command)
	if err != nil {
		fmt.Println(err)
		return
	}

	ask := func(cmd ipmi.Command) {
		res, err := ipmi.Do(context.Background(), &mux, &ipmi.Request{
			Interface: "bus0", NetFn: 0x30, Command: cmd, Data: []byte{1, 2, 3},
		})
		fmt.Println(res.Data, err, ipmi.CodeOf(err))
	}
	ask(0x01)
	ask(0x02)

	_, err = mux.Register("another program", echo, command)
	fmt.Println(err)
	registration.Close()
	ask(0x01)
	// Output:
	// [1 2 3] <nil> 00h ok
	// [] handler is not present CEh response could not be provided
	// 30h 01h on all channels overlaps 30h 01h on all channels, which echo serves
	// [] handler is not present CEh response could not be provided
}

func ExampleCompletionCode() {
	fmt.Println(ipmi.CodeInvalidCommand)
	fmt.Println(ipmi.CompletionCode(0x83).Meaning(ipmi.NetFnApp, 0x34)) // of Send Message
	// Output:
	// C1h invalid command
	// NAK on write
}

func ExampleParseCommand() {
	command, err := ipmi.ParseCommand(ipmi.NetFnApp, "get-device-id")
	fmt.Println(command, err)
	_, err = ipmi.ParseCommand(ipmi.NetFnApp, "get-devic-id")
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// app has no command "get-devic-id"; did you mean get-device-id, get-device-guid?
}
