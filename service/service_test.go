package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"ipmbd/bridge"
	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/internal/await"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/internal/fakelink"
	"ipmbd/internal/openbmc"
	"ipmbd/ipmi"
	"ipmbd/service/config"
	"ipmbd/xml"
)

// timeLimit is how long a test waits for an event.
const timeLimit = 30 * time.Second

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	return await.Receive(t, timeLimit, what, from)
}

// notifications makes the socket of sd_notify(3), and returns its messages with their times.
func notifications(t *testing.T) <-chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	said := make(chan string, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 4096)
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				return
			}
			said <- string(buffer[:n])
		}
	}()
	t.Cleanup(func() {
		socket.Close()
		<-ended
	})
	return said
}

// until waits for something to be said to systemd.
func until(t *testing.T, said <-chan string, what string) {
	t.Helper()
	for receive(t, what, said) != what {
	}
}

// testChannel is a channel with all defaults.
func testChannel() config.Channel {
	return config.Channel{Type: config.TypeME, SlavePath: "/dev/ipmb-5", RemoteAddress: 0x2C}.WithDefaults()
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// connect is a client of the private bus.
func connect(t *testing.T, bus *bustest.Bus) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func owner(conn *dbus.Conn) string {
	var owner string
	_ = conn.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, xml.ServiceName).Store(&owner)
	return owner
}

// oneBus is a configuration whose device is missing.
func oneBus(t *testing.T) config.Config {
	return config.Config{Channels: []config.Channel{{
		Type: config.TypeME, SlavePath: filepath.Join(t.TempDir(), "ipmb-5"), RemoteAddress: 0x2C,
	}}}
}

// start runs the service; its end comes on the channel.
func start(ctx context.Context, bus *bustest.Bus, config config.Config) <-chan error {
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Options{Config: config, Bus: bus.Address, Log: zap.NewNop()}) }()
	return done
}

func TestRunTellsSystemdAndLeavesNothing(t *testing.T) {
	bus := bustest.Start(t) // before, since dbus-daemon tells systemd, too
	said := notifications(t)
	conn := connect(t, bus)
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, bus, oneBus(t))
	until(t, said, "READY=1\nSTATUS=1 bus, not up: bus5 Down")
	if owner(conn) == "" {
		t.Error("ready without the name")
	}
	cancel()
	if err := receive(t, "the end", done); err != nil {
		t.Errorf("ended with %v", err)
	}
	until(t, said, "STOPPING=1")
	if got := owner(conn); got != "" {
		t.Errorf("%s still has the name", got)
	}
	goleak.VerifyNone(t, before)
}

func TestRunThatIsStoppedAtItsStart(t *testing.T) {
	bus := bustest.Start(t)
	before := goleak.IgnoreCurrent()
	if err := receive(t, "the end", start(ended(), bus, oneBus(t))); err != nil {
		t.Errorf("ended with %v", err)
	}
	goleak.VerifyNone(t, before)
}

func TestRunWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	bus := bustest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, bus, config.Config{})
	conn := connect(t, bus)
	for owner(conn) == "" {
		if t.Context().Err() != nil {
			t.Fatal("the name was never taken")
		}
	}
	cancel()
	if err := receive(t, "the end", done); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A systemd that does not read has 2 s for a message.
func TestNotifyDoesNotWaitForever(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	for range 10_000 { // more than the kernel queues
		if err = notify("STATUS=x"); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestRunFails(t *testing.T) {
	taken := func(t *testing.T, bus *bustest.Bus) {
		if _, err := connect(t, bus).RequestName(xml.ServiceName, 0); err != nil {
			t.Fatal(err)
		}
	}
	twice := oneBus(t)
	twice.Channels = append(twice.Channels, twice.Channels[0])
	nowhere, deaf := oneBus(t), oneBus(t)
	nowhere.BMC.Folder, deaf.FrameSocket = os.DevNull+"/bmc", os.DevNull+"/frames"
	tests := []struct {
		name    string
		prepare func(*testing.T, *bustest.Bus)
		config  config.Config
		want    error  // or
		text    string // part of the error's
	}{
		{"the name is taken", taken, oneBus(t), dbusapi.ErrNameTaken, "by process"},
		{"no message bus", func(_ *testing.T, bus *bustest.Bus) { bus.Stop() }, oneBus(t), nil, "message bus at"},
		{"a folder that cannot be made", func(*testing.T, *bustest.Bus) {}, nowhere, ErrWrongConfig, "bmc.folder: "},
		{"a frame socket that cannot be made", func(*testing.T, *bustest.Bus) {}, deaf, ErrWrongConfig, "frame-socket: "},
		{"two buses of one name", func(*testing.T, *bustest.Bus) {}, twice, nil, "channel bus5"},
		{"systemd is not there to be told", func(t *testing.T, _ *bustest.Bus) {
			t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
		}, oneBus(t), nil, "nobody"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bus := bustest.Start(t)
			said := notifications(t)
			test.prepare(t, bus)
			before := goleak.IgnoreCurrent()
			err := receive(t, "the end", start(t.Context(), bus, test.config))
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("ended with %v", err)
			}
			for len(said) > 0 {
				if got := <-said; strings.Contains(got, "READY") {
					t.Errorf("told systemd %q", got)
				}
			}
			goleak.VerifyNone(t, before)
		})
	}
}

func TestRunEndsWithTheMessageBus(t *testing.T) {
	bus := bustest.Start(t) // before, since dbus-daemon tells systemd, too
	said := notifications(t)
	done := start(t.Context(), bus, oneBus(t))
	until(t, said, "READY=1\nSTATUS=1 bus, not up: bus5 Down")
	bus.Stop()
	if err := receive(t, "the end", done); !errors.Is(err, dbuswire.ErrDisconnected) {
		t.Errorf("ended with %v", err)
	}
}

func TestDemoRuns(t *testing.T) {
	bus := bustest.Start(t) // before, since dbus-daemon tells systemd, too
	said := notifications(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Config: DemoConfig(), Bus: bus.Address, Demo: true, Log: zap.NewNop()})
	}()
	until(t, said, "READY=1\nSTATUS=2 buses up")
	cancel()
	if err := receive(t, "the end", done); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestHandlerOfAChannel: the handler of commands that no program has registered.
func TestHandlerOfAChannel(t *testing.T) {
	bus := bustest.Start(t)
	server, err := dbusapi.Open(t.Context(), dbusapi.Config{Address: bus.Address})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for kind, want := range map[config.HandlerKind]ipmi.CompletionCode{
		config.HandlerNone:   ipmi.CodeInvalidCommand,
		config.HandlerHost:   ipmi.CodeNoResponse, // it is absent
		config.HandlerBMC:    ipmi.CodeInvalidCommand,
		config.HandlerSignal: ipmi.CodeInvalidCommand, // no client answers
	} {
		t.Run(kind.String(), func(t *testing.T) {
			s := &service{log: zap.NewNop(), server: server, platform: openbmc.New(bus.Address)}
			if err := s.openBMC(); err != nil {
				t.Fatal(err)
			}
			if err := s.openHandlers(); err != nil {
				t.Fatal(err)
			}
			registered := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return ipmi.Response{}, nil })
			pattern := ipmi.Pattern{Channels: ipmi.AllChannels, NetFn: ipmi.NetFnApp, Command: 0x56, Group: ipmi.AnyGroup}
			if _, err := s.mux.Register("somebody", registered, pattern); err != nil {
				t.Fatal(err)
			}
			ch := testChannel()
			ch.Name, ch.Handler = kind.String(), kind
			object, err := server.NewBus(ch.Name, ch.Index())
			if err != nil {
				t.Fatal(err)
			}
			e := &endpoint{plan: planOf(ch), object: object, iface: s.newInterface(bridge.InterfaceConfig{Name: ch.Name})}
			if err := s.setHandler(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			req := ipmi.Request{Interface: ch.Name, NetFn: ipmi.NetFnApp, Command: 0x55}
			if kind != config.HandlerSignal { // these do not wait
				ctx = t.Context()
			}
			_, err = ipmi.Do(ctx, e.filter, &req)
			// On a machine that is too busy the deadline comes before C1h.
			late := kind == config.HandlerSignal && errors.Is(err, ipmi.ErrTooSlow)
			if ipmi.CodeOf(err) != want && !late {
				t.Errorf("%v, want %v", err, want)
			}
			// A registered handler serves its requests with any default.
			req.Command = pattern.Command
			if _, err := ipmi.Do(t.Context(), e.filter, &req); err != nil {
				t.Errorf("a registered command: %v", err)
			}
		})
	}
}

func TestStatusNamesTheBusesThatAreNotUp(t *testing.T) {
	s := new(service)
	var buses []*bus.Bus
	for i := range 3 {
		b := bus.New(bus.Config{Name: fmt.Sprint("bus", 2-i)}, new(fakelink.Link))
		buses = append(buses, b)
		s.endpoints.add(&endpoint{plan: plan{name: b.Name(), isBus: true}, runner: b})
	}
	buses[0].SetDown("")
	if got, want := s.status(), "STATUS=3 buses, not up: bus0 Down, bus1 Down"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	buses[1].SetDown("")
	if got, want := s.status(), "STATUS=3 buses, not up: bus0 Down"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestStatusNamesTheHostInterfacesThatAreNotUp(t *testing.T) {
	const up, waits, down = "", notConnected, "no such device"
	for _, tt := range []struct {
		buses int
		hosts []string // why they are Down or Waiting
		want  string
	}{
		{0, nil, "0 buses up"},
		{0, []string{up}, "1 host interface up"},
		{2, []string{up}, "2 buses, 1 host interface up"},
		{1, []string{up, up}, "1 bus, 2 host interfaces up"},
		{0, []string{waits}, "1 host interface, waiting for a machine: host0"},
		{1, []string{down, up, waits, waits}, "1 bus, 4 host interfaces, not up: host0 Down, waiting for a machine: host2, host3"},
		{0, []string{down, stopped}, "2 host interfaces, not up: host0 Down, host1 Down"},
	} {
		s := new(service)
		for range tt.buses {
			b := bus.New(bus.Config{}, new(fakelink.Link))
			b.SetDown("")
			s.endpoints.add(&endpoint{plan: plan{isBus: true}, runner: b})
		}
		for i, reason := range tt.hosts {
			h := &hostInterface{config: config.Host{Name: fmt.Sprint("host", i)}}
			h.Lifecycle = bus.NewLifecycle(h, func() {}, func(bus.State, string) {})
			if h.SetDown(""); reason == waits {
				h.SetWaiting(reason)
			} else {
				h.SetDown(reason)
			}
			s.endpoints.add(&endpoint{plan: plan{name: h.config.Name}, runner: h})
		}
		if got := s.status(); got != "STATUS="+tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestStatusFollowsAHostInterface(t *testing.T) {
	bus := bustest.Start(t)
	said := notifications(t)
	socket := filepath.Join(t.TempDir(), "h")
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, bus, config.Config{Hosts: []config.Host{{Type: config.HostVM, Name: "host0", Path: "unix:" + socket}}})
	until(t, said, "READY=1\nSTATUS=1 host interface, waiting for a machine: host0")
	machine, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	until(t, said, "STATUS=1 host interface up")
	machine.Close()
	until(t, said, "STATUS=1 host interface, waiting for a machine: host0")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
