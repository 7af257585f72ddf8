package inside

import (
	"bytes"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// Commands between channels.
const (
	getMessage  ipmi.Command = 0x33
	sendMessage ipmi.Command = 0x34
)

// secondAddress is ours on the second bus.
const secondAddress ipmi.Address = 0x22

// A node asks us to send its request on by our second bus, which is on the same
// wire: to itself, and to an address without a node.
func TestMessagesAreBridgedBetweenBuses(t *testing.T) {
	l := newLoop(t)
	b := start(t, channel{"name": "bus", "type": "ipmb", "transport": ipmbDev.name, "slave-path": ipmbDev.bind(t, l, 1, otherAddress),
		"bmc-addr": otherAddress, "remote-addr": bmcAddress, "tries": busyTries})
	start(t,
		channel{"name": "first", "type": "ipmb", "transport": ipmbDev.name, "slave-path": ipmbDev.bind(t, l, 0, bmcAddress),
			"bmc-addr": bmcAddress, "remote-addr": otherAddress, "handler": "bmc"},
		channel{"name": "second", "type": "me", "transport": ipmbDev.name, "slave-path": ipmbDev.bind(t, l, 2, secondAddress),
			"bmc-addr": secondAddress, "remote-addr": otherAddress, "handler": "none", "tries": busyTries})

	asks := func(cmd ipmi.Command, data ...byte) ipmi.Response {
		t.Helper()
		answer, err := b.Send(t.Context(), "bus", ipmb.Request{NetFn: ipmi.NetFnApp, Command: cmd, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	const untracked, tracked, second, hostSoftware, number = 0x00, 0x40, 0x01, 2, 5
	message := func(to ipmi.Address) []byte {
		return ipmb.Frame{Destination: to, NetFn: ipmi.NetFnApp, Source: secondAddress, SourceLUN: hostSoftware, Sequence: number,
			Command: ipmi.CommandGetDeviceID}.Append(nil)
	}
	want := ipmb.Frame{Destination: secondAddress, NetFn: ipmi.NetFnApp.Response(), DestinationLUN: hostSoftware, Source: otherAddress,
		Sequence: number, Command: ipmi.CommandGetDeviceID, Data: deviceID}.Append(nil)

	if got := asks(sendMessage, append([]byte{tracked | second}, message(otherAddress)...)...); got.Code != ipmi.CodeOK || !bytes.Equal(got.Data, want) {
		t.Errorf("tracked: %v % X, want % X", got.Code, got.Data, want)
	}
	if got := asks(sendMessage, append([]byte{untracked | second}, message(otherAddress)...)...); got.Code != ipmi.CodeOK || len(got.Data) > 0 {
		t.Errorf("untracked: %v % X", got.Code, got.Data)
	}
	var fetched ipmi.Response
	eventually(t, func() string {
		fetched = asks(getMessage)
		if fetched.Code != ipmi.CodeOK {
			return "a message, not " + fetched.Code.String()
		}
		return ""
	})
	want[0] = second
	want[2] += byte(secondAddress - bmcAddress) // The checksum is always as for 20h (table 22-8).
	if !bytes.Equal(fetched.Data, want) {
		t.Errorf("Get Message: % X", fetched.Data)
	}
	const nobody ipmi.Address = 0x60
	if got := asks(sendMessage, append([]byte{untracked | second}, message(nobody)...)...); got.Code != 0x83 {
		t.Errorf("to nobody: %v", got.Code)
	}
}
