package bridge

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestSendMessageAndGetMessage(t *testing.T) {
	story(t, "the bytes of the book", func(t *testing.T, w *world) {
		is(t, "Send Message", w.sends(0x00, octets("2C 18 BC 20 16 01 C9")), "00")
		is(t, "flags", w.flags(), "00 01")
		is(t, "Get Message", w.fetches(), "00 00 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
		is(t, "Get Message", w.fetches(), "80")
		is(t, "flags", w.flags(), "00 00")
	})

	story(t, "the other bus is another channel", func(t *testing.T, w *world) {
		is(t, "Send Message", w.sends(0x01, getDeviceID(me, 5)), "00")
		is(t, "Get Message", w.fetches(), "00 01 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
		if n := len(w.bus0.requests()); n != 0 {
			t.Errorf("%d requests on the first bus", n)
		}
	})

	story(t, "a broadcast Get Device ID", func(t *testing.T, w *world) {
		is(t, "Send Message", w.sends(0x00, octets("00 2C 18 BC 20 16 01 C9")), "00")
		heard := w.bus0.requests()
		if len(heard) == 0 || !bytes.HasPrefix(heard[0], octets("00 2C 18 BC 20")) {
			t.Errorf("on the bus % X", heard)
		}
		is(t, "Get Message", w.fetches(), "00 00 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
	})

	story(t, "tracked, the answer is the response", func(t *testing.T, w *world) {
		is(t, "Send Message", w.sends(0x40, octets("2C 18 BC 20 16 01 C9")),
			"00 20 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
		is(t, "flags", w.flags(), "00 00")
		is(t, "Get Message", w.fetches(), "80")
	})

	story(t, "every number is the engine's on the bus and the host's in the answer", func(t *testing.T, w *world) {
		for n := range 10 { // the host uses one number again and again
			is(t, "Send Message", w.sends(0x00, bridged(me, 9, ipmi.NetFnApp, ipmi.Command(n))), "00")
		}
		var numbers []uint8
		for _, b := range w.bus0.requests() {
			numbers = append(numbers, b[4]>>2)
		}
		if slices.Sort(numbers); len(slices.Compact(numbers)) != 10 {
			t.Errorf("numbers on the bus %v", numbers)
		}
		for n := range 10 {
			got := w.fetches()
			want := answerTo(request(me, 0, own, 9, ipmi.NetFnApp, ipmi.Command(n)), deviceID...)
			want.DestinationLUN = 2
			if !bytes.Equal(got[2:], want.Append(nil)[1:]) {
				t.Errorf("message %d: % X", n, got)
			}
		}
	})

	story(t, "from a bus, to the bus's own queue", func(t *testing.T, w *world) {
		sent := w.bus0.asks(t, 1, ipmi.NetFnApp, commandSendMessage, append([]byte{0x01}, getDeviceID(me, 5)...)...)
		if sent.Code != ipmi.CodeOK || len(sent.Data) != 0 {
			t.Errorf("Send Message: %+v", sent)
		}
		is(t, "Get Message of the host", w.fetches(), "80")
		got := w.bus0.asks(t, 2, ipmi.NetFnApp, 0x33)
		is(t, "Get Message of the node", got.Data, "01 1E C2 2C 14 01 00 50 01 04 00 02 21 57 01 00 0B 0B D9")
	})

	story(t, "a channel that does not say bridge passes these commands on", func(t *testing.T, w *world) {
		for _, p := range Patterns(ipmi.AllChannels) {
			if p.NetFn != ipmi.NetFnApp {
				continue
			}
			for lun := range ipmi.MaxLUN + 1 {
				f := request(own, lun, node, uint8(p.Command)&0x3F, p.NetFn, p.Command, 0)
				w.bus1.says(t, f)
				if got := w.bus1.hears(t); got.Code != ipmi.CodeInvalidCommand {
					t.Errorf("%v: %v", p, got.Code)
				}
			}
		}
	})
}

func TestSendMessageRefused(t *testing.T) {
	flipped := func(at int) []byte {
		f := getDeviceID(me, 5)
		f[at] ^= 0x10
		return f
	}
	nested := func(depth int) []byte {
		f := getDeviceID(me, 5)
		for range depth {
			f = bridged(me, 5, ipmi.NetFnApp, commandSendMessage, append([]byte{0x00}, f...)...)
		}
		return f
	}
	for _, c := range []struct {
		name  string
		head  byte
		frame []byte
		want  string
	}{
		{"no message", 0x00, nil, "C7"},
		{"a message that is too short", 0x00, octets("2C 18 BC 20 16 01"), "C7"},
		{"a broadcast that is too short", 0x00, octets("00 2C 18 BC 20 16 01"), "CC"},
		{"a response that is too short", 0x00, octets("2C 1C B8 20 16 01 C9"), "CC"},
		{"unknown channel", 0x07, getDeviceID(me, 5), "CC"},
		{"the host's own channel", 0x0F, getDeviceID(me, 5), "CC"},
		{"this channel, which is no bus", 0x0E, getDeviceID(me, 5), "CC"},
		{"authenticated", 0x10, getDeviceID(me, 5), "CC"},
		{"encrypted", 0x20, getDeviceID(me, 5), "CC"},
		{"raw", 0x80, getDeviceID(me, 5), "CC"},
		{"reserved tracking", 0xC0, getDeviceID(me, 5), "CC"},
		{"wrong header checksum", 0x00, flipped(2), "CC"},
		{"wrong body checksum", 0x00, flipped(6), "CC"},
		{"an odd address", 0x00, ipmb.Frame{Destination: 0x2D, NetFn: 6, Source: own, Command: 1}.Append(nil), "CC"},
		{"a broadcast of another command", 0x00, append([]byte{0}, bridged(me, 5, ipmi.NetFnApp, 2)...), "CC"},
		{"nobody there", 0x00, getDeviceID(absent, 5), "83"},
		{"nobody there, tracked", 0x40, getDeviceID(absent, 5), "83"},
		{"ourselves", 0x00, getDeviceID(own, 5), "83"},
		{"silence, tracked", 0x40, getDeviceID(silent, 5), "C3"},
		{"longer than a frame of the bus", 0x00, bridged(me, 5, ipmi.NetFnApp, 1, make([]byte, 300)...), "C8"},
		{"three in each other", 0x00, nested(2), "00"},
		{"four in each other", 0x00, nested(3), "CC"},
	} {
		story(t, c.name, func(t *testing.T, w *world) {
			is(t, "Send Message", w.sends(c.head, c.frame), c.want)
			w.bridge.mu.Lock()
			defer w.bridge.mu.Unlock()
			if c.want != "00" && w.host.queue.reserved != 0 {
				t.Errorf("%d places are kept", w.host.queue.reserved)
			}
		})
	}

	story(t, "no data at all", func(t *testing.T, w *world) {
		is(t, "Send Message", w.asks(ipmi.NetFnApp, commandSendMessage), "C7")
	})

	story(t, "a bus that is down", func(t *testing.T, w *world) {
		closed := w.bridge.NewInterface(InterfaceConfig{Name: "bus2", Channel: 2, Medium: MediumIPMB})
		w.bridge.Add(closed, busOf(ipmb.New(ipmb.Config{})))
		is(t, "Send Message", w.sends(0x02, getDeviceID(me, 5)), "D3")
		w.bridge.Remove(closed)
		is(t, "Send Message", w.sends(0x02, getDeviceID(me, 5)), "CC")
	})
}

func TestUntrackedIsAnsweredAtAcceptance(t *testing.T) {
	story(t, "though the responder takes its time", func(t *testing.T, w *world) {
		begin := time.Now()
		is(t, "Send Message", w.sends(0x00, getDeviceID(silent, 5)), "00")
		if took := time.Since(begin); took > 10*ms {
			t.Errorf("it took %v", took)
		}
		is(t, "flags", w.flags(), "00 00")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		is(t, "Get Message", w.fetches(), "80")
		if got := w.host.Statistics()["bridged-unanswered"]; got != 1 || w.host.queue.reserved != 0 {
			t.Errorf("%d unanswered, %d places kept", got, w.host.queue.reserved)
		}
	})

	story(t, "and nobody there is known within milliseconds", func(t *testing.T, w *world) {
		begin := time.Now()
		is(t, "Send Message", w.sends(0x00, getDeviceID(absent, 5)), "83")
		if took := time.Since(begin); took > 10*ms {
			t.Errorf("it took %v", took)
		}
	})
}

func TestABridgedRequestRunsAsLongAsItsRetries(t *testing.T) {
	story(t, "longer than other requests may", func(t *testing.T, w *world) {
		w.bus1.engine.SetRetryPolicy(ipmb.RetryPolicy{Tries: 4, Timeout: 3 * time.Second})
		frame := append([]byte{0x41}, getDeviceID(silent, 5)...)
		w.bus0.says(t, request(own, 0, node, 1, ipmi.NetFnApp, commandSendMessage, frame...))
		// Others of the same channel are served meanwhile.
		for n := range 100 {
			if got := w.bus0.asks(t, uint8(2+n%60), ipmi.NetFnApp, 0x31); got.Code != ipmi.CodeOK {
				t.Fatalf("Get Message Flags %d: %v", n, got.Code)
			}
			time.Sleep(100 * ms)
		}
		begin := time.Now()
		got := w.bus0.hears(t)
		if waited := time.Since(begin); got.Sequence != 1 || got.Code != ipmi.CodeTimeout || waited < 1900*ms || waited > 2100*ms {
			t.Errorf("answered %v after another %v", got.Code, waited)
		}
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	story(t, "with 20 messages in it", func(t *testing.T, w *world) {
		for n := range maxMessages {
			is(t, fmt.Sprint("Send Message ", n), w.sends(0x00, bridged(me, uint8(n), ipmi.NetFnApp, 1)), "00")
		}
		is(t, "one more", w.sends(0x00, getDeviceID(me, 30)), "C0")
		if n := len(w.bus0.requests()); n != maxMessages {
			t.Errorf("%d requests on the bus", n)
		}
		w.fetches()
		is(t, "with room again", w.sends(0x00, getDeviceID(me, 30)), "00")
	})

	story(t, "a place is kept for what is on its way", func(t *testing.T, w *world) {
		for n := range maxMessages {
			is(t, "Send Message", w.sends(0x00, bridged(silent, uint8(n), ipmi.NetFnApp, 1)), "00")
		}
		is(t, "one more", w.sends(0x00, getDeviceID(me, 30)), "C0")
		time.Sleep(2 * time.Second)
		is(t, "when they have timed out", w.sends(0x00, getDeviceID(me, 30)), "00")
	})

	story(t, "messages expire", func(t *testing.T, w *world) {
		is(t, "Send Message", w.sends(0x00, getDeviceID(me, 5)), "00")
		time.Sleep(3 * time.Second)
		is(t, "Send Message", w.sends(0x00, getDeviceID(me, 6)), "00")
		time.Sleep(2001 * ms)
		got := w.fetches()
		if len(got) < 6 || got[5]>>2 != 6 {
			t.Errorf("Get Message: % X, want the younger one", got)
		}
		is(t, "Get Message", w.fetches(), "80")
	})
}

// Two of our buses on one wire: a message sent on one is received on the other.
func TestALoopBetweenChannelsEnds(t *testing.T) {
	story(t, "each turn unwraps a message, until there is none", func(t *testing.T, w *world) {
		const twin ipmi.Address = 0x22 // of the second bus, on the wire of the first
		transport, err := w.bus0.wire.Attach(uint8(twin))
		if err != nil {
			t.Fatal(err)
		}
		loop := w.bridge.NewInterface(InterfaceConfig{Name: "bus2", Channel: 2, Medium: MediumIPMB, Bridged: true})
		engine := ipmb.New(ipmb.Config{
			Address: twin, Interface: "bus2", Channel: 2,
			Handler: loop.Handler(nobody), BridgeTimeout: loop.BridgeTimeout, UnsolicitedResponse: loop.UnsolicitedResponse,
		})
		w.bridge.Add(loop, busOf(engine))
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		running.Go(func() { _ = engine.Run(ctx, transport) })
		synctest.Wait()

		// Through channel 0 to the second bus, from there through channel 2 to the first, and
		// through channel 0 to the responder.
		last := append([]byte{0x40}, getDeviceID(me, 5)...)
		back := append([]byte{0x42}, bridged(own, 6, ipmi.NetFnApp, commandSendMessage, last...)...)
		there := bridged(twin, 7, ipmi.NetFnApp, commandSendMessage, back...)
		got := w.sends(0x40, there)
		if !bytes.Contains(got, deviceID) {
			t.Errorf("three turns: % X", got)
		}
		is(t, "four turns", w.sends(0x42, bridged(own, 8, ipmi.NetFnApp, commandSendMessage, append([]byte{0x40}, there...)...)), "CC")
	})
}

func TestAnAnswerTooLongForTheHost(t *testing.T) {
	long := make([]byte, 200)
	story(t, "says so in the response", func(t *testing.T, w *world) {
		w.host.config.MaxData = func() int { return 64 }
		w.bus0.respond(t, 0x50, func(request ipmb.Frame) []ipmb.Frame { return []ipmb.Frame{answerTo(request, long...)} })
		is(t, "Send Message", w.sends(0x00, getDeviceID(0x50, 5)), "00")
		want := answerTo(request(0x50, 0, own, 5, ipmi.NetFnApp, 1))
		want.DestinationLUN, want.Code = 2, ipmi.CodeNoResponse
		if got := w.fetches(); !bytes.Equal(got[2:], want.Append(nil)[1:]) {
			t.Errorf("Get Message: % X", got)
		}
	})
}

// A message that was refused for lack of room is served when it comes again, as after every other
// C0h.
func TestSendMessageAgainAfterC0(t *testing.T) {
	story(t, "with room", func(t *testing.T, w *world) {
		for n := range uint8(maxMessages) {
			w.bus0.asks(t, n, ipmi.NetFnApp, commandSendMessage, append([]byte{0x01}, getDeviceID(me, n)...)...)
		}
		again := append([]byte{0x01}, getDeviceID(me, 40)...)
		if got := w.bus0.asks(t, 40, ipmi.NetFnApp, commandSendMessage, again...); got.Code != ipmi.CodeNodeBusy {
			t.Fatal(got)
		}
		w.bus0.asks(t, 41, ipmi.NetFnApp, 0x33)
		if got := w.bus0.asks(t, 40, ipmi.NetFnApp, commandSendMessage, again...); got.Code != ipmi.CodeOK {
			t.Errorf("with room again: %v", got.Code)
		}
	})
}

// Table 22-8: the first checksum of a message in the queue is as if its destination were 20h.
func TestChecksumAtAnotherOwnAddress(t *testing.T) {
	for _, to := range []ipmi.Address{own, 0x22, 0x8E} {
		ask, answer := request(to, 2, node, 7, 0x30, 0x11, 7), answerTo(request(me, 0, to, 5, ipmi.NetFnApp, 1), deviceID...)
		for _, f := range []ipmb.Frame{ask, answer} {
			story(t, fmt.Sprintf("%v, netFn %02Xh", to, uint8(f.NetFn)), func(t *testing.T, w *world) {
				w.bridge.mu.Lock()
				w.host.enqueue(newMessage(w.bus0.Interface, f))
				w.bridge.mu.Unlock()
				f.Destination = 0x20
				if got, want := w.fetches(), f.Append(nil); !bytes.Equal(got[2:], want[1:]) {
					t.Errorf("Get Message % X, want % X", got[2:], want[1:])
				}
			})
		}
	}
}
