package dbusapi

import (
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/internal/counters"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

const (
	anyPath        = dbus.ObjectPath("/any/path")
	anyBroadcast   = "any.iface." + broadcastMember
	anyAddress     = "any.iface." + ownAddressMember
	statsMalformed = "signals-malformed"
	statsRefused   = "signals-refused"
	statsFailed    = "signals-failed"
)

// signalRig is a rig whose client is root's, or another user's.
func signalRig(t *testing.T, trust bool, config Config) *rig {
	t.Helper()
	if !trust {
		config.programOf = func(name string, found bus.Process) bus.Process {
			return bus.Process{PID: ownProgram(name, found).PID, UID: 1000}
		}
	}
	return newRig(t, config)
}

// settled waits until the server has handled the signals sent so far: they are counted, or the bus
// has got their commands.
func (r *rig) settled(t *testing.T, counter string, want uint64) {
	t.Helper()
	for r.server.Statistics()[counter] < want {
		// A call is a round trip through the server's reader.
		if _, err := r.call(t, "/", xml.PeerInterface, "Ping"); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.server.Statistics()[counter]; got != want {
		t.Errorf("%s = %d, want %d", counter, got, want)
	}
}

func TestBroadcastSignalOfRootIsObeyed(t *testing.T) {
	r := signalRig(t, true, Config{})
	if err := r.client.Emit(anyPath, anyBroadcast, byte(0), byte(6), byte(2), byte(0x10), []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	<-r.fake.told
	if diff := cmp.Diff([]ipmb.Request{{NetFn: 6, RequesterLUN: 2, Command: 0x10, Data: []byte{1, 2}}}, r.fake.broadcasts); diff != "" {
		t.Error(diff)
	}
}

func TestOwnAddressSignalOfRootIsObeyed(t *testing.T) {
	r := signalRig(t, true, Config{})
	r.listen(t)
	if err := r.client.Emit(ownAddressPath, anyAddress, byte(0), byte(4), byte(0x22)); err != nil {
		t.Fatal(err)
	}
	<-r.fake.told
	if changed := r.changes(t); changed["OwnAddress"].Value() != byte(0x22) || len(changed) != 1 {
		t.Errorf("changed %v", changed)
	}
}

func TestOwnAddressSignalsThatDoNotFit(t *testing.T) {
	r := signalRig(t, true, Config{})
	me := newFakeBus("me", 1)
	addBus(t, r.server, me)
	emit := func(path dbus.ObjectPath, args ...any) {
		t.Helper()
		if err := r.client.Emit(path, anyAddress, args...); err != nil {
			t.Fatal(err)
		}
	}
	emit(anyPath, byte(0), byte(4), byte(0x22))        // other path
	emit(ownAddressPath, byte(0), byte(4), byte(0x20)) // the address it has
	emit(ownAddressPath, byte(0), byte(5), byte(0x22)) // other bus
	emit(ownAddressPath, byte(1), byte(4), byte(0x22)) // not of type ipmb
	emit(ownAddressPath, byte(9), byte(4), byte(0x22)) // no such channel
	r.settled(t, statsFailed, 3)
	emit(ownAddressPath, byte(0), byte(4), byte(0x23)) // odd
	emit(ownAddressPath, byte(0), byte(4), byte(0))    // no address
	r.settled(t, statsMalformed, 2)
	if a := r.fake.Properties().OwnAddress; a != 0x20 {
		t.Errorf("own address = %v", a)
	}
	if a := me.Properties().OwnAddress; a != 0x20 {
		t.Errorf("own address of the other = %v", a)
	}
}

func TestSignalsOfOthersAreNotObeyed(t *testing.T) {
	r := signalRig(t, false, Config{SignalNames: []string{"com.example.MultiNode", "com.example.Nobody"}})
	owner := dial(t, r.bus, dbuswire.Config{})
	if _, err := owner.RequestName("com.example.MultiNode", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	send := func(conn *dbuswire.Conn, cmd byte) {
		t.Helper()
		if err := conn.Emit(anyPath, anyBroadcast, byte(0), byte(6), byte(0), cmd, []byte{}); err != nil {
			t.Fatal(err)
		}
	}
	send(r.client, 1)
	send(r.client, 2)
	if err := r.client.Emit(ownAddressPath, anyAddress, byte(0), byte(4), byte(0x22)); err != nil {
		t.Fatal(err)
	}
	r.settled(t, statsRefused, 3)
	send(owner, 3)
	<-r.fake.told
	if len(r.fake.broadcasts) != 1 || r.fake.broadcasts[0].Command != 3 || r.fake.Properties().OwnAddress != 0x20 {
		t.Errorf("broadcasts = %v", r.fake.broadcasts)
	}
	r.server.SetSignalNames(nil)
	send(owner, 4)
	r.settled(t, statsRefused, 4)
}

func TestMalformedSignalsDoNothing(t *testing.T) {
	r := signalRig(t, true, Config{})
	bodies := [][]any{
		{},
		{byte(0)},
		{"a string"},
		{byte(0), byte(6), byte(0), byte(1)},
		{byte(0), byte(6), byte(0), byte(1), []byte{}, byte(0)},
		{byte(0), byte(6), byte(0), byte(1), "data"},
		{uint32(0), byte(6), byte(0), byte(1), []byte{}},
		{byte(0), byte(6), byte(0), "1", []byte{}},
		{byte(0), byte(7), byte(0), byte(1), []byte{}}, // odd netFn
		{byte(0), byte(0x40), byte(0), byte(1), []byte{}},
		{byte(0), byte(6), byte(4), byte(1), []byte{}}, // LUN
		{map[string]dbus.Variant{"a": dbus.MakeVariant(1)}},
		{[]string{"a"}, []byte{}, struct{ A, B byte }{1, 2}},
	}
	for _, body := range bodies {
		for _, signal := range []struct {
			path dbus.ObjectPath
			name string
		}{{anyPath, anyBroadcast}, {ownAddressPath, anyAddress}} {
			if err := r.client.Emit(signal.path, signal.name, body...); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.settled(t, statsMalformed, uint64(2*len(bodies)))
	if len(r.fake.broadcasts) != 0 || r.fake.Properties().OwnAddress != 0x20 {
		t.Error("a malformed signal did something")
	}
	if got := r.legacy(t, 0, 6, 0, 1); got[0] != int32(ipmb.StatusOK) {
		t.Errorf("afterwards: %v", got)
	}
}

func TestForgedNameOwnerChangedEndsNothing(t *testing.T) {
	r := newRig(t, Config{})
	r.block(t, r.client)
	forger := dial(t, r.bus, dbuswire.Config{})
	if err := forger.Emit("/org/freedesktop/DBus", "a.b.NameOwnerChanged", r.client.Name(), r.client.Name(), ""); err != nil {
		t.Fatal(err)
	}
	r.legacy(t, 0, 6, 0, 1)
	if len(r.fake.ended) != 0 {
		t.Error("the call ended")
	}
}

func TestCommandsThatDoNotFitTheQueueAreCounted(t *testing.T) {
	s := &Server{commands: make(chan command, 1), counters: counters.New[counter](counterNames)}
	body := []any{byte(0), byte(6), byte(0), byte(1), []byte{}}
	for range 3 {
		s.receiveSignal(&dbus.Signal{Sender: ":1.1", Path: anyPath, Name: anyBroadcast, Body: body})
	}
	if got := s.Statistics()["signals-dropped"]; got != 2 {
		t.Errorf("%d dropped", got)
	}
}

// Broadcasts fail in silence but for a counter: a signal has no answer.
func TestFailedBroadcastSignalIsCounted(t *testing.T) {
	r := signalRig(t, true, Config{})
	r.fake.fail(map[ipmi.Command]error{1: ipmb.ErrClosed})
	for _, channel := range []byte{0, 99} {
		if err := r.client.Emit(anyPath, anyBroadcast, channel, byte(6), byte(0), byte(1), []byte{}); err != nil {
			t.Fatal(err)
		}
	}
	r.settled(t, statsFailed, 2)
}
