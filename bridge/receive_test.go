package bridge

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// toHost is a request of the node to LUN 2 of ours.
func toHost(sequence uint8) ipmb.Frame {
	return request(own, 2, node, sequence, 0x30, 0x11, sequence)
}

func TestRequestsToLUN2AreHostSoftwares(t *testing.T) {
	story(t, "it fetches and answers them", func(t *testing.T, w *world) {
		w.bus0.says(t, toHost(7))
		is(t, "flags", w.flags(), "00 01")
		// netFn 30h to LUN 2, from 30h, number 7
		is(t, "Get Message", w.fetches(), "00 00 C2 1E 30 1C 11 07 9C")
		reply := answerTo(toHost(7), 0xAA, 0xBB).Append(nil)
		is(t, "Send Message", w.sends(0x00, reply), "00")
		if got := w.bus0.hears(t); string(got.Append(nil)) != string(reply) {
			t.Errorf("the node heard % X, want % X", got.Append(nil), reply)
		}
		is(t, "a second answer", w.sends(0x00, reply), "CF")
		w.bus0.says(t, toHost(7)) // a repeat
		if got := w.bus0.hears(t); string(got.Append(nil)) != string(reply) {
			t.Errorf("the node heard % X again, want % X", got.Append(nil), reply)
		}
		is(t, "Get Message", w.fetches(), "80")
	})

	story(t, "nobody fetches: C3h, and the message has gone", func(t *testing.T, w *world) {
		w.bus0.says(t, toHost(7))
		got := w.bus0.hears(t) // 5 s later
		if got.Code != ipmi.CodeTimeout || got.Sequence != 7 {
			t.Errorf("the node heard %+v", got)
		}
		is(t, "flags", w.flags(), "00 00")
		is(t, "Get Message", w.fetches(), "80")
	})

	story(t, "a full queue is busy", func(t *testing.T, w *world) {
		for n := range maxMessages {
			w.bus0.says(t, toHost(uint8(n)))
		}
		w.bus0.says(t, toHost(40))
		if got := w.bus0.hears(t); got.Code != ipmi.CodeNodeBusy || got.Sequence != 40 {
			t.Errorf("the node heard %+v", got)
		}
		w.fetches()
		w.bus0.says(t, toHost(40)) // its requester tries again
		is(t, "Clear Message Flags", w.asks(ipmi.NetFnApp, 0x30, 0x01), "00")
		is(t, "flags", w.flags(), "00 00")
		if got := w.host.Statistics(); got["messages-refused"] != 1 || got["messages-cleared"] != maxMessages {
			t.Errorf("counted %v", got)
		}
	})

	story(t, "a message too long to be fetched", func(t *testing.T, w *world) {
		w.host.config.MaxData = func() int { return 8 }
		w.bus0.says(t, toHost(7))
		w.bus0.says(t, request(own, 2, node, 8, 0x30, 0x11, 1, 2))
		if got := w.bus0.hears(t); got.Code != ipmi.CodeLengthExceeded || got.Sequence != 8 {
			t.Errorf("the node heard %+v", got)
		}
		is(t, "flags", w.flags(), "00 01")
	})

	story(t, "a bus without a host keeps them itself", func(t *testing.T, w *world) {
		w.bridge.Remove(w.host)
		w.bus0.says(t, toHost(7))
		got := w.bus0.asks(t, 8, ipmi.NetFnApp, 0x33)
		is(t, "Get Message", got.Data, "00 C2 1E 30 1C 11 07 9C")
	})

	story(t, "a host gets those of its own buses", func(t *testing.T, w *world) {
		w.bus0.config.Host = 3
		w.bus0.says(t, toHost(7))
		is(t, "Get Message of another host", w.fetches(), "80")
	})
}

func TestEnableMessageChannelReceive(t *testing.T) {
	story(t, "turns a channel off and on", func(t *testing.T, w *world) {
		receive := func(channel, state byte) []byte { return w.asks(ipmi.NetFnApp, 0x32, channel, state) }
		is(t, "at first", receive(0x00, 2), "00 00 01")
		is(t, "off", receive(0x00, 0), "00 00 00")
		w.bus0.says(t, toHost(7))
		if got := w.bus0.hears(t); got.Code != ipmi.CodeDestinationGone {
			t.Errorf("the node heard %+v", got)
		}
		is(t, "answers are not meant", w.sends(0x00, getDeviceID(me, 5)), "00")
		is(t, "flags", w.flags(), "00 01")
		is(t, "another channel", receive(0x01, 2), "00 01 01")
		is(t, "on", receive(0x00, 1), "00 00 01")
		w.bus0.says(t, toHost(8))
		is(t, "flags", w.flags(), "00 01")
		is(t, "a reserved state", receive(0x00, 3), "CC")
		is(t, "an unknown channel", receive(0x07, 2), "CC")
		is(t, "no bus", receive(0x0F, 2), "CC")
	})
}

func TestUnsolicitedResponses(t *testing.T) {
	story(t, "to LUN 2 go to the queue, those of bridged requests do not", func(t *testing.T, w *world) {
		unsolicited := answerTo(request(node, 0, own, 9, ipmi.NetFnApp, 0x01), 0x77)
		unsolicited.DestinationLUN = 2
		w.bus0.says(t, unsolicited)
		is(t, "Get Message", w.fetches(), "00 00 1E C2 30 24 01 00 77 34")
		// The node answers a bridged request three times.
		w.bus0.respond(t, 0x50, func(request ipmb.Frame) []ipmb.Frame {
			once := answerTo(request, 1)
			return []ipmb.Frame{once, once, once}
		})
		is(t, "Send Message", w.sends(0x00, getDeviceID(0x50, 5)), "00")
		w.fetches()
		is(t, "Get Message", w.fetches(), "80")
	})
}

// attended is the attention with everything set.
var attended = ipmi.Attention{Raised: true, Interrupt: true, Interrupts: true}

func TestAttentionIsWhatTheQueueHolds(t *testing.T) {
	story(t, "raised, and cleared by whatever empties it", func(t *testing.T, w *world) {
		expect := func(what string, want ...ipmi.Attention) {
			t.Helper()
			synctest.Wait()
			if fmt.Sprint(w.attention) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", what, w.attention, want)
			}
			w.attention = nil
		}
		w.sends(0x00, getDeviceID(me, 5))
		expect("a response", ipmi.Attention{Raised: true})
		w.asks(ipmi.NetFnApp, 0x2E, 0x09)
		expect("interrupts enabled", attended)
		quiet := ipmi.Attention{Interrupts: true}
		w.sends(0x00, getDeviceID(me, 6))
		w.fetches()
		expect("one of two fetched")
		w.fetches()
		expect("both fetched", quiet)
		w.sends(0x00, getDeviceID(me, 7))
		w.asks(ipmi.NetFnApp, 0x30, 0x01)
		expect("cleared", attended, quiet)
		w.sends(0x00, getDeviceID(me, 8))
		time.Sleep(queueTime + time.Second)
		expect("expired", attended, quiet)
	})
}

func TestGlobalEnables(t *testing.T) {
	story(t, "are read as they were set", func(t *testing.T, w *world) {
		is(t, "at first", w.asks(ipmi.NetFnApp, 0x2F), "00 08")
		is(t, "set", w.asks(ipmi.NetFnApp, 0x2E, 0xFF), "00")
		is(t, "but for the reserved bit", w.asks(ipmi.NetFnApp, 0x2F), "00 EF")
		is(t, "without data", w.asks(ipmi.NetFnApp, 0x2E), "C7")
		is(t, "too many data", w.asks(ipmi.NetFnApp, 0x2F, 0), "C7")
	})
}

func TestChannelInfo(t *testing.T) {
	story(t, "of each channel", func(t *testing.T, w *world) {
		info := func(channel byte) []byte { return w.asks(ipmi.NetFnApp, 0x42, channel) }
		is(t, "channel 0", info(0x00), "00 00 01 01 00 F2 1B 00 00 00")
		is(t, "channel 1", info(0x01), "00 01 01 01 00 F2 1B 00 00 00")
		is(t, "the system interface", info(0x0F), "00 0F 0C 05 00 F2 1B 00 FF FF")
		w.bridge.Add(w.bridge.NewInterface(InterfaceConfig{Name: "lan", Channel: 3, Medium: MediumLAN, Protocol: ProtocolIPMB}), nil)
		is(t, "the LAN has sessions", info(0x03), "00 03 04 01 80 F2 1B 00 00 00")
		is(t, "this channel", info(0x0E), "00 0F 0C 05 00 F2 1B 00 FF FF")
		is(t, "no channel", info(0x02), "CC")
		is(t, "reserved bits", info(0x10), "CC")
		is(t, "no data", w.asks(ipmi.NetFnApp, 0x42), "C7")
		got := w.bus0.asks(t, 1, ipmi.NetFnApp, 0x42, 0x0E)
		is(t, "this channel from a bus", got.Data, "00 01 01 00 F2 1B 00 00 00")
	})
}

// The node has given up its first request and uses the number again. Host
// software answers the first, the only one that it has fetched.
func TestAnAnswerToAnEarlierRequestIsNotTheLaterOnes(t *testing.T) {
	story(t, "superseded", func(t *testing.T, w *world) {
		first, second := toHost(7), toHost(7)
		second.Data = []byte{0x55}
		w.bus0.says(t, first)
		w.fetches()
		time.Sleep(2 * time.Second)
		w.bus0.says(t, second)
		w.sends(0x00, answerTo(first, 0x11).Append(nil))
		w.fetches()
		w.sends(0x00, answerTo(second, 0x22).Append(nil))
		if got := w.bus0.hears(t); got.Data[0] != 0x22 {
			t.Errorf("the second request is answered % X", got.Data)
		}
	})
	story(t, "after its C3h", func(t *testing.T, w *world) {
		w.bus0.says(t, toHost(7))
		w.fetches()
		if got := w.bus0.hears(t); got.Code != ipmi.CodeTimeout {
			t.Fatal(got)
		}
		time.Sleep(6 * time.Second)
		w.bus0.says(t, toHost(7)) // a new one
		w.sends(0x00, answerTo(toHost(7), 0x11).Append(nil))
		w.fetches()
		w.sends(0x00, answerTo(toHost(7), 0x22).Append(nil))
		if got := w.bus0.hears(t); got.Data[0] != 0x22 {
			t.Errorf("the second request is answered % X", got.Data)
		}
	})
}

func TestPreTimeoutOfTheWatchdogIsAFlag(t *testing.T) {
	story(t, "until the host has cleared it", func(t *testing.T, w *world) {
		w.host.config.ClearPreTimeout = func() { w.host.SetPreTimeout(false) }
		w.asks(ipmi.NetFnApp, 0x2E, 0x01)
		synctest.Wait()
		w.attention = nil
		w.host.SetPreTimeout(true)
		is(t, "flags", w.flags(), "00 08")
		is(t, "clear another one", w.asks(ipmi.NetFnApp, 0x30, 0x03), "00")
		is(t, "flags", w.flags(), "00 08")
		is(t, "clear", w.asks(ipmi.NetFnApp, 0x30, 0x08), "00")
		is(t, "flags", w.flags(), "00 00")
		want := []ipmi.Attention{attended, {Interrupts: true}}
		if fmt.Sprint(w.attention) != fmt.Sprint(want) {
			t.Errorf("attention %v, want %v", w.attention, want)
		}
	})
}
