package dbuswire

import (
	"errors"
	"testing"
)

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"path", "unix:path=/run/dbus/system_bus_socket", []string{"/run/dbus/system_bus_socket"}},
		{"path with guid", "unix:path=/tmp/bus,guid=0123456789abcdef", []string{"/tmp/bus"}},
		{"guid first", "unix:guid=0123456789abcdef,path=/tmp/bus", []string{"/tmp/bus"}},
		{"abstract", "unix:abstract=/tmp/dbus-XYZ", []string{"@/tmp/dbus-XYZ"}},
		{"escaped", "unix:path=/tmp/a%20b%2Cc%3b", []string{"/tmp/a b,c;"}},
		{"list", "unix:path=/a;unix:abstract=b", []string{"/a", "@b"}},
		{"list with a trailing semicolon", "unix:path=/a;", []string{"/a"}},
		{"empty", "", nil},
		{"other transport", "tcp:host=localhost,port=1", nil},
		{"no transport", "/run/bus", nil},
		{"neither path nor abstract", "unix:guid=00", nil},
		{"both path and abstract", "unix:path=/a,abstract=b", nil},
		{"listening address", "unix:tmpdir=/tmp", nil},
		{"empty path", "unix:path=", nil},
		{"key without a value", "unix:path", nil},
		{"truncated escape", "unix:path=/a%2", nil},
		{"bad escape", "unix:path=/a%zz", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := addresses(tt.in)
			if (err != nil) != (tt.want == nil) || err != nil && !errors.Is(err, ErrAddress) {
				t.Fatalf("error = %v", err)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %v", got)
			}
			for i, addr := range got {
				if addr.Name != tt.want[i] {
					t.Errorf("address %d = %q, want %q", i, addr.Name, tt.want[i])
				}
			}
		})
	}
}

func TestWellKnownBuses(t *testing.T) {
	for _, tt := range []struct {
		name, address, system, session, runtime, want string
	}{
		{"system by default", SystemBus, "", "", "", "/var/run/dbus/system_bus_socket"},
		{"system from the environment", SystemBus, "unix:path=/s", "", "", "/s"},
		{"session from the environment", SessionBus, "", "unix:path=/u", "/run/user/0", "/u"},
		{"session in the runtime directory", SessionBus, "", "", "/run/user/0 x", "/run/user/0 x/bus"},
		{"session nowhere", SessionBus, "", "", "", ""},
		{"an address", "unix:path=/x", "unix:path=/s", "unix:path=/u", "", "/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", tt.system)
			t.Setenv("DBUS_SESSION_BUS_ADDRESS", tt.session)
			t.Setenv("XDG_RUNTIME_DIR", tt.runtime)
			got, err := addresses(tt.address)
			if (err != nil) != (tt.want == "") || err == nil && got[0].Name != tt.want {
				t.Errorf("addresses = %v, %v", got, err)
			}
		})
	}
}
