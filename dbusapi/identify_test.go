package dbusapi

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/bus"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/xml"
)

// All connections of a program are one client of a bus, and other programs keep their share.
func TestProgramsShareABus(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not run: needs root, to be another user")
	}
	r := newRig(t, Config{programOf: realProgram})
	narrow := newLimitedFakeBus("bus5", 4, 6)
	o := addBus(t, r.server, narrow)
	for range 8 {
		dial(t, r.bus, dbuswire.Config{}).Object(xml.ServiceName, o.Path()).Go(xml.BusInterface+".sendRequest", 0, make(chan *dbus.Call, 1),
			byte(0), byte(6), byte(0), byte(cmdBlock), []byte{})
	}
	for range 3 {
		<-narrow.began
	}
	// Until it is known that they are another's, a few calls may be refused.
	other := bustest.DialAs(t, r.bus.Address, 65534, 65534).Object(xml.ServiceName, o.Path())
	for {
		err := other.Call(xml.BusInterface+".sendRequest", 0, byte(0), byte(6), byte(0), byte(1), []byte{}).Err
		if err == nil {
			break
		}
		if errorName(err) != xml.ErrorTooMany {
			t.Fatal(err)
		}
	}
	if n := narrow.InProgress(); n != 3 {
		t.Errorf("the program has %d places", n)
	}
}

func TestCredentials(t *testing.T) {
	full := map[string]dbus.Variant{
		"ProcessID": dbus.MakeVariant(uint32(77)), "UnixUserID": dbus.MakeVariant(uint32(1000)),
		"UnixGroupIDs": dbus.MakeVariant([]uint32{1, 2, 3}), "LinuxSecurityLabel": dbus.MakeVariant([]byte("unconfined\x00")),
		"WindowsSID": dbus.MakeVariant("S-1"), "ProcessFD": dbus.MakeVariant(dbus.UnixFDIndex(0)),
	}
	for name, tt := range map[string]struct {
		credentials map[string]dbus.Variant
		want        bus.Process
		ok          bool
	}{
		"all there can be":       {full, bus.Process{PID: 77, UID: 1000}, true},
		"of another namespace":   {map[string]dbus.Variant{"UnixUserID": dbus.MakeVariant(uint32(1000))}, bus.Process{UID: 1000}, true},
		"without a user":         {map[string]dbus.Variant{"ProcessID": dbus.MakeVariant(uint32(77))}, bus.Process{PID: 77}, false},
		"nothing":                {map[string]dbus.Variant{}, bus.Process{}, false},
		"of a type nobody knows": {map[string]dbus.Variant{"UnixUserID": dbus.MakeVariant(1.5)}, bus.Process{}, false},
	} {
		for range 20 { // maps have no order
			m, ok := dbuswire.Parse(encodeReturn(t, binary.LittleEndian, 7, tt.credentials))
			if !ok {
				t.Fatal("no message")
			}
			got, ok := parseCredentials(&m)
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("%s: %+v, %v", name, got, ok)
			}
			whole := m.Body
			for length := range whole {
				m.Body = whole[:length]
				parseCredentials(&m) // does not panic
			}
		}
	}
}
