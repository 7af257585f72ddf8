package dbusapi

import (
	"encoding/binary"
	"testing"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
)

// BenchmarkWire is the cost of D-Bus messages as bytes: it reads a call of sendRequest, makes a
// call of execute, and reads its reply.
func BenchmarkWire(b *testing.B) {
	call := encodeCall(b, binary.LittleEndian, ":1.5", byte(0x2C), byte(6), byte(0), byte(1), []byte{})
	reply := encodeReturn(b, binary.LittleEndian, 77, hostResult{7, 0, 1, 0, make([]byte, 15)})
	host := &target{title: "host daemon", destination: "xyz.openbmc_project.Ipmi.Host", path: "/xyz/openbmc_project/Ipmi"}
	request := &ipmi.Request{NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID, Requester: 0x2C}
	var x busCall
	for _, bench := range []struct {
		name string
		do   func() bool
	}{
		{"call of sendRequest", func() bool {
			m, ok := dbuswire.Parse(call)
			return ok && parseRequest(&x, &m) == nil
		}},
		{"call of execute", func() bool { return len(host.marshal(77, request)) > 0 }},
		{"reply to execute", func() bool {
			m, ok := dbuswire.Parse(reply)
			_, _, _, err := parseExecuted(&m)
			return ok && err == nil
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !bench.do() {
					b.Fatal("not read")
				}
			}
		})
	}
}
