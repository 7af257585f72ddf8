package dbusapi

import (
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/ipmb"
	"ipmbd/xml"
)

func TestPropertiesOfABus(t *testing.T) {
	r := newRig(t, Config{})
	want := map[string]any{
		"Bus": "bus4", "Device": "/dev/ipmb-4", "Transport": "ipmb-dev", "Channel": byte(0), "Index": byte(0),
		"OwnAddress": byte(0x20), "RemoteAddress": byte(0x2C), "State": "Up", "StateReason": "", "Handler": "host",
		"TimeoutMs": uint32(250), "Tries": uint32(6),
		"IgnoreNack": false, "VerifyHeaderChecksum": false,
	}
	for _, iface := range []string{xml.BusInterface, ""} {
		all, err := r.call(t, bus4, xml.PropertiesInterface, "GetAll", iface)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, values(all[0].(map[string]dbus.Variant))); diff != "" {
			t.Errorf("GetAll(%q): %s", iface, diff)
		}
	}
	for name, value := range want {
		got, err := r.call(t, bus4, xml.PropertiesInterface, "Get", xml.BusInterface, name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(value, got[0].(dbus.Variant).Value()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTypesOfPropertiesAreTheTables(t *testing.T) {
	r := newRig(t, Config{})
	for _, o := range r.server.objects.below("/") {
		for _, iface := range o.interfaces {
			variants := make(map[string]dbus.Variant)
			o.view().addVariants(variants, iface)
			for _, p := range properties(iface) {
				if got := variants[p.name].Signature().String(); got != p.signature {
					t.Errorf("%s.%s is of type %s, not %s", iface, p.name, got, p.signature)
				}
			}
		}
	}
}

func TestPropertiesThatAreNotThere(t *testing.T) {
	const (
		unknownProperty  = "org.freedesktop.DBus.Error.UnknownProperty"
		unknownInterface = "org.freedesktop.DBus.Error.UnknownInterface"
	)
	r := newRig(t, Config{})
	for _, tt := range []struct {
		name   string
		path   dbus.ObjectPath
		member string
		args   []any
		want   string
	}{
		{"property", bus4, "Get", []any{xml.BusInterface, "Nothing"}, unknownProperty},
		{"property of another interface", bus4, "Get", []any{xml.PropertiesInterface, "Bus"}, unknownProperty},
		{"interface", bus4, "Get", []any{"no.such", "Bus"}, unknownInterface},
		{"property of an object without", BasePath, "Get", []any{xml.LegacyInterface, "Bus"}, unknownProperty},
		{"all of an interface", bus4, "GetAll", []any{"no.such"}, unknownInterface},
		{"to set", bus4, "Set", []any{xml.BusInterface, "Nothing", dbus.MakeVariant("x")}, unknownProperty},
	} {
		if _, err := r.call(t, tt.path, xml.PropertiesInterface, tt.member, tt.args...); errorName(err) != tt.want {
			t.Errorf("%s: %s: %v", tt.name, errorName(err), err)
		}
	}
	if got, err := r.call(t, BasePath, xml.PropertiesInterface, "GetAll", xml.LegacyInterface); err != nil || len(got[0].(map[string]dbus.Variant)) != 0 {
		t.Errorf("GetAll of an interface without properties = %v, %v", got, err)
	}
}

func (r *rig) set(t *testing.T, name string, value any) error {
	t.Helper()
	_, err := r.call(t, bus4, xml.PropertiesInterface, "Set", xml.BusInterface, name, dbus.MakeVariant(value))
	return err
}

// changes waits for a PropertiesChanged of bus4.
func (r *rig) changes(t *testing.T) map[string]dbus.Variant {
	t.Helper()
	got := <-r.heard
	if got.Name != propertiesChanged || got.Path != bus4 || got.Body[0] != xml.BusInterface || len(got.Body[2].([]string)) != 0 {
		t.Errorf("signal %+v", got)
	}
	return got.Body[1].(map[string]dbus.Variant)
}

func TestPolicyCanBeSet(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	if err := r.set(t, "TimeoutMs", uint32(1000)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]dbus.Variant{"TimeoutMs": dbus.MakeVariant(uint32(1000))}, r.changes(t), cmp.Comparer(sameVariant)); diff != "" {
		t.Error(diff)
	}
	if err := r.set(t, "Tries", uint32(1)); err != nil {
		t.Fatal(err)
	}
	r.changes(t)
	if want := (ipmb.RetryPolicy{Tries: 1, Timeout: time.Second}); r.fake.Properties().Policy != want {
		t.Errorf("policy = %v", r.fake.Properties().Policy)
	}
}

func sameVariant(a, b dbus.Variant) bool { return a.String() == b.String() }

func TestSetRefused(t *testing.T) {
	const (
		readOnly = "org.freedesktop.DBus.Error.PropertyReadOnly"
		invalid  = "org.freedesktop.DBus.Error.InvalidArgs"
	)
	r := newRig(t, Config{})
	for _, tt := range []struct {
		name     string
		property string
		value    any
		want     string
	}{
		{"read-only", "State", "Up", readOnly},
		{"wrong type", "Tries", "six", invalid},
		{"narrow number", "Tries", byte(6), invalid},
		{"time-out too short", "TimeoutMs", uint32(9), xml.ErrorInvalidArgument},
		{"time-out too long", "TimeoutMs", uint32(60001), xml.ErrorInvalidArgument},
		{"no tries", "Tries", uint32(0), xml.ErrorInvalidArgument},
		{"own address that is odd", "OwnAddress", byte(0x21), xml.ErrorInvalidArgument},
		{"general call as own address", "OwnAddress", byte(0), xml.ErrorInvalidArgument},
		{"wide own address", "OwnAddress", uint32(0x20), invalid},
		{"switch that is a number", "IgnoreNack", byte(1), invalid},
		{"too many tries", "Tries", uint32(65), xml.ErrorInvalidArgument},
	} {
		if err := r.set(t, tt.property, tt.value); errorName(err) != tt.want {
			t.Errorf("%s: %s: %v", tt.name, errorName(err), err)
		}
	}
	if r.fake.Properties().Policy != (ipmb.RetryPolicy{}) {
		t.Errorf("policy = %v", r.fake.Properties().Policy)
	}
}

func TestChangesAreTold(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	r.object.Changed() // nothing has
	r.fake.change(func(p *bus.Properties) { p.State, p.Reason = bus.Down, "the device is gone" })
	r.object.Changed()
	want := map[string]dbus.Variant{"State": dbus.MakeVariant("Down"), "StateReason": dbus.MakeVariant("the device is gone")}
	if diff := cmp.Diff(want, r.changes(t), cmp.Comparer(sameVariant)); diff != "" {
		t.Error(diff)
	}
}

func TestDevicePropertiesCanBeSet(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	for _, tt := range []struct {
		property string
		value    any
	}{{"OwnAddress", byte(0x22)}, {"IgnoreNack", true}, {"VerifyHeaderChecksum", true}, {"IgnoreNack", false}} {
		if err := r.set(t, tt.property, tt.value); err != nil {
			t.Fatal(err)
		}
		want := map[string]dbus.Variant{tt.property: dbus.MakeVariant(tt.value)}
		if diff := cmp.Diff(want, r.changes(t), cmp.Comparer(sameVariant)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDeviceThatCannotBeChanged(t *testing.T) {
	r := newRig(t, Config{})
	r.fake.failDevice(ipmb.ErrUnsupported)
	for property, value := range map[string]any{"OwnAddress": byte(0x22), "IgnoreNack": true, "VerifyHeaderChecksum": true} {
		if err := r.set(t, property, value); errorName(err) != xml.ErrorUnsupported {
			t.Errorf("%s: %v", property, err)
		}
	}
}
