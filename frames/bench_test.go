package frames

import (
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// BenchmarkPackets is the cost of a request and its answer on the frame socket, without the socket
// and the bus: a packet is read, and one is made.
func BenchmarkPackets(b *testing.B) {
	frame := ipmb.Frame{Destination: 0x2C, NetFn: ipmi.NetFnApp, Source: 0x81, Command: ipmi.CommandGetDeviceID}
	packet := append([]byte{1}, frame.Append(nil)...)
	answer := ipmi.Response{Data: make([]byte, 15)}
	var out packets
	b.ReportAllocs()
	for b.Loop() {
		index, request, status := parseRequest(packet)
		if status != ipmb.StatusOK {
			b.Fatal(status)
		}
		out.reset()
		out.addResponse(index, request.Response(answer.Code, answer.Data))
	}
}
