package e2e

import (
	"bytes"
	"net"
	"testing"

	"ipmbd/internal/bustest"
)

// TestFailureOnTheFrameSocketNamesItsRequest: a client with several requests in flight
// knows which one has failed: a message of failure has the first six bytes of the
// request's frame after index and status.
func TestFailureOnTheFrameSocketNamesItsRequest(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, respond)
	narrow := listen(t, "ipmb-7")
	narrow.respond(0x2C, respond)
	config, path := withFrames(t, channels(
		channel(n, object{"timeout-ms": 200, "tries": 1}),
		channel(newNode(t, "ipmb-6"), object{"devIndex": 1}),
		channel(narrow, object{"devIndex": 2, "timeout-ms": 60000, "tries": 1, "max-calls": 1})))
	start(t, bus.Address, config)
	conn, err := net.Dial("unixpacket", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	awake(t, conn)
	const there, down, full, none = 1, 5, 9, 77
	request := func(number byte, data ...byte) packet {
		return packet{to: 0x2C, netFn: 0x30, from: 0x81, number: number, fromLUN: 3, toLUN: 1, cmd: 0x40 + number, data: data}
	}
	send := func(index byte, p packet) []byte {
		frame := p.bytes()
		if _, err := conn.Write(append([]byte{index}, frame...)); err != nil {
			t.Fatal(err)
		}
		return frame[:6]
	}
	want := make(map[string]byte) // status by index and frame
	expect := func(index, status byte, p packet) { want[string(append([]byte{index}, send(index, p)...))] = status }

	for number := range byte(4) { // in flight until they time out
		expect(there, 4, request(number, number))
		receive(t, "the request", asked)
	}
	send(full, request(9))
	receive(t, "the request", asked)
	expect(full, 3, request(10))                        // over the limit of the bus
	expect(down, 4, request(11))                        // a bus that is down
	expect(none, 2, request(12))                        // no bus
	expect(there, 1, request(13, make([]byte, 300)...)) // longer than a frame of the bus
	odd := request(14)
	odd.netFn++
	expect(there, 2, odd) // a response

	for range len(want) {
		b := make([]byte, 2048)
		size, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[:size]
		if size != 2+6 {
			t.Errorf("a message of failure: % X, not index, status and six bytes", b)
			continue
		}
		key := string(append([]byte{b[0]}, b[2:]...))
		status, ok := want[key]
		if !ok || status != b[1] {
			t.Errorf("% X: status %d; expected %v, status %d", b, b[1], ok, status)
		}
		delete(want, key)
	}
	for key := range want {
		t.Errorf("no message of failure for % X", key)
	}
	// An answer is as it was.
	n.respond(0x2C, echo)
	answer := make([]byte, 2048)
	good := request(20, 1, 2)
	send(there, good)
	size, err := conn.Read(answer)
	if want := append([]byte{there, 0}, good.answer(0, 1, 2).bytes()...); err != nil || !bytes.Equal(answer[:size], want) {
		t.Errorf("% X, %v, want % X", answer[:size], err, want)
	}
}
