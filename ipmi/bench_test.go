package ipmi

import "testing"

// BenchmarkMux is the search for a request's handler: one that is registered among many, and the
// default of its interface.
func BenchmarkMux(b *testing.B) {
	var m Mux
	for command := range 64 {
		if _, err := m.Register("owner", answering(CodeOK), on(AllChannels, NetFnStorage, Command(command))); err != nil {
			b.Fatal(err)
		}
	}
	m.SetDefault("bus4", answering(CodeOK))
	for _, bench := range []struct {
		name string
		req  Request
	}{
		{"registered", Request{Interface: "bus4", NetFn: NetFnStorage, Command: 0x2A}},
		{"default", Request{Interface: "bus4", NetFn: NetFnApp, Command: CommandGetDeviceID}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			reply := ReplyFunc(func(_ Response, err error) bool {
				if err != nil {
					b.Fatal(err)
				}
				return true
			})
			b.ReportAllocs()
			for b.Loop() {
				m.ServeIPMI(&bench.req, reply)
			}
		})
	}
}
