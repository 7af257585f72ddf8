package service

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/i2c/sim"
	"ipmbd/internal/bustest"
	"ipmbd/service/config"
	"ipmbd/xml"
)

// fakeDevices are the devices of a machine, in the hands of a test.
type fakeDevices struct {
	mu      sync.Mutex
	paths   []string
	changed chan struct{}
}

func newFakeDevices() *fakeDevices { return &fakeDevices{changed: make(chan struct{}, 1)} }

func (f *fakeDevices) devices() *devices {
	return &devices{list: f.list, watch: func() (bus.Watch, error) { return f, nil }}
}

func (f *fakeDevices) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.paths)
}

func (f *fakeDevices) set(paths ...string) {
	f.mu.Lock()
	f.paths = paths
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fakeDevices) Wait(ctx context.Context) error {
	select {
	case <-f.changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeDevices) Close() error { return nil }

// foundService is a service without a configuration file.
type foundService struct {
	managed
	*fakeDevices
	dir  string
	logs *observer.ObservedLogs
}

// startFound starts a service without a configuration file, on a machine with devices.
func startFound(t *testing.T, sources []config.Source, names ...string) *foundService {
	t.Helper()
	t.Setenv("NOTIFY_SOCKET", "")
	s := &foundService{fakeDevices: newFakeDevices(), dir: t.TempDir()}
	core, logs := observer.New(zap.InfoLevel)
	s.logs = logs
	s.set(s.pathsOf(names...)...)
	on := bustest.Start(t)
	s.managed = managed{t: t, conn: connect(t, on)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{
			Config: config.Config{Found: true}, Find: func() config.Source { return config.Find(sources) },
			Bus: on.Address, Log: zap.New(core), devices: s.fakeDevices.devices(),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, "the end", done); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	for owner(s.conn) == "" {
		runtime.Gosched()
	}
	return s
}

func (s *foundService) pathsOf(names ...string) (paths []string) {
	for _, name := range names {
		paths = append(paths, filepath.Join(s.dir, name))
	}
	return paths
}

// plug makes these the devices of the machine.
func (s *foundService) plug(names ...string) { s.set(s.pathsOf(names...)...) }

// listen makes a device that a bus can open.
func (s *foundService) listen(name string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(s.dir, name)), 0o755); err != nil {
		s.t.Fatal(err)
	}
	listener, err := sim.Listen(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { listener.Close() })
}

// properties are those of the buses, by name.
func (s *foundService) properties() map[string]map[string]dbus.Variant {
	s.t.Helper()
	objects := make(map[dbus.ObjectPath]map[string]map[string]dbus.Variant)
	err := s.conn.Object(xml.ServiceName, dbusapi.BasePath).Call(xml.ObjectManagerInterface+".GetManagedObjects", 0).Store(&objects)
	if err != nil {
		s.t.Fatal(err)
	}
	all := make(map[string]map[string]dbus.Variant)
	for _, interfaces := range objects {
		if p := interfaces[xml.BusInterface]; p != nil {
			all[p["Bus"].Value().(string)] = p
		}
	}
	return all
}

// has waits until these are the buses, each with its index and its file.
func (s *foundService) has(want map[string]foundBus) {
	s.t.Helper()
	var got map[string]foundBus
	for !maps.Equal(got, want) {
		if s.t.Context().Err() != nil {
			s.t.Fatalf("buses %v, want %v", got, want)
		}
		runtime.Gosched()
		got = make(map[string]foundBus)
		for name, p := range s.properties() {
			device, _ := filepath.Rel(s.dir, p["Device"].Value().(string))
			got[name] = foundBus{p["Index"].Value().(byte), device, p["State"].Value().(string)}
		}
	}
}

// foundBus are properties of a bus.
type foundBus struct {
	index  byte
	device string
	state  string
}

func TestEachDeviceIsServedWithoutAFile(t *testing.T) {
	up, down := string(bus.Up), string(bus.Down)
	bus4, bus7 := foundBus{16, "ipmb-4", down}, foundBus{28, "ipmb-7", down}
	const mqueue = "i2c/4-1010/slave-mqueue"
	t.Run("at the first call", func(t *testing.T) {
		s := startFound(t, nil, "ipmb-4", "ipmb-7")
		if got := len(s.properties()); got != 2 {
			t.Errorf("%d buses", got)
		}
		s.has(map[string]foundBus{"bus4": bus4, "bus7": bus7})
	})
	t.Run("as they come", func(t *testing.T) {
		s := startFound(t, nil)
		s.has(nil)
		s.listen("ipmb-4")
		s.plug("ipmb-4")
		s.has(map[string]foundBus{"bus4": {16, "ipmb-4", up}})
		s.plug("ipmb-4", "ipmb-7")
		s.has(map[string]foundBus{"bus4": {16, "ipmb-4", up}, "bus7": bus7})
	})
	t.Run("after they have gone", func(t *testing.T) {
		s := startFound(t, nil, "ipmb-4")
		s.plug()
		s.plug("ipmb-7")
		s.has(map[string]foundBus{"bus4": bus4, "bus7": bus7})
		s.plug("ipmb-4")
		s.plug("ipmb-4", "ipmb-9")
		s.has(map[string]foundBus{"bus4": bus4, "bus7": bus7, "bus9": {36, "ipmb-9", down}})
	})
	t.Run("with numbers beyond an index", func(t *testing.T) {
		s := startFound(t, nil, "ipmb-63", "ipmb-64", "ipmb-65")
		s.has(map[string]foundBus{
			"bus63": {252, "ipmb-63", down}, "bus64": {bus.NoIndex, "ipmb-64", down}, "bus65": {bus.NoIndex, "ipmb-65", down},
		})
	})
	t.Run("two of one I2C bus", func(t *testing.T) {
		s := startFound(t, nil, "ipmb-4", mqueue)
		s.has(map[string]foundBus{"bus4": bus4})
		if s.logs.FilterMessageSnippet("a device is not served").Len() != 1 {
			t.Error("nothing is said about the second")
		}
	})
	t.Run("at another own address", func(t *testing.T) {
		const other = "i2c/4-1011/slave-mqueue"
		s := startFound(t, nil, mqueue)
		s.has(map[string]foundBus{"bus4": {16, mqueue, down}})
		s.plug(other)
		s.has(map[string]foundBus{"bus4": {16, other, down}})
	})
	t.Run("unless an administrator has removed them", func(t *testing.T) {
		s := startFound(t, nil, "ipmb-4")
		s.does("RemoveBus", dbusapi.BasePath+"/bus4")
		s.plug("ipmb-4", "ipmb-7")
		s.has(map[string]foundBus{"bus7": bus7})
		s.does("Reload")
		s.has(map[string]foundBus{"bus4": bus4, "bus7": bus7})
	})
	t.Run("until there is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "ipmbd.json")
		s := startFound(t, []config.Source{{Path: file}}, "ipmb-4")
		s.has(map[string]foundBus{"bus4": bus4})
		text := `{"channels": [{"type": "me", "slave-path": "` + s.dir + `/ipmb-4", "remote-addr": 44}]}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.does("Reload")
		s.has(map[string]foundBus{"bus4": {1, "ipmb-4", down}})
		s.plug("ipmb-4", "ipmb-7")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		s.does("Reload")
		s.has(map[string]foundBus{"bus4": bus4, "bus7": bus7})
	})
}

func TestStatusOfAServiceThatAwaitsADevice(t *testing.T) {
	s := new(service)
	s.servesFound.Store(true)
	if got := s.status(); got != "STATUS=waiting for an IPMB device" {
		t.Error(got)
	}
}
