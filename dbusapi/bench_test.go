package dbusapi

import (
	"encoding/binary"
	"io"
	"testing"
)

// BenchmarkCall is a call that sends, from its bytes to those of its reply: without a
// message bus, but with an engine and a wire in memory.
func BenchmarkCall(b *testing.B) {
	for name, path := range map[string]struct{ path, iface string }{
		"org.openbmc.Ipmb": {string(BasePath), legacyInterface},
		"bus":              {string(bus4), busObjectInterface},
	} {
		b.Run(name, func(b *testing.B) {
			bus := newEngineBus(b, answer)
			s := &Server{objects: newObjects(), callers: newCallers(b.Context(), 10)}
			o := &BusObject{server: s, bus: bus, maxCalls: 10}
			s.objects.add(newObject(s, BasePath, legacyInterface))
			exported := newObject(s, bus4, busObjectInterface)
			exported.bus = o
			s.objects.add(exported)

			ours, theirs := socketPair(b)
			from := newStream(ours)
			var err error
			if from.out, err = newOutbox(ours, &from.replies); err != nil {
				b.Fatal(err)
			}
			h := wireHeader{kind: wireCall, serial: 77, path: path.path, iface: path.iface, member: "sendRequest", signature: requestSignature}
			call := finish(appendBytes(append(h.marshal(20), 0, 0x30, 0, 1), []byte{1, 2, 3}))
			m, _ := parseMessage(call)
			m.sender = []byte(":1.5")
			reply := make([]byte, 1000)

			b.ReportAllocs()
			for b.Loop() {
				s.takeCall(&s.objects, from, &m)
				if _, err := io.ReadAtLeast(theirs, reply, wireFixed); err != nil || binary.LittleEndian.Uint32(reply[4:]) == 0 {
					b.Fatal(err)
				}
			}
			_ = from.Close()
			<-from.out.ended
			s.callers.close()
		})
	}
}
