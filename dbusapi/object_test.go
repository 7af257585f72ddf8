package dbusapi

import (
	encoding "encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/ipmb"
	"ipmbd/xml"
)

type node struct {
	Interfaces []xml.Interface `xml:"interface"`
	Nodes      []struct {
		Name string `xml:"name,attr"`
	} `xml:"node"`
}

// walk introspects a path and all below it.
func (r *rig) walk(t *testing.T, path dbus.ObjectPath, seen map[dbus.ObjectPath]node) {
	t.Helper()
	got, err := r.call(t, path, xml.IntrospectableInterface, "Introspect")
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var n node
	if err := encoding.Unmarshal([]byte(got[0].(string)), &n); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	seen[path] = n
	for _, child := range n.Nodes {
		r.walk(t, dbus.ObjectPath(strings.TrimSuffix(string(path), "/")+"/"+child.Name), seen)
	}
}

func TestEveryPathIntrospects(t *testing.T) {
	r := newRig(t, Config{})
	addBus(t, r.server, newFakeBus("second-bus", 4))
	seen := make(map[dbus.ObjectPath]node)
	r.walk(t, "/", seen)

	own := make(map[dbus.ObjectPath][]string)
	for path, n := range seen {
		own[path] = []string{}
		for _, i := range n.Interfaces {
			if i.Name != xml.IntrospectableInterface && i.Name != xml.PropertiesInterface && i.Name != xml.PeerInterface {
				own[path] = append(own[path], i.Name)
			}
		}
		if len(n.Interfaces)-len(own[path]) != 3 {
			t.Errorf("%s lacks a standard interface", path)
		}
	}
	want := map[dbus.ObjectPath][]string{
		"/":                                 {xml.ObjectManagerInterface},
		"/xyz":                              {},
		"/xyz/openbmc_project":              {},
		"/xyz/openbmc_project/Ipmi":         {},
		"/xyz/openbmc_project/Ipmi/Channel": {},
		BasePath:                            {xml.LegacyInterface, xml.RouterInterface, xml.ManagerInterface, xml.ObjectManagerInterface},
		handlersPath:                        {},
		bus4:                                {xml.BusInterface},
		BasePath + "/second_bus":            {xml.BusInterface},
	}
	if diff := cmp.Diff(want, own); diff != "" {
		t.Error(diff)
	}
}

func TestBusctlIntrospectsABus(t *testing.T) {
	r := newRig(t, Config{})
	text := strings.Join(strings.Fields(r.busctl(t, "introspect", xml.ServiceName, string(bus4))), " ")
	for _, want := range []string{
		".sendRequest method yyyyay yay -",
		".sendRequestWithOptions method yyyyaya{sv} yay -",
		".sendTracedRequest method yyyyaya{sv} ssyayayu -",
		`.Bus property s "bus4" emits-change`,
		".OwnAddress property y 32 emits-change",
		".TimeoutMs property u 250 emits-change writable",
		".GetStatistics method - a{st} -",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("introspection lacks %q:\n%s", want, text)
		}
	}
	r.busctl(t, "tree", xml.ServiceName)
}

func TestPeerAnswersOnEveryObject(t *testing.T) {
	r := newRig(t, Config{})
	for _, path := range []dbus.ObjectPath{"/", "/xyz", BasePath, bus4} {
		if _, err := r.call(t, path, xml.PeerInterface, "Ping"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestManagedObjects(t *testing.T) {
	r := newRig(t, Config{})
	for path, want := range map[dbus.ObjectPath][]dbus.ObjectPath{
		"/":      {BasePath, bus4},
		BasePath: {bus4},
	} {
		got, err := r.call(t, path, xml.ObjectManagerInterface, "GetManagedObjects")
		if err != nil {
			t.Fatal(err)
		}
		managed := got[0].(map[dbus.ObjectPath]map[string]map[string]dbus.Variant)
		var paths []dbus.ObjectPath
		for p := range managed {
			paths = append(paths, p)
		}
		slices.Sort(paths)
		if diff := cmp.Diff(want, paths); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if len(managed[bus4][xml.BusInterface]) != len(properties(xml.BusInterface)) {
			t.Errorf("%s: bus4 has %v", path, managed[bus4])
		}
	}
}

func TestObjectsComeAndGo(t *testing.T) {
	r := newRig(t, Config{})
	r.listen(t)
	o := addBus(t, r.server, newFakeBus("bus9", 8))
	for _, manager := range []dbus.ObjectPath{rootPath, BasePath} {
		got := <-r.heard
		if got.Name != interfacesAdded || got.Path != manager || got.Body[0] != o.Path() {
			t.Errorf("signal %v", got)
		}
		added := got.Body[1].(map[string]map[string]dbus.Variant)
		if added[xml.BusInterface]["Index"].Value() != byte(8) {
			t.Errorf("added %v", added)
		}
	}
	o.Withdraw()
	o.Withdraw()
	for _, manager := range []dbus.ObjectPath{rootPath, BasePath} {
		got := <-r.heard
		if got.Name != interfacesRemoved || got.Path != manager || got.Body[0] != o.Path() {
			t.Errorf("signal %v", got)
		}
	}
	if got := r.legacy(t, 8, 6, 0, 1); got[0] != int32(ipmb.StatusFailed) {
		t.Errorf("the channel of a removed bus answers %v", got)
	}
	again := addBus(t, r.server, newFakeBus("bus9", 8))
	o.FreeIndex()
	if got := r.legacy(t, 8, 6, 0, 1); got[0] != int32(ipmb.StatusOK) {
		t.Errorf("the channel of the next bus answers %v", got)
	}
	again.Withdraw()
	again.FreeIndex()
	if got := r.legacy(t, 8, 6, 0, 1); got[0] != int32(ipmb.StatusInvalid) {
		t.Errorf("a channel of nobody answers %v", got)
	}
	if _, err := r.call(t, o.Path(), xml.IntrospectableInterface, "Introspect"); err == nil {
		t.Error("a removed bus introspects")
	}
}

func TestFirstBusHasASharedIndex(t *testing.T) {
	r := newRig(t, Config{})
	second := newFakeBus("bus5", 0)
	o := addBus(t, r.server, second)
	r.legacy(t, 0, 6, 0, 1)
	if len(r.fake.requests) != 1 || len(second.requests) != 0 {
		t.Error("the second bus was reached")
	}
	o.Withdraw()
	if got := r.legacy(t, 0, 6, 0, 1); got[0] != int32(ipmb.StatusOK) {
		t.Errorf("after the second has gone: %v", got)
	}
}

func TestNamesOfBuses(t *testing.T) {
	r := newRig(t, Config{})
	for _, name := range []string{"", "a/b", "ä", "a b", "a.b", "handlers"} {
		if _, err := r.server.NewBus(name, 0); err == nil {
			t.Errorf("%q became a path", name)
		}
	}
	o, err := r.server.NewBus("bus4", 12)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Export(newFakeBus("bus4", 12).Bus); err == nil {
		t.Error("two buses have one path")
	}
}
