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
