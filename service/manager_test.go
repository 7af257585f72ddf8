package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/bridge"
	"ipmbd/dbusapi"
	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/internal/bustest"
	"ipmbd/internal/openbmc"
	"ipmbd/ipmi"
	"ipmbd/service/config"
	"ipmbd/xml"
)

// managed is a service whose manager a test calls.
type managed struct {
	t    *testing.T
	conn *dbus.Conn
	file string
}

// manage runs a service without endpoints until the test ends.
func manage(t *testing.T, bus *bustest.Bus) managed {
	t.Helper()
	t.Setenv("NOTIFY_SOCKET", "")
	m := managed{t, connect(t, bus), filepath.Join(t.TempDir(), "ipmbd.json")}
	m.write(`{}`)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Options{Find: m.find, Bus: bus.Address, Log: zap.NewNop()}) }()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, "the end", done); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	for owner(m.conn) == "" {
		if t.Context().Err() != nil {
			t.Fatal("the name was never taken")
		}
	}
	return m
}

func (m managed) find() config.Source { return config.Source{Path: m.file} }

func (m managed) write(text string) {
	m.t.Helper()
	if err := os.WriteFile(m.file, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// does calls a method of the manager, which must succeed.
func (m managed) does(member string, args ...any) {
	m.t.Helper()
	object := m.conn.Object(xml.ServiceName, dbusapi.BasePath)
	if err := object.Call(xml.ServiceName+".Manager."+member, 0, args...).Err; err != nil {
		m.t.Fatal(member, err)
	}
}

// TestChangesLeaveNoGoroutine: only goroutines of the remaining endpoints are left.
func TestChangesLeaveNoGoroutine(t *testing.T) {
	bus := bustest.Start(t)
	before := goleak.IgnoreCurrent()
	t.Run("while the service runs", func(t *testing.T) {
		m := manage(t, bus)
		dir := t.TempDir()
		listener, err := sim.Listen(filepath.Join(dir, "ipmb-5"))
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan i2c.Transport, 200)
		go func() {
			defer close(accepted)
			for {
				link, err := listener.Accept()
				if err != nil {
					return
				}
				accepted <- link
			}
		}()
		defer func() {
			listener.Close()
			for link := range accepted {
				link.Close()
			}
		}()
		channel := func(keys string) string {
			return fmt.Sprintf(`{"type": "me", "slave-path": %q, "remote-addr": 44%s}`, filepath.Join(dir, "ipmb-5"), keys)
		}
		host := fmt.Sprintf(`{"type": "vm", "name": "host0", "path": "unix:%s/host0"}`, dir)
		round := func(n int) {
			m.does("AddBus", channel(`, "bus-name": "Other"`))
			m.does("AddHost", host)
			m.write(fmt.Sprintf(`{"channels": [%s], "hosts": [%s]}`, channel(fmt.Sprintf(`, "tries": %d`, n%60+1)), host))
			m.does("Reload")
			m.does("RemoveHost", dbusapi.BasePath+"/host0")
			m.does("RemoveBus", dbusapi.BasePath+"/bus5")
		}
		round(0)
		settled := runtime.NumGoroutine()
		for n := range 50 {
			round(n + 1)
		}
		deadline := time.Now().Add(timeLimit)
		for runtime.NumGoroutine() > settled {
			if time.Now().After(deadline) {
				t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), settled)
			}
			runtime.Gosched()
		}
	})
	goleak.VerifyNone(t, before)
}

// A reload reads the file that a start would read: another file may be there, of the other
// kind, so that all channels are replaced.
func TestReloadFindsTheFileThatIsThereNow(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	bus, dir := bustest.Start(t), t.TempDir()
	first, second := filepath.Join(dir, "ipmbd.json"), filepath.Join(dir, "ipmb-channels.json")
	text := fmt.Sprintf(`{"channels": [{"type": "me", "slave-path": %q, "bmc-addr": 32, "remote-addr": 44%%s}]}`, filepath.Join(dir, "ipmb-5"))
	write := func(path, keys string) {
		t.Helper()
		if err := os.WriteFile(path, fmt.Appendf(nil, text, keys), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(second, "")
	sources := []config.Source{{Path: first}, {Path: second, OfIPMBBridge: true}}
	find := func() config.Source { return config.Find(sources) }
	read, _, err := config.Load(sources[1])
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{
			Config: *read, Find: find, Bus: bus.Address, Log: zap.New(core), devices: newFakeDevices().devices(),
		})
	}()
	m := managed{t: t, conn: connect(t, bus)}
	for logs.FilterMessage("serving").Len() == 0 {
		runtime.Gosched()
	}
	reloaded := func(file string, begun, ended int64) {
		t.Helper()
		m.does("Reload")
		all := logs.FilterMessage("reloaded").All()
		want := map[string]any{"file": file, "begun": begun, "ended": ended}
		if diff := cmp.Diff(want, all[len(all)-1].ContextMap()); diff != "" {
			t.Error(diff)
		}
	}
	reloaded(second, 0, 0)
	write(first, "")
	reloaded(first, 1, 1)
	write(first, `, "tries": 2`)
	reloaded(first, 1, 1)
	reloaded(first, 0, 0)
	for _, file := range []string{first, second} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	reloaded("", 0, 1)
	reloaded("", 0, 0)
	cancel()
	if err := receive(t, "the end", done); err != nil {
		t.Error(err)
	}
}

func TestReloadWithoutAFile(t *testing.T) {
	s := new(service)
	if err := s.reload(t.Context()); !errors.Is(err, dbusapi.ErrNoFile) {
		t.Error(err)
	}
}

func TestChangeOfAServiceThatEnds(t *testing.T) {
	s := &service{changes: make(chan change), settled: make(chan struct{}), changed: make(chan struct{}, 1), log: zap.NewNop()}
	if err := s.Reload(ended()); !errors.Is(err, context.Canceled) {
		t.Errorf("before it begins: %v", err)
	}
	s.makeChanges(ended(), nil)
	if err := s.Reload(t.Context()); !errors.Is(err, dbusapi.ErrStopping) {
		t.Errorf("after its end: %v", err)
	}
}

func TestChannelsFollowTheEndpoints(t *testing.T) {
	bus := bustest.Start(t)
	server, err := dbusapi.Open(t.Context(), dbusapi.Config{Address: bus.Address})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	s := &service{log: zap.NewNop(), server: server, platform: openbmc.New(bus.Address)}
	if err := s.openBMC(); err != nil {
		t.Fatal(err)
	}
	if err := s.openHandlers(); err != nil {
		t.Fatal(err)
	}
	one := testChannel().WithDefaults()
	one.IPMIChannel = new(ipmi.Channel(1))
	bridging := one
	bridging.Bridge = true
	for _, tt := range []struct {
		name     string
		plans    []plan
		lan      ipmi.Channel
		reserved bool
	}{
		{"none", nil, 1, false},
		{"one on channel 1", []plan{planOf(one)}, 2, false},
		{"one that bridges", []plan{planOf(bridging)}, 2, true},
		{"none again", nil, 1, false},
	} {
		if err := s.setChannels(tt.plans); err != nil {
			t.Fatal(err)
		}
		if got := s.lan; got != tt.lan {
			t.Errorf("%s: the LAN is on channel %d", tt.name, got)
		}
		if got := len(s.mux.Registrations()) > 0; got != tt.reserved {
			t.Errorf("%s: reserved %v", tt.name, s.mux.Registrations())
		}
	}
	pattern := bridge.Patterns(ipmi.Channel(1).Mask())[0]
	if _, err := s.mux.Register("somebody", s.bmc, pattern); err != nil {
		t.Fatal(err)
	}
	if err := s.setChannels([]plan{planOf(bridging)}); err == nil || s.lan != 1 {
		t.Errorf("what somebody has: %v", err)
	}
}
