package dbusapi

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmb"
	"ipmbd/xml"
)

func TestSecondInstanceIsRefused(t *testing.T) {
	r := newRig(t, Config{})
	second := openServer(t, r.bus, Config{})
	err := second.TakeNames(t.Context())
	if !errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("error = %v", err)
	}
	if got := r.legacy(t, 0, 6, 0, 1); got[0] != int32(ipmb.StatusOK) {
		t.Errorf("the first answers %v", got)
	}
	if err := r.server.ReleaseNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.TakeNames(t.Context()); err != nil {
		t.Errorf("after the first has given its name back: %v", err)
	}
}

func TestQueueForTheNameIsNotJoined(t *testing.T) {
	r := newRig(t, Config{})
	second := openServer(t, r.bus, Config{})
	_ = second.TakeNames(t.Context())
	_ = r.server.ReleaseNames(t.Context())
	_, err := r.client.CallBus(t.Context(), "GetNameOwner", xml.ServiceName)
	if errorName(err) != "org.freedesktop.DBus.Error.NameHasNoOwner" {
		t.Errorf("the second instance got the name: %v", err)
	}
}

func TestNameIsNotGivenUpToAReplacement(t *testing.T) {
	r := newRig(t, Config{})
	got, err := r.client.RequestName(xml.ServiceName, dbus.NameFlagReplaceExisting|dbus.NameFlagDoNotQueue)
	if err != nil || got != dbus.RequestNameReplyExists {
		t.Errorf("RequestName = %v, %v", got, err)
	}
}

func TestNoNameIsTakenBeforeItIsAskedFor(t *testing.T) {
	bus := bustest.Start(t)
	openServer(t, bus, Config{})
	client := dial(t, bus, dbuswire.Config{})
	if _, err := client.CallBus(t.Context(), "GetNameOwner", xml.ServiceName); err == nil {
		t.Error("Open took the name")
	}
}

func TestNameDeniedByThePolicySaysSo(t *testing.T) {
	s := openServer(t, bustest.StartConfig(t, bustest.Config{System: true}), Config{})
	if err := s.TakeNames(t.Context()); err == nil || !strings.Contains(err.Error(), xml.ServiceName) {
		t.Errorf("error = %v", err)
	}
}

func TestEachBusNameHasItsConnection(t *testing.T) {
	r := newRig(t, Config{})
	ownHost, err := r.server.HostDaemon(t.Context(), "Ipmb")
	if err != nil || ownHost.conn != r.server.conn {
		t.Errorf("the service's own name has another connection: %v", err)
	}
	other, err := r.server.HostDaemon(t.Context(), "IPMB")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := r.server.HostDaemon(t.Context(), "IPMB"); again.conn != other.conn {
		t.Error("one name has two connections")
	}
	if err := r.server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]*dbuswire.Conn{"Ipmb": r.server.conn, "IPMB": other.conn} {
		got, err := r.client.CallBus(t.Context(), "GetNameOwner", xml.ChannelNames+name)
		if err != nil || got[0] != conn.Name() {
			t.Errorf("%s is owned by %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "a.b", "1a", "ä", strings.Repeat("a", 255)} {
		if _, err := r.server.HostDaemon(t.Context(), name); err == nil {
			t.Errorf("%q became a name", name)
		}
	}
}

func TestRunEndsWhenTheMessageBusIsLost(t *testing.T) {
	for _, name := range []string{"own connection", "connection of a bus-name"} {
		t.Run(name, func(t *testing.T) {
			bus := bustest.Start(t)
			s := openServer(t, bus, Config{})
			conn := s.conn
			if name != "own connection" {
				other, err := s.HostDaemon(t.Context(), "Other")
				if err != nil {
					t.Fatal(err)
				}
				conn = other.conn
			}
			done := make(chan error, 1)
			go func() { done <- s.Run(t.Context()) }()
			_ = conn.Close()
			if err := <-done; !errors.Is(err, dbuswire.ErrDisconnected) {
				t.Errorf("Run = %v", err)
			}
		})
	}
}

func TestOpenWithoutAMessageBus(t *testing.T) {
	if _, err := Open(t.Context(), Config{Address: "unix:path=/nonexistent"}); err == nil {
		t.Error("opened")
	}
}
