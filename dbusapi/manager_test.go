package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/xml"
)

// fakeManager notes its calls, and answers with err.
type fakeManager struct {
	asked  []string
	err    error
	faults atomic.Pointer[[]string]
}

func (m *fakeManager) note(what string, arg any) error {
	m.asked = append(m.asked, fmt.Sprint(what, " ", arg))
	return m.err
}

func (m *fakeManager) AddBus(_ context.Context, json string) (dbus.ObjectPath, error) {
	return bus4, m.note("AddBus", json)
}

func (m *fakeManager) AddHost(_ context.Context, json string) (dbus.ObjectPath, error) {
	return BasePath + "/host0", m.note("AddHost", json)
}

func (m *fakeManager) RemoveBus(_ context.Context, path dbus.ObjectPath) error {
	return m.note("RemoveBus", path)
}

func (m *fakeManager) RemoveHost(_ context.Context, path dbus.ObjectPath) error {
	return m.note("RemoveHost", path)
}

func (m *fakeManager) Reload(context.Context) error { return m.note("Reload", "") }

func (m *fakeManager) Faults() []string {
	if faults := m.faults.Load(); faults != nil {
		return *faults
	}
	return nil
}

// managerCalls is a call of each method and the result.
var managerCalls = []struct {
	member string
	args   []any
	want   []any
}{
	{"AddBus", []any{"{}"}, []any{bus4}},
	{"AddHost", []any{"{}"}, []any{BasePath + "/host0"}},
	{"RemoveBus", []any{bus4}, []any{}},
	{"RemoveHost", []any{bus4}, []any{}},
	{"Reload", nil, []any{}},
}

func TestManagerIsAsked(t *testing.T) {
	m := new(fakeManager)
	r := newRig(t, Config{Manager: m})
	for _, c := range managerCalls {
		got, err := r.call(t, BasePath, xml.ManagerInterface, c.member, c.args...)
		if diff := cmp.Diff(c.want, append([]any{}, got...)); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", c.member, err, diff)
		}
	}
	want := []string{"AddBus {}", "AddHost {}", "RemoveBus " + string(bus4), "RemoveHost " + string(bus4), "Reload "}
	if diff := cmp.Diff(want, m.asked); diff != "" {
		t.Error(diff)
	}
}

func TestFaultsOfTheManager(t *testing.T) {
	m := new(fakeManager)
	r := newRig(t, Config{Manager: m})
	get := func() []string {
		t.Helper()
		got, err := r.call(t, BasePath, xml.PropertiesInterface, "Get", xml.ManagerInterface, "Faults")
		if err != nil {
			t.Fatal(err)
		}
		return got[0].(dbus.Variant).Value().([]string)
	}
	if got := get(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	r.listen(t)
	for _, faults := range [][]string{{"bmc.folder: no space left on device"}, {"bmc.folder: x", "frame-socket: y"}, {}} {
		m.faults.Store(&faults)
		r.server.FaultsChanged()
		r.server.FaultsChanged() // is announced once
		got := <-r.heard
		if got.Name != propertiesChanged || got.Path != BasePath || got.Body[0] != xml.ManagerInterface {
			t.Errorf("signal %+v", got)
		}
		told := got.Body[1].(map[string]dbus.Variant)["Faults"].Value().([]string)
		if !slices.Equal(told, faults) || !slices.Equal(get(), faults) {
			t.Errorf("%q, announced %q, want %q", get(), told, faults)
		}
	}
}

func TestManagersErrors(t *testing.T) {
	m := new(fakeManager)
	r := newRig(t, Config{Manager: m})
	for want, err := range map[string]error{
		xml.ErrorInvalidArgument: fmt.Errorf("%w: channel.tries = 0", ErrConfig),
		xml.ErrorNotAllowed:      fmt.Errorf("%w: index 1 belongs to bus5", ErrTaken),
		xml.ErrorNotFound:        ErrNoEndpoint,
		xml.ErrorUnsupported:     ErrNoFile,
	} {
		m.err = err
		for _, c := range managerCalls {
			_, got := r.call(t, BasePath, xml.ManagerInterface, c.member, c.args...)
			refused, _ := got.(dbus.Error)
			if refused.Name != want || len(refused.Body) != 1 || refused.Body[0] != err.Error() {
				t.Errorf("%s: %v", c.member, got)
			}
		}
	}
}

// A message bus that lets everybody call is no reason to obey everybody.
func TestManagerIsForRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not run: needs root, to be another user")
	}
	m := new(fakeManager)
	r := newRig(t, Config{Manager: m})
	nobody := bustest.DialAs(t, r.bus.Address, 65534, 65534).Object(xml.ServiceName, BasePath)
	for _, c := range managerCalls {
		for range 2 { // its user is asked for, and then known
			if err := nobody.Call(xml.ManagerInterface+"."+c.member, 0, c.args...).Err; errorName(err) != xml.ErrorAccessDenied {
				t.Errorf("%s by another user: %v", c.member, err)
			}
		}
	}
	if len(m.asked) > 0 {
		t.Errorf("asked for %q", m.asked)
	}
}

// On dbus-broker no rule for an interface holds for a call that names none.
func TestManagerMustBeNamed(t *testing.T) {
	m := new(fakeManager)
	r := newRig(t, Config{Manager: m})
	for _, c := range managerCalls {
		if err := r.client.Object(xml.ServiceName, BasePath).Call(c.member, 0, c.args...).Err; errorName(err) != "org.freedesktop.DBus.Error.UnknownMethod" {
			t.Errorf("%s without an interface: %v", c.member, err)
		}
	}
	if len(m.asked) > 0 {
		t.Errorf("asked for %q", m.asked)
	}
}

func TestNothingCanBeChangedWithoutAManager(t *testing.T) {
	r := newRig(t, Config{})
	for _, c := range managerCalls {
		if _, err := r.call(t, BasePath, xml.ManagerInterface, c.member, c.args...); errorName(err) != xml.ErrorUnsupported {
			t.Errorf("%s: %v", c.member, err)
		}
	}
}

func TestDrainOfABus(t *testing.T) {
	r := newRig(t, Config{})
	call := r.block(t, r.client)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	r.fake.Drain(over) // returns at once
	if _, err := r.call(t, bus4, xml.BusInterface, "sendRequest", byte(0), byte(6), byte(0), byte(1), []byte{}); errorName(err) != xml.ErrorUnavailable {
		t.Errorf("a call to a bus that leaves: %v", err)
	}
	select {
	case <-call:
		t.Error("the call in progress has ended")
	default:
	}
	_ = r.client.Close()
	r.fake.Drain(t.Context())
}

func TestNameIsGivenBackByItsLastUser(t *testing.T) {
	r := newRig(t, Config{})
	const name = xml.ChannelNames + "INTRABMC"
	owner := func() string {
		got, _ := r.client.OwnerOf(t.Context(), name)
		return got
	}
	for range 2 {
		for range 2 {
			if _, err := r.server.HostDaemon(t.Context(), "INTRABMC"); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.server.TakeNames(t.Context()); err != nil || owner() == "" {
			t.Fatalf("not taken: %v", err)
		}
		r.server.ReleaseHostDaemon(t.Context(), "INTRABMC")
		if owner() == "" {
			t.Error("given back, and one user is left")
		}
		r.server.ReleaseHostDaemon(t.Context(), "INTRABMC")
		if got := owner(); got != "" {
			t.Errorf("%s has it", got)
		}
	}
	// The service's own connection is no channel's to close.
	if _, err := r.server.HostDaemon(t.Context(), "Ipmb"); err != nil {
		t.Fatal(err)
	}
	r.server.ReleaseHostDaemon(t.Context(), "Ipmb")
	r.legacy(t, 0, 6, 0, 1)
}

func TestNameOfAHostIsNoChannels(t *testing.T) {
	r := newRig(t, Config{})
	o, err := r.server.NewHost(t.Context(), "ipmi_kcs3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.server.HostDaemon(t.Context(), "ipmi_kcs3"); !errors.Is(err, ErrTaken) {
		t.Errorf("shared: %v", err)
	}
	o.Close(t.Context())
	if _, err := r.server.HostDaemon(t.Context(), "ipmi_kcs3"); err != nil {
		t.Error(err)
	}
	if _, err := r.server.NewHost(t.Context(), "ipmi_kcs3"); !errors.Is(err, ErrTaken) {
		t.Errorf("a channel's: %v", err)
	}
}

func TestNamesAreChecked(t *testing.T) {
	r := newRig(t, Config{})
	if _, err := r.server.HostDaemon(t.Context(), "Ours"); err != nil {
		t.Fatal(err)
	}
	if err := r.server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.server.CheckNames(t.Context(), []string{"Ours", "Free", "Ipmb"}, true); err != nil {
		t.Error(err)
	}
	for _, name := range []string{xml.ChannelNames + "Theirs", hostIPMIName} {
		if _, err := r.client.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.server.CheckNames(t.Context(), []string{"Free", "Theirs"}, false); !errors.Is(err, ErrNameTaken) {
		t.Errorf("a channel's: %v", err)
	}
	if err := r.server.CheckNames(t.Context(), nil, true); !errors.Is(err, ErrNameTaken) {
		t.Errorf("btbridge's: %v", err)
	}
}

func TestLimitOfASenderCanBeChanged(t *testing.T) {
	r := newRig(t, Config{})
	r.server.SetMaxCallsPerSender(1)
	c := r.server.clients
	one := c.findClient([]byte(":1.77"))
	if err := c.beginAct(one, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.beginAct(one, nil); !errors.Is(err, ErrLimit) {
		t.Errorf("a second call: %v", err)
	}
	r.server.SetMaxCallsPerSender(0)
	if err := c.beginAct(one, nil); err != nil {
		t.Fatal(err)
	}
	c.finishAct(one)
	c.finishAct(one)
}
