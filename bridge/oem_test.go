package bridge

import (
	"bytes"
	"testing"
	"time"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// The faults of openbmc/intel-ipmi-oem's bridge (src/bridgingcommands.cpp), one case each with the
// right response.
func TestFaultsOfIntelIPMIOEM(t *testing.T) {
	story(t, "any channel that is a bus, each its own, not 1 and 6 for one", func(t *testing.T, w *world) {
		is(t, "channel 1", w.sends(0x01, getDeviceID(me, 5)), "00")
		is(t, "channel 6", w.sends(0x06, getDeviceID(me, 5)), "CC")
		is(t, "channel 0", w.sends(0x00, getDeviceID(me, 5)), "00")
		if a, b := len(w.bus0.requests()), len(w.bus1.requests()); a != 1 || b != 1 {
			t.Errorf("%d and %d requests", a, b)
		}
	})
	story(t, "any responder, not 2Ch alone", func(t *testing.T, w *world) {
		w.bus0.respond(t, 0x50, func(request ipmb.Frame) []ipmb.Frame { return []ipmb.Frame{answerTo(request, 1)} })
		is(t, "Send Message", w.sends(0x00, getDeviceID(0x50, 5)), "00")
	})
	story(t, "any command, no list of its own", func(t *testing.T, w *world) {
		is(t, "Master Write-Read", w.sends(0x00, bridged(me, 5, ipmi.NetFnApp, 0x52, 1, 2, 3)), "00")
		is(t, "an OEM command", w.sends(0x00, bridged(me, 6, 0x2E, 0xD9, 0x57, 1, 0)), "00")
	})
	story(t, "a field that is wrong is CCh, not C9h", func(t *testing.T, w *world) {
		is(t, "authenticated", w.sends(0x10, getDeviceID(me, 5)), "CC")
		is(t, "tracking", w.sends(0xC0, getDeviceID(me, 5)), "CC")
		broken := getDeviceID(me, 5)
		broken[6]++
		is(t, "checksum", w.sends(0x00, broken), "CC")
	})
	story(t, "how the bus refused it is said, not CEh or FFh", func(t *testing.T, w *world) {
		is(t, "nobody there", w.sends(0x40, getDeviceID(absent, 5)), "83")
		is(t, "silence", w.sends(0x40, getDeviceID(silent, 5)), "C3")
	})
	story(t, "the answer of an untracked one is empty, not 264 zeros", func(t *testing.T, w *world) {
		is(t, "Send Message", w.sends(0x00, getDeviceID(me, 5)), "00")
	})
	story(t, "an untracked one does not wait for the responder", func(t *testing.T, w *world) {
		begin := time.Now()
		w.sends(0x00, getDeviceID(silent, 5))
		if took := time.Since(begin); took > 10*ms {
			t.Errorf("it took %v", took)
		}
	})
	story(t, "Get Message from any interface, each its own queue", func(t *testing.T, w *world) {
		w.bus0.asks(t, 1, ipmi.NetFnApp, commandSendMessage, append([]byte{0x01}, getDeviceID(me, 5)...)...)
		if got := w.bus0.asks(t, 2, ipmi.NetFnApp, 0x33); got.Code != ipmi.CodeOK {
			t.Error(got.Code)
		}
	})
	story(t, "the channel and privilege of Get Message are the message's, not 0Ch", func(t *testing.T, w *world) {
		w.sends(0x01, getDeviceID(me, 5))
		if got := w.fetches(); got[1] != 0x01 {
			t.Errorf("%02Xh", got[1])
		}
	})
	story(t, "the message begins behind the destination address", func(t *testing.T, w *world) {
		w.sends(0x00, getDeviceID(me, 5))
		if got := w.fetches(); got[2] != 0x1E {
			t.Errorf("it begins with %02Xh", got[2])
		}
	})
	story(t, "each LUN is its own", func(t *testing.T, w *world) {
		f := request(me, 3, own, 5, ipmi.NetFnApp, 0x01)
		f.SourceLUN = 2
		w.sends(0x00, f.Append(nil))
		want := answerTo(f, deviceID...).Append(nil)
		if got := w.fetches(); !bytes.Equal(got[2:], want[1:]) {
			t.Errorf("% X, want % X", got[2:], want[1:])
		}
	})
	story(t, "no event flag without an event, and none that stays", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		is(t, "before", w.flags(), "00 00")
		w.bus0.reports(t, 1)
		is(t, "an event", w.flags(), "00 02")
		w.asks(ipmi.NetFnApp, 0x35)
		is(t, "fetched", w.flags(), "00 00")
	})
	story(t, "Read Event Message Buffer has an event or 80h, not a made-up one", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0C)
		is(t, "none", w.asks(ipmi.NetFnApp, 0x35), "80")
		w.bus0.reports(t, 1)
		if got := w.asks(ipmi.NetFnApp, 0x35); !bytes.HasSuffix(got, fan) {
			t.Errorf("% X", got)
		}
		is(t, "none", w.asks(ipmi.NetFnApp, 0x35), "80")
	})
	story(t, "Get Message Flags needs nobody else", func(t *testing.T, w *world) {
		w.log.err = ipmi.ErrNotPresent
		is(t, "flags", w.flags(), "00 00")
	})
}
