package bustest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

func connect(t *testing.T, bus *Bus) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

const name = "xyz.openbmc_project.Ipmi.Channel.Ipmb"

func TestSessionBusLetsAnybodyOwnANameAndCall(t *testing.T) {
	bus := Start(t)
	owner, caller := connect(t, bus), connect(t, bus)
	if reply, err := owner.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("RequestName = %v, %v", reply, err)
	}
	if err := caller.Object(name, "/").Call("org.freedesktop.DBus.Peer.Ping", 0).Err; err != nil {
		t.Fatalf("Ping: %v", err)
	}
}

func TestSystemBusDeniesWhatNoPolicyAllows(t *testing.T) {
	owner := connect(t, StartConfig(t, Config{System: true}))
	if _, err := owner.RequestName(name, dbus.NameFlagDoNotQueue); err == nil {
		t.Fatal("a name was owned without a policy")
	}
}

func TestSystemBusObeysAPolicyFile(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "test.conf")
	err := os.WriteFile(policy, []byte(`<busconfig><policy user="root"><allow own="`+name+`"/></policy>
<policy context="default"><allow own="`+name+`"/></policy></busconfig>`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	bus := StartConfig(t, Config{System: true, Policies: []string{policy}})
	owner, caller := connect(t, bus), connect(t, bus)
	if _, err := owner.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	if err := caller.Object(name, "/").Call("org.freedesktop.DBus.Peer.Ping", 0).Err; err == nil {
		t.Fatal("a call went through that no policy allows")
	}
}

func TestRealBusesAreOutOfReach(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	bus := Start(t)
	if strings.Contains(bus.Address, "/run/dbus") {
		t.Fatalf("Address = %s", bus.Address)
	}
	for _, connect := range []func(...dbus.ConnOption) (*dbus.Conn, error){dbus.ConnectSystemBus, dbus.ConnectSessionBus} {
		if conn, err := connect(); err == nil {
			_ = conn.Close()
			t.Fatal("a real bus was reached")
		}
	}
}

func TestStopBreaksConnections(t *testing.T) {
	bus := Start(t)
	conn := connect(t, bus)
	bus.Stop()
	<-conn.Context().Done()
}
