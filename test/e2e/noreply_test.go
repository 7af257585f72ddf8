package e2e

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
)

// TestCallThatWantsNoReplyGetsNone: neither a result nor an error, at any end of
// the call. The same call without the flag gets one reply.
func TestCallThatWantsNoReplyGetsNone(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	respond, asked := recorder(silent)
	n.respond(0x2C, echo)
	n.respond(0x42, respond)
	start(t, bus.Address, channels(channel(n, object{"timeout-ms": 50, "tries": 2})))
	watcher := connect(t, bus.Address)
	caller, err := dialRaw(bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer caller.conn.Close()
	awake(t, caller.conn)

	const properties = "org.freedesktop.DBus.Properties"
	none := []byte{}
	unwantedOf := make(map[uint32]string) // by serial: the subject of calls without a reply
	for what, call := range map[string]struct {
		path   dbus.ObjectPath
		method string
		args   []any
	}{
		"an answer, old method":    {basePath, legacy + ".sendRequest", []any{byte(1), byte(6), byte(0), byte(1), none}},
		"an answer":                {busPath("bus5"), objectIface + ".sendRequest", []any{byte(0x2C), byte(6), byte(0), byte(1), none}},
		"no answer":                {busPath("bus5"), objectIface + ".sendRequest", []any{byte(0x42), byte(6), byte(0), byte(1), none}},
		"no bus, old method":       {basePath, legacy + ".sendRequest", []any{byte(77), byte(6), byte(0), byte(1), none}},
		"an odd address":           {busPath("bus5"), objectIface + ".sendRequest", []any{byte(0x43), byte(6), byte(0), byte(1), none}},
		"too long":                 {basePath, legacy + ".sendRequest", []any{byte(1), byte(6), byte(0), byte(1), make([]byte, 300_000)}},
		"options":                  {busPath("bus5"), objectIface + ".sendRequestWithOptions", []any{byte(0x2C), byte(6), byte(0), byte(1), none, map[string]dbus.Variant{"no": dbus.MakeVariant(1)}}},
		"a broadcast":              {busPath("bus5"), objectIface + ".sendBroadcast", []any{byte(6), byte(0), byte(1), none}},
		"no request under the id":  {busPath("bus5"), objectIface + ".sendResponse", []any{uint64(7), byte(0), none}},
		"no bus to remove":         {basePath, objectIface + ".Manager.RemoveBus", []any{dbus.ObjectPath("/x")}},
		"no bus to add":            {basePath, objectIface + ".Manager.AddBus", []any{"{"}},
		"a property":               {busPath("bus5"), properties + ".Get", []any{objectIface, "State"}},
		"no property":              {busPath("bus5"), properties + ".Get", []any{objectIface, "Nope"}},
		"all properties":           {busPath("bus5"), properties + ".GetAll", []any{objectIface}},
		"properties of nothing":    {busPath("bus5"), properties + ".GetAll", []any{"a.b"}},
		"a property that is fixed": {busPath("bus5"), properties + ".Set", []any{objectIface, "State", dbus.MakeVariant("Up")}},
		"a property that is set":   {busPath("bus5"), properties + ".Set", []any{objectIface, "TimeoutMs", dbus.MakeVariant(uint32(50))}},
		"no object":                {"/a", objectIface + ".x", nil},
		"no interface":             {basePath, "a.b.x", nil},
		"no method":                {basePath, router + ".x", nil},
		"wrong types":              {basePath, router + ".Subscribe", []any{"x"}},
		"objects":                  {"/", "org.freedesktop.DBus.ObjectManager.GetManagedObjects", nil},
		"introspection":            {basePath, "org.freedesktop.DBus.Introspectable.Introspect", nil},
		"a ping":                   {basePath, "org.freedesktop.DBus.Peer.Ping", nil},
	} {
		send := func(flags dbus.Flags) uint32 {
			t.Helper()
			serial, err := caller.send(service, flags, call.path, call.method, call.args...)
			if err != nil {
				t.Fatal(err)
			}
			return serial
		}
		// The second of two such calls gets a reply at a time when the first would have had one,
		// too: a time-out takes its time on a bus, and then is counted.
		unwantedOf[send(dbus.FlagNoReplyExpected)] = what
		if what == "no answer" {
			receive(t, "the request on the bus", asked)
		}
		wanted := send(0)
		for to := uint32(0); to != wanted; {
			var m *dbus.Message
			if to, m, err = caller.next(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if about, ok := unwantedOf[to]; ok {
				t.Errorf("%s: a reply to a call that wants none: %v", about, m)
			} else if to != wanted {
				t.Errorf("before the reply about %s: a second one to call %d: %v", what, to, m)
			}
		}
	}
	eventually(t, "all calls to end", func() bool {
		s := watcher.statistics(t, "bus5")
		return s["calls-started"] == endsOf(s)
	})
	// A reply to any of them would come before that to this one.
	last, err := caller.send(service, 0, basePath, "org.freedesktop.DBus.Peer.Ping")
	if err != nil {
		t.Fatal(err)
	}
	if to, m, err := caller.next(); err != nil || to != last {
		t.Errorf("a reply to call %d, not to the last, %d: %v, %v", to, last, m, err)
	}
}
