package e2e

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/test/hostd"
)

// event is the i-th event of a burst, which are all of one sensor type.
func (b *burst) event(i int) []byte {
	return []byte{4, 1, byte(i), 1, 0x57, byte(b.number >> 8), byte(b.number)}
}

// eventTag is the tag of the i-th message, given the i-th event: place reads it.
func (b *burst) eventTag(event []byte) []byte {
	if len(event) != 7 || !slices.Equal(event[5:], b.event(0)[5:]) {
		return nil
	}
	return b.tag(int(event[2]))
}

// platformEvents are events of one satellite. The answers, the signals and the log all keep their
// order.
func (o *orderBoard) platformEvents(t testing.TB, b *burst) []sighting {
	t.Helper()
	o.clearLog(t)
	numbers := o.asks(b, o.events, func(i int) packet {
		return packet{to: 0x20, netFn: 4, from: 0x2C, cmd: 2, data: b.event(i)}
	})
	signalled := func(what string, from <-chan *dbus.Signal, argument int) sighting {
		return sighting{what, b.sent(), b.places(b.size, func() []byte {
			return b.eventTag(receive(t, "the signal "+what, from).Body[argument].([]byte))
		})}
	}
	return []sighting{
		{"answers on the bus", b.sent(), o.answersTo(t, b, o.events, 5, numbers)},
		signalled("PlatformEvent", o.platform, 3),
		signalled("ReceivedMessage", o.received, 5),
		signalled("receiveBroadcast", o.observed, 2),
		{"the event log", b.sent(), o.logged(t, b)},
	}
}

// storage has the built-in BMC answer a request of netFn 0Ah.
func (o *orderBoard) storage(t testing.TB, cmd byte, data ...byte) []byte {
	t.Helper()
	code, answer := answered(t, o.client.call(basePath, router+".SendStorageRequest", cmd, append([]byte{}, data...)))
	if code != 0 {
		t.Fatalf("0Ah/%02Xh: %02Xh", cmd, code)
	}
	return answer
}

// clearLog erases the event log.
func (o *orderBoard) clearLog(t testing.TB) {
	t.Helper()
	reservation := o.storage(t, 0x42)
	o.storage(t, 0x47, append(reservation, 'C', 'L', 'R', 0xAA)...)
}

// logged are the places of a burst's events in the event log.
func (o *orderBoard) logged(t testing.TB, b *burst) (order []int) {
	t.Helper()
	eventually(t, "all events in the log", func() bool {
		return int(binary.LittleEndian.Uint16(o.storage(t, 0x40)[1:])) == b.size
	})
	next := []byte{0, 0}
	return b.places(b.size, func() []byte {
		answer := o.storage(t, 0x43, 0, 0, next[0], next[1], 0, 0xFF)
		next = answer[:2]
		return b.eventTag(answer[2+9:])
	})
}

// hostRequests are requests that the host daemon answers at once.
func (o *orderBoard) hostRequests(t testing.TB, b *burst) []sighting {
	t.Helper()
	s := o.executed(t, b, o.toHost, o.host)
	return append(s, sighting{"ReceivedMessage", b.sent(), b.places(b.size, func() []byte {
		return receive(t, "the signal ReceivedMessage", o.received).Body[5].([]byte)
	})})
}

// handlerRequests are requests that a registered handler answers at once.
func (o *orderBoard) handlerRequests(t testing.TB, b *burst) []sighting {
	t.Helper()
	return o.executed(t, b, o.toHandler, o.handler)
}

// executed are requests of a node that a program executes and answers at once.
func (o *orderBoard) executed(t testing.TB, b *burst, n *node, program *hostd.Daemon) []sighting {
	t.Helper()
	numbers := o.asks(b, n, func(i int) packet {
		return packet{to: 0x20, netFn: hostd.NetFn, from: 0x2C, cmd: hostd.CommandEcho, data: b.tag(i)}
	})
	executed := b.places(b.size, func() []byte { return program.Next(t).Data })
	return []sighting{
		{"execute", b.sent(), executed},
		{"answers on the bus", b.sent(), o.answersTo(t, b, n, hostd.NetFn|1, numbers)},
	}
}

// queuedRequests are requests to LUN 2, which the machine takes from its receive
// queue.
func (o *orderBoard) queuedRequests(t testing.TB, b *burst) []sighting {
	t.Helper()
	awake(t, o.machine.conn)
	o.asks(b, o.events, func(i int) packet {
		return packet{to: 0x20, toLUN: 2, netFn: 0x30, from: 0x2C, cmd: 1, data: b.tag(i)}
	})
	const head = 7 // completion code, channel, header to command
	fetched := b.places(b.size, func() []byte { return o.machine.fetch()[head:] })
	return []sighting{{"the receive queue", b.sent(), fetched}}
}

// machineRequests are requests of a machine that a handler answers at once.
func (o *orderBoard) machineRequests(t testing.TB, b *burst) []sighting {
	t.Helper()
	awake(t, o.machine.conn)
	first := o.machine.seq + 1
	b.each(func(i int) { o.machine.sends(hostd.NetFn, hostd.CommandEcho, b.tag(i)...) })
	executed := b.places(b.size, func() []byte { return o.handler.Next(t).Data })
	return []sighting{{"execute", b.sent(), executed}, {"answers to the machine", b.sent(), o.machine.answersFrom(first, b.size)}}
}
