package bridge

import (
	"testing"
	"testing/synctest"

	"ipmbd/ipmi"
)

func TestInterfaceThatIsRemoved(t *testing.T) {
	story(t, "no message reaches it, and it has no channel", func(t *testing.T, w *world) {
		w.bridge.Remove(w.bus0.Interface)
		is(t, "Send Message", w.sends(0x00, getDeviceID(me, 5)), "CC")
		is(t, "Get Channel Info", w.asks(ipmi.NetFnApp, 0x42, 0x00), "CC")
		is(t, "Send Message to another", w.sends(0x01, getDeviceID(me, 5)), "00")
		if heard := w.bus0.requests(); len(heard) != 0 {
			t.Errorf("its responders heard % X", heard)
		}
	})

	story(t, "its requests wait for no answer", func(t *testing.T, w *world) {
		w.bus0.says(t, toHost(7))
		w.bus1.says(t, request(own, 2, node, 8, 0x30, 0x11))
		w.bridge.Remove(w.bus0.Interface)
		synctest.Wait()
		is(t, "flags", w.flags(), "00 00")
		is(t, "Get Message", w.fetches(), "80")
		if last := w.attention[len(w.attention)-1]; last.Raised {
			t.Error("the host is told of a message")
		}
	})

	story(t, "a response that has come is the host's", func(t *testing.T, w *world) {
		is(t, "Send Message", w.sends(0x00, getDeviceID(me, 5)), "00")
		w.bridge.Remove(w.bus0.Interface)
		is(t, "flags", w.flags(), "00 01")
		if got := w.fetches(); len(got) < 10 || got[0] != 0 {
			t.Errorf("Get Message: % X", got)
		}
	})

	story(t, "another one may take its place", func(t *testing.T, w *world) {
		w.bridge.Remove(w.bus0.Interface)
		w.bridge.Add(w.bus0.Interface, busOf(w.bus0.engine))
		is(t, "Send Message", w.sends(0x00, getDeviceID(me, 5)), "00")
		is(t, "flags", w.flags(), "00 01")
	})
}

// The machine behind an interface is gone: the next one finds nothing of it.
func TestMachineThatIsGone(t *testing.T) {
	finds := func(t *testing.T, w *world) {
		t.Helper()
		synctest.Wait()
		is(t, "flags", w.flags(), "00 00")
		is(t, "Read Event Message Buffer", w.asks(ipmi.NetFnApp, 0x35), "80")
		is(t, "Get Message", w.fetches(), "80")
		is(t, "BMC global enables", w.asks(ipmi.NetFnApp, 0x2F), "00 08")
		if n := len(w.attention); n > 0 && w.attention[n-1] != (ipmi.Attention{}) {
			t.Errorf("it sees the attention %+v", w.attention[n-1])
		}
	}

	story(t, "with a full event message buffer", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0F)
		for n := range maxEvents {
			w.bus0.reports(t, uint8(n))
		}
		is(t, "flags", w.flags(), "00 02")
		w.bridge.HostReset(0)
		finds(t, w)
		w.bus0.reports(t, maxEvents)
		finds(t, w)
		if len(w.log.events) != maxEvents+1 {
			t.Errorf("%d events are in the log", len(w.log.events))
		}
	})

	story(t, "with messages, and responses to come", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x09)
		is(t, "Send Message", w.sends(0x00, getDeviceID(me, 5)), "00")
		w.bus0.says(t, toHost(7))
		is(t, "Send Message", w.sends(0x00, getDeviceID(node, 6)), "00")
		late := w.bus0.hears(t)
		w.bridge.HostReset(0)
		finds(t, w)
		w.bus0.says(t, answerTo(late, deviceID...))
		finds(t, w)
		if n := w.host.Statistics()["bridged-unanswered"]; n != 1 {
			t.Errorf("%d responses came too late", n)
		}
		for n := range uint8(maxMessages) { // All places are free again.
			is(t, "Send Message", w.sends(0x00, getDeviceID(me, n)), "00")
		}
	})
}

// A Cold Reset from a host is one for all its interfaces, and for its event receiver; those of
// other hosts stay.
func TestColdReset(t *testing.T) {
	story(t, "of the host, and of another one", func(t *testing.T, w *world) {
		w.asks(ipmi.NetFnApp, 0x2E, 0x0F)
		w.asks(ipmi.NetFnSensor, 0x00, 0xFF, 0x00)
		w.asks(ipmi.NetFnApp, 0x32, 0x00, 0x00)
		w.bridge.ColdReset(1)
		is(t, "BMC global enables", w.asks(ipmi.NetFnApp, 0x2F), "00 0F")
		is(t, "event receiver", w.asks(ipmi.NetFnSensor, 0x01), "00 FF 00")
		is(t, "channel 0", w.asks(ipmi.NetFnApp, 0x32, 0x00, 0x02), "00 00 00")
		w.bridge.HostReset(0)
		is(t, "BMC global enables", w.asks(ipmi.NetFnApp, 0x2F), "00 08")
		is(t, "event receiver", w.asks(ipmi.NetFnSensor, 0x01), "00 FF 00")
		is(t, "channel 0", w.asks(ipmi.NetFnApp, 0x32, 0x00, 0x02), "00 00 01")
		w.bridge.ColdReset(0)
		is(t, "event receiver", w.asks(ipmi.NetFnSensor, 0x01), "00 20 00")
	})
}
