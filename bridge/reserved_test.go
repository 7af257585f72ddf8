package bridge

import (
	"slices"
	"testing"

	"ipmbd/ipmi"
)

// layouts are requests to the bridge. For each byte there are the values that are not reserved and
// can be had here; nil stands for any.
var layouts = []struct {
	netFn   ipmi.NetFn
	command ipmi.Command
	data    string
	allowed [][]byte
}{
	{ipmi.NetFnSensor, 0x00, "20 00", [][]byte{append(even(), 0xFF), upTo(3)}},
	{ipmi.NetFnSensor, 0x02, "41 04 01 30 01 57 60 5F", [][]byte{nil, {3, 4}, nil, nil, nil, nil, nil, nil}},
	// Bit 4 is reserved, but firmware sets it: it is ignored.
	{ipmi.NetFnApp, 0x2E, "08", [][]byte{nil}},
	{ipmi.NetFnApp, 0x30, "0B", [][]byte{without(0x14)}},
	// A host and a channel 0 with a bus; channel 1 has a bus as well, and 0Eh is the host's own.
	{ipmi.NetFnApp, 0x32, "00 02", [][]byte{{0, 1}, upTo(2)}},
	{ipmi.NetFnApp, 0x34, "00 2C 18 BC 20 16 01 C9", [][]byte{{0x00, 0x01, 0x40, 0x41}, nil, nil, nil, nil, nil, nil, nil}},
	{ipmi.NetFnApp, 0x42, "0E", [][]byte{{0, 1, 0x0E, 0x0F}}},
}

func upTo(last byte) (all []byte) {
	for value := range last + 1 {
		all = append(all, value)
	}
	return all
}

func even() (all []byte) {
	for value := range 128 {
		all = append(all, byte(2*value))
	}
	return all
}

// without are the values without any of some bits.
func without(bits byte) (all []byte) {
	for value := range 256 {
		if byte(value)&bits == 0 {
			all = append(all, byte(value))
		}
	}
	return all
}

// TestReservedBitsAndValues sets each byte of each command to each value in turn: a reserved one is
// refused with CCh, another one is not.
func TestReservedBitsAndValues(t *testing.T) {
	var cases int
	walked := make(map[ipmi.Commands]bool)
	for _, l := range layouts {
		walked[ipmi.Commands{NetFn: l.netFn, Command: l.command}] = true
		for i, allowed := range l.allowed {
			if allowed == nil {
				continue
			}
			story(t, ipmi.CommandName(l.netFn, l.command), func(t *testing.T, w *world) {
				for value := range 256 {
					data := octets(l.data)
					if len(data) != len(l.allowed) {
						t.Fatalf("%d bytes, values of %d", len(data), len(l.allowed))
					}
					data[i] = byte(value)
					code := ipmi.CompletionCode(w.asks(l.netFn, l.command, data...)[0])
					w.asks(ipmi.NetFnApp, 0x30, 0x0B) // makes room in the queue
					if isReserved := !slices.Contains(allowed, byte(value)); isReserved != (code == ipmi.CodeInvalidField) {
						t.Errorf("%02Xh % X: %v, reserved %t", uint8(l.command), data, code, isReserved)
					} else if isReserved {
						cases++
					}
				}
			})
		}
	}
	for _, c := range commands {
		if c.max > 0 && !walked[ipmi.Commands{NetFn: c.netFn, Command: c.command}] {
			t.Errorf("netFn %02Xh command %02Xh has no layout", uint8(c.netFn), uint8(c.command))
		}
	}
	t.Logf("%d requests with a reserved bit or value", cases)
}
