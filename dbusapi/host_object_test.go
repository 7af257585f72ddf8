package dbusapi

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// fakeInterface is a host interface.
type fakeInterface struct {
	mu         sync.Mutex
	properties HostProperties
}

func (i *fakeInterface) Properties() HostProperties {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.properties
}

func (i *fakeInterface) change(f func(*HostProperties)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(&i.properties)
}

func (i *fakeInterface) Statistics() map[string]uint64 {
	return map[string]uint64{"requests-received": 3}
}

// fakeSMS remembers the actions.
type fakeSMS struct {
	mu   sync.Mutex
	done []string
	err  error
}

func (s *fakeSMS) do(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, what)
	return s.err
}

func (s *fakeSMS) SetAttention(_ context.Context, raised bool) error {
	if raised {
		return s.do("set")
	}
	return s.do("clear")
}

func (s *fakeSMS) ForceAbort(context.Context) error { return s.do("abort") }

// kcs3 is where the interface of addKCS is exported, and its name.
const (
	kcs3     = BasePath + "/ipmi_kcs3"
	kcs3Own  = dbus.ObjectPath("/xyz/openbmc_project/Ipmi/Channel/ipmi_kcs3")
	kcs3Name = "xyz.openbmc_project.Ipmi.Channel.ipmi_kcs3"
)

// addKCS exports the interface ipmi-kcs3 and takes its name.
func (r *rig) addKCS(t *testing.T, sms SMS) (*HostObject, *fakeInterface) {
	t.Helper()
	fake := &fakeInterface{properties: HostProperties{
		Name: "ipmi-kcs3", Type: "kcs", Path: "/dev/ipmi-kcs3", Channel: 15, Handler: "host", State: bus.Up,
	}}
	o, err := r.server.NewHost(t.Context(), "ipmi-kcs3")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Export(fake, sms); err != nil {
		t.Fatal(err)
	}
	if err := r.server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o, fake
}

// sms calls a method of xyz.openbmc_project.Ipmi.Channel.SMS as the client.
func (r *rig) sms(t *testing.T, member string, args ...any) error {
	t.Helper()
	got, err := r.client.Call(t.Context(), dbuswire.Method{Destination: kcs3Name, Path: kcs3Own, Interface: xml.SMSInterface, Member: member}, args...)
	if len(got) > 0 {
		t.Errorf("%s returns %v", member, got)
	}
	return err
}

func TestSMSIsServedAsKcsbridgeDoes(t *testing.T) {
	r := newRig(t, Config{})
	sms := &fakeSMS{}
	r.addKCS(t, sms)
	for _, member := range []string{"setAttention", "forceAbort", "clearAttention"} {
		if err := r.sms(t, member); err != nil {
			t.Errorf("%s: %v", member, err)
		}
	}
	if diff := cmp.Diff([]string{"set", "abort", "clear"}, sms.done); diff != "" {
		t.Error(diff)
	}
	if err := r.sms(t, "setAttention", true); errorName(err) != "org.freedesktop.DBus.Error.InvalidArgs" {
		t.Errorf("with an argument: %v", err)
	}
}

func TestSMSFailureIsInternalFailure(t *testing.T) {
	r := newRig(t, Config{})
	r.addKCS(t, &fakeSMS{err: errors.New("password at 0x1234")})
	for _, member := range []string{"setAttention", "clearAttention", "forceAbort"} {
		if err := r.sms(t, member); errorName(err) != xml.ErrorInternal || strings.Contains(err.Error(), "0x1234") {
			t.Errorf("%s: %v", member, err)
		}
	}
}

func TestHostInterfaceWithoutSMS(t *testing.T) {
	r := newRig(t, Config{})
	r.addKCS(t, nil)
	if err := r.sms(t, "setAttention"); errorName(err) != "org.freedesktop.DBus.Error.UnknownInterface" {
		t.Errorf("got %v", err)
	}
}

func TestHostInterfaceHasItsConnection(t *testing.T) {
	r := newRig(t, Config{})
	r.addKCS(t, &fakeSMS{})
	var owners []any
	for _, name := range []string{xml.ServiceName, kcs3Name} {
		got, err := r.client.CallBus(t.Context(), "GetNameOwner", name)
		if err != nil {
			t.Fatal(err)
		}
		owners = append(owners, got[0])
	}
	if owners[0] == owners[1] {
		t.Errorf("both names are owned by %v", owners[0])
	}
	text := r.busctl(t, "tree", "--list", kcs3Name)
	if !strings.Contains(text, string(kcs3Own)) || strings.Contains(text, string(BasePath)) {
		t.Errorf("objects:\n%s", text)
	}
}

// phosphor-host-ipmid finds the channel by the connection, and reads options of
// IPMB channels only.
func TestHostInterfacesRequestsLeaveFromItsConnection(t *testing.T) {
	r := newRig(t, Config{})
	host := startHost(t, r.bus, answerOK)
	o, _ := r.addKCS(t, &fakeSMS{})
	for length := range 20 {
		req := &ipmi.Request{Interface: "ipmi-kcs3", Channel: 15, NetFn: 6, LUN: 1, Command: 1, Data: make([]byte, length)}
		res, err := answerOf(t.Context(), o.Daemon(), req)
		if err != nil || len(res.Data) != length {
			t.Fatalf("%v, %v", res, err)
		}
	}
	owner, err := r.client.CallBus(t.Context(), "GetNameOwner", kcs3Name)
	if err != nil {
		t.Fatal(err)
	}
	want := []any{owner[0], byte(6), byte(1), byte(1), make([]byte, 19), map[string]dbus.Variant{}}
	if diff := cmp.Diff(want, host.calls[19], cmp.Comparer(sameVariant)); diff != "" {
		t.Error(diff)
	}
}

func TestPropertiesOfAHostInterface(t *testing.T) {
	r := newRig(t, Config{})
	o, fake := r.addKCS(t, nil)
	want := map[string]any{
		"Name": "ipmi-kcs3", "Type": "kcs", "Path": "/dev/ipmi-kcs3", "Channel": byte(15), "Handler": "host",
		"State": "Up", "StateReason": "",
	}
	all, err := r.call(t, o.Path(), xml.PropertiesInterface, "GetAll", xml.HostInterface)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, values(all[0].(map[string]dbus.Variant))); diff != "" {
		t.Error(diff)
	}
	for _, p := range properties(xml.HostInterface) {
		if got := all[0].(map[string]dbus.Variant)[p.name].Signature().String(); got != p.signature {
			t.Errorf("%s is of type %s, not %s", p.name, got, p.signature)
		}
	}

	r.listen(t)
	o.Changed() // nothing has
	fake.change(func(p *HostProperties) { p.State, p.Reason = bus.Down, "the device is gone" })
	o.Changed()
	got := <-r.heard
	changed := map[string]dbus.Variant{"State": dbus.MakeVariant("Down"), "StateReason": dbus.MakeVariant("the device is gone")}
	if diff := cmp.Diff([]any{xml.HostInterface, changed, []string{}}, got.Body, cmp.Comparer(sameVariant)); diff != "" || got.Name != propertiesChanged || got.Path != kcs3 {
		t.Errorf("%s at %s: %s", got.Name, got.Path, diff)
	}
}

func TestHostInterfacesComeAndGo(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	for range 2 {
		o, _ := r.addKCS(t, &fakeSMS{})
		for range []dbus.ObjectPath{rootPath, BasePath} {
			got := <-r.heard
			added, _ := got.Body[1].(map[string]map[string]dbus.Variant)
			if got.Name != interfacesAdded || got.Body[0] != kcs3 || added[xml.HostInterface]["Type"].Value() != "kcs" {
				t.Errorf("signal %v", got)
			}
		}
		managed, err := r.call(t, BasePath, xml.ObjectManagerInterface, "GetManagedObjects")
		if err != nil {
			t.Fatal(err)
		}
		paths := slices.Sorted(maps.Keys(managed[0].(map[dbus.ObjectPath]map[string]map[string]dbus.Variant)))
		if diff := cmp.Diff([]dbus.ObjectPath{bus4, kcs3}, paths); diff != "" {
			t.Error(diff)
		}
		o.Close(t.Context())
		o.Close(t.Context())
		for range []dbus.ObjectPath{rootPath, BasePath} {
			if got := <-r.heard; got.Name != interfacesRemoved || got.Body[0] != kcs3 {
				t.Errorf("signal %v", got)
			}
		}
		for {
			// The message bus may not have noticed yet.
			if _, err := r.client.CallBus(t.Context(), "GetNameOwner", kcs3Name); err != nil {
				break
			}
		}
	}
	// The server runs on.
	if got := r.legacy(t, 0, 6, 0, 1); got[0] != int32(ipmb.StatusOK) {
		t.Errorf("bus4 answers %v", got)
	}
}

func TestHostInterfaceThatCannotBe(t *testing.T) {
	r := newRig(t, Config{})
	if _, err := r.server.HostDaemon(t.Context(), "Other"); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"no name": "", "a slash": "a/b", "a digit first": "3kcs", "the service's own name": "Ipmb",
		"a channel's bus name": "Other", "registered handlers": "handlers",
	} {
		if o, err := r.server.NewHost(t.Context(), path); err == nil {
			t.Errorf("%s: %s", name, o.Path())
		}
	}
	o, err := r.server.NewHost(t.Context(), "bus4")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Export(&fakeInterface{}, nil); err == nil || !strings.Contains(err.Error(), string(bus4)) {
		t.Errorf("a bus's path: %v", err)
	}
	o.Close(t.Context())
	if _, err := r.call(t, bus4, xml.PropertiesInterface, "Get", xml.BusInterface, "Bus"); err != nil {
		t.Error(err)
	}
}

func TestHostInterfaceWithoutAMessageBus(t *testing.T) {
	bus := bustest.Start(t)
	s := openServer(t, bus, Config{})
	bus.Stop()
	if _, err := s.NewHost(t.Context(), "ipmi-kcs3"); err == nil {
		t.Error("there is one")
	}
}
