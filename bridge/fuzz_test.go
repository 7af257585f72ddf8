package bridge

import (
	"bytes"
	"testing"

	"ipmbd/ipmi"
)

// Host software may send any bytes; an accepted message is written as it came.
func FuzzParseMessage(f *testing.F) {
	for _, seed := range [][]byte{
		nil,
		getDeviceID(me, 5),
		append([]byte{0}, getDeviceID(me, 5)...),
		bridged(me, 63, 0x3E, 0xFF, make([]byte, 40)...),
		bridged(me, 1, ipmi.NetFnApp, commandSendMessage, append([]byte{0x40}, getDeviceID(me, 5)...)...),
		octets("20 1E C2 2C 14 01 00 D3"),
		octets("00 00 00 00 00 00 00 00"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, code := parseMessage(b)
		if code != ipmi.CodeOK {
			return
		}
		again := m.Append(nil)
		if m.generalCall {
			again = append([]byte{0}, again...)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("% X became % X", b, again)
		}
		if depth(m.Frame) > maxDepth {
			t.Errorf("% X is too deep", b)
		}
	})
}
