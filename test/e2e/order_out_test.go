package e2e

import (
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"
)

// calls are calls of one client on D-Bus, by all methods that send. The satellite
// sees the requests in the order of the calls; the client gets the answers in the
// order in which the satellite gives them.
func (o *orderBoard) calls(t testing.TB, b *burst) []sighting {
	t.Helper()
	done := make(chan *dbus.Call, b.size)
	places := make(map[*dbus.Call]int)
	send := func(i int) { places[o.call(b, i, done)] = i }
	if b.gap == 0 {
		o.cork.together(t, func() { b.each(send) })
	} else {
		b.each(send)
	}
	came, requests := o.arrived(t, b)
	given := o.answers(b, requests)
	var heard []int
	for range b.size {
		call := receive(t, "the end of a call of the burst", done)
		place := places[call]
		if requests[place].to != 0 {
			heard = append(heard, place)
		}
		succeeded(t, call)
	}
	return []sighting{{"the responder", b.sent(), came}, {"the caller", given, heard}}
}

// call makes the i-th call of a burst, by a method of the burst's choice.
func (o *orderBoard) call(b *burst, i int, done chan *dbus.Call) *dbus.Call {
	const netFn, cmd = byte(0x30), byte(1)
	path, method, args := busPath("bus5"), objectIface+".", []any(nil)
	switch b.random.IntN(4) {
	case 0:
		path, method = basePath, legacy+".sendRequest"
		args = []any{byte(satelliteIndex), netFn, byte(0), cmd, b.tag(i)}
	case 1:
		method += "sendRequest"
		args = []any{byte(0x2C), netFn, byte(0), cmd, b.tag(i)}
	case 2:
		method += "sendRequestWithOptions"
		o := map[string]dbus.Variant{"tries": dbus.MakeVariant(uint32(1))}
		args = []any{byte(0x2C), netFn, byte(0), cmd, b.tag(i), o}
	case 3:
		method += "sendBroadcast"
		args = []any{netFn, byte(0), cmd + 1, b.tag(i)}
	}
	return o.client.Object(service, path).Go(method, dbus.FlagNoAutoStart, done, args...)
}

// succeeded fails a test whose call has ended in another way.
func succeeded(t testing.TB, call *dbus.Call) {
	t.Helper()
	if call.Err != nil {
		t.Fatalf("%s: %v", call.Method, call.Err)
	}
	var a legacyAnswer
	if call.Method == legacy+".sendRequest" && (call.Store(&a) != nil || a.Status != 0) {
		t.Fatalf("%s: %v", call.Method, call.Body)
	}
}

// framePackets are packets of one client of the frame socket, as calls are calls.
func (o *orderBoard) framePackets(t testing.TB, b *burst) []sighting {
	t.Helper()
	awake(t, o.packets)
	b.each(func(i int) {
		p := packet{to: 0x2C, netFn: 0x30, from: 0x81, number: byte(i) & 63, cmd: 1, data: b.tag(i)}
		if _, err := o.packets.Write(append([]byte{satelliteIndex}, p.bytes()...)); err != nil {
			t.Fatal(err)
		}
	})
	came, requests := o.arrived(t, b)
	given := o.answers(b, requests)
	heard := b.places(b.size, func() []byte {
		answer := make([]byte, 2048)
		n, err := o.packets.Read(answer)
		if err != nil || n < 2 || answer[1] != 0 {
			t.Fatalf("a request of the burst: % X, %v", answer[:n], err)
		}
		return mustUnpack(t, answer[2:n]).data[1:]
	})
	return []sighting{{"the responder", b.sent(), came}, {"the client", given, heard}}
}

// sendMessages are Send Messages of a machine, and the answers in its receive queue.
func (o *orderBoard) sendMessages(t testing.TB, b *burst) []sighting {
	t.Helper()
	awake(t, o.machine.conn)
	first := o.machine.seq + 1
	b.each(func(i int) {
		p := packet{to: 0x2C, netFn: 0x30, from: 0x20, number: byte(i), fromLUN: 2, cmd: 1, data: b.tag(i)}
		o.machine.sends(6, sendMessage, slices.Concat([]byte{1}, p.bytes())...)
	})
	acknowledged := o.machine.answersFrom(first, b.size)
	came, requests := o.arrived(t, b)
	given := o.answers(b, requests)
	const head = 8 // completion code, channel, header to command, completion code
	fetched := b.places(b.size, func() []byte { return o.machine.fetch()[head:] })
	return []sighting{
		{"acknowledgements to the machine", b.sent(), acknowledged},
		{"the responder", b.sent(), came},
		{"the receive queue", given, fetched},
	}
}
