package dbuswire

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m) }

// dial connects to a test's bus.
func dial(t testing.TB, bus *bustest.Bus, config Config) *Conn {
	t.Helper()
	config.Address = bus.Address
	conn, err := Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestConnTalksToTheMessageBus(t *testing.T) {
	conn := dial(t, bustest.Start(t), Config{})
	got, err := conn.CallBus(t.Context(), "GetNameOwner", conn.Name())
	if err != nil || len(got) != 1 || got[0] != conn.Name() {
		t.Fatalf("GetNameOwner = %v, %v", got, err)
	}
}

func TestConnErrorOfThePeerIsADBusError(t *testing.T) {
	conn := dial(t, bustest.Start(t), Config{})
	_, err := conn.Call(t.Context(), Method{Destination: "no.such", Path: "/", Interface: "a.b", Member: "C"})
	var peer dbus.Error
	if !errors.As(err, &peer) || peer.Name != "org.freedesktop.DBus.Error.ServiceUnknown" {
		t.Fatalf("error = %#v", err)
	}
}

func TestConnCallEndsWithTheConnection(t *testing.T) {
	bus := bustest.Start(t)
	silent := dial(t, bus, Config{Objects: bustest.NewSilence(t)})
	conn := dial(t, bus, Config{})
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Call(t.Context(), Method{Destination: silent.Name(), Path: "/", Interface: "a.b", Member: "C"})
		ended <- err
	}()
	bus.Stop()
	if err := <-ended; !errors.Is(err, ErrDisconnected) {
		t.Fatalf("error = %v", err)
	}
	<-conn.Done()
	if _, err := conn.CallBus(t.Context(), "ListNames"); !errors.Is(err, ErrDisconnected) {
		t.Fatalf("error of a later call = %v", err)
	}
}

func TestConnCallEndsWithItsContext(t *testing.T) {
	bus := bustest.Start(t)
	silent := dial(t, bus, Config{Objects: bustest.NewSilence(t)})
	conn := dial(t, bus, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := conn.Call(ctx, Method{Destination: silent.Name(), Path: "/", Interface: "a.b", Member: "C"})
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
}

func TestConnSignalsComeInOrder(t *testing.T) {
	bus := bustest.Start(t)
	const count = 500
	got := make(chan any, count)
	hearer := dial(t, bus, Config{Signal: func(s *dbus.Signal) {
		if s.Name == "a.b.Tick" {
			got <- s.Body[0]
		}
	}})
	if err := hearer.AddMatch(t.Context(), "type='signal',interface='a.b'"); err != nil {
		t.Fatal(err)
	}
	emitter := dial(t, bus, Config{})
	for i := range count {
		if err := emitter.Emit("/", "a.b.Tick", uint32(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		if tick := <-got; tick != uint32(i) {
			t.Fatalf("signal %d is %v", i, tick)
		}
	}
}

func TestDialTriesEachAddress(t *testing.T) {
	bus := bustest.Start(t)
	conn, err := Dial(t.Context(), Config{Address: "unix:path=/nonexistent/bus;" + bus.Address})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestDialFailures(t *testing.T) {
	bustest.Start(t)
	for name, address := range map[string]string{"system": SystemBus, "session": SessionBus, "nobody listens": "unix:path=/nonexistent"} {
		if _, err := Dial(t.Context(), Config{Address: address}); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
}

func TestDialGivesUpOnASilentBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		// Taken and never answered; the null byte says the dialer waits.
		sock, err := listener.Accept()
		if err == nil {
			_, _ = sock.Read(make([]byte, 1))
			cancel()
			_, _ = sock.Read(make([]byte, 64))
			_ = sock.Close()
		}
	}()
	if _, err := Dial(ctx, Config{Address: "unix:path=" + path}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
}
