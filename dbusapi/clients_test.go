package dbusapi

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/xml"
)

// block starts a call that is never answered and returns when the bus has it.
func (r *rig) block(t *testing.T, conn *dbuswire.Conn) <-chan *dbus.Call {
	t.Helper()
	call := conn.Object(xml.ServiceName, BasePath).Go(xml.LegacyInterface+".sendRequest", 0, make(chan *dbus.Call, 1),
		byte(0), byte(6), byte(0), byte(cmdBlock), []byte{})
	<-r.fake.began
	return call.Done
}

func TestCallsEndWhenTheirCallerLeaves(t *testing.T) {
	r := newRig(t, Config{})
	leaver, stayer := dial(t, r.bus, dbuswire.Config{}), dial(t, r.bus, dbuswire.Config{})
	for range 3 {
		r.block(t, leaver)
	}
	r.block(t, stayer)
	_ = leaver.Close()
	for range 3 {
		if err := <-r.fake.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a call ended with %v", err)
		}
	}
	if n := r.fake.InProgress(); n < 1 {
		t.Errorf("%d calls in progress: the other caller's ended too", n)
	}
	select {
	case <-r.fake.ended:
		t.Error("the other caller's call ended")
	default:
	}
}

func TestActThatStartsAfterItsClientLeftIsRefused(t *testing.T) {
	c := newClients(10, func(string) {})
	one, two := c.findClient([]byte(":1.5")), c.findClient([]byte(":1.6"))
	c.removeClient(":1.5")
	if err := c.beginAct(one, nil); !errors.Is(err, errGone) {
		t.Errorf("error = %v", err)
	}
	if err := c.beginAct(two, nil); err != nil {
		t.Fatal(err)
	}
	c.finishAct(two)
	c.close()
	if err := c.beginAct(two, nil); !errors.Is(err, errGone) {
		t.Errorf("after the end: %v", err)
	}
}

// A call may come, on another connection, after its client was seen to leave.
func TestClientsThatHaveLeftAreForgotten(t *testing.T) {
	r := newRig(t, Config{})
	r.server.clients.identify(r.server.clients.findClient([]byte(":1.99999")))
	r.soon(t, func() bool {
		r.server.clients.mu.Lock()
		defer r.server.clients.mu.Unlock()
		return r.server.clients.known[":1.99999"] == nil
	})
}

func TestLimitOfASender(t *testing.T) {
	r := newRig(t, Config{MaxCallsPerSender: 2})
	greedy := dial(t, r.bus, dbuswire.Config{})
	r.block(t, greedy)
	r.block(t, greedy)

	got, err := greedy.Call(t.Context(), dbuswire.Method{Destination: xml.ServiceName, Path: BasePath, Interface: xml.LegacyInterface, Member: "sendRequest"},
		byte(0), byte(6), byte(0), byte(1), []byte{})
	if err != nil || got[0].([]any)[0] != int32(ipmb.StatusBusy) {
		t.Errorf("legacy call over the limit = %v, %v", got, err)
	}
	_, err = greedy.Call(t.Context(), dbuswire.Method{Destination: xml.ServiceName, Path: bus4, Interface: xml.BusInterface, Member: "sendRequest"},
		byte(0), byte(6), byte(0), byte(1), []byte{})
	if errorName(err) != xml.ErrorTooMany {
		t.Errorf("call over the limit: %v", err)
	}
	if got := r.legacy(t, 0, 6, 0, 1); got[0] != int32(ipmb.StatusOK) {
		t.Errorf("call of another sender = %v", got)
	}
}

func TestLimitOfABus(t *testing.T) {
	r := newRig(t, Config{programOf: realProgram})
	narrow := newLimitedFakeBus("bus5", 4, 4) // two are for other programs
	o := addBus(t, r.server, narrow)
	for range 2 {
		dial(t, r.bus, dbuswire.Config{}).Object(xml.ServiceName, o.Path()).Go(xml.BusInterface+".sendRequest", 0, make(chan *dbus.Call, 1),
			byte(0), byte(6), byte(0), byte(cmdBlock), []byte{})
		<-narrow.began
	}
	for range 10 { // whether they are known by then or not
		if got := r.legacy(t, 4, 6, 0, 1); got[0] != int32(ipmb.StatusBusy) {
			t.Errorf("legacy call over the limit = %v", got)
		}
	}
	_, err := r.call(t, o.Path(), xml.BusInterface, "sendRequest", byte(0), byte(6), byte(0), byte(1), []byte{})
	if errorName(err) != xml.ErrorTooMany {
		t.Errorf("call over the limit: %v", err)
	}
	if got := r.legacy(t, 0, 6, 0, 1); got[0] != int32(ipmb.StatusOK) {
		t.Errorf("call to another bus = %v", got)
	}
	if refused := o.statistics()["dbus-calls-refused"]; refused != 11 {
		t.Errorf("%d calls were refused", refused)
	}
}

func TestCloseEndsCallsAndWaitsForThem(t *testing.T) {
	r := newRig(t, Config{})
	r.block(t, r.client)
	r.block(t, dial(t, r.bus, dbuswire.Config{}))
	s := openServer(t, r.bus, Config{})
	o := addBus(t, s, r.fake)
	for range 2 {
		r.client.Object(s.conn.Name(), o.Path()).Go(xml.BusInterface+".sendRequest", 0, make(chan *dbus.Call, 1),
			byte(0), byte(6), byte(0), byte(cmdBlock), []byte{})
		<-r.fake.began
	}
	_ = s.Close()
	// The bus's workers learn of it, and end.
	for range 2 {
		<-r.fake.ended
	}
	for r.fake.InProgress() != 2 {
		runtime.Gosched()
	}
	_ = s.Close()
}
