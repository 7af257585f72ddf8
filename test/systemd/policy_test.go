package systemd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/await"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
	documents "ipmbd/xml"
)

// onEachBus runs a story about the rights of users on the message bus of a board that serves,
// once for each message bus.
func onEachBus(t *testing.T, tell func(t *testing.T, l *lab)) {
	t.Helper()
	for bus, how := range buses {
		t.Run(bus, func(t *testing.T) {
			l := startBoard(t, how)
			l.run("systemctl", "start", service)
			tell(t, l)
		})
	}
}

// denied reports whether it was the message bus that refused.
func denied(err error) bool {
	var refused dbus.Error
	return errors.As(err, &refused) && refused.Name == "org.freedesktop.DBus.Error.AccessDenied"
}

func TestWhoMaySend(t *testing.T) {
	onEachBus(t, func(t *testing.T, l *lab) {
		for user, may := range map[string]bool{"root": true, "sender": true, "machine": false, "nobody": false} {
			call := l.dial(user).Object(name, bus0).Call(name+".sendRequest", 0, byte(0x2C), byte(6), byte(0), byte(1), []byte{})
			if may && call.Err != nil || !may && !denied(call.Err) {
				t.Errorf("%s: %v", user, call.Err)
			}
		}
	})
}

// looking has the methods that every user may call.
var looking = map[string]bool{
	"org.freedesktop.DBus.Introspectable.Introspect":       true,
	"org.freedesktop.DBus.Properties.Get":                  true,
	"org.freedesktop.DBus.Properties.GetAll":               true,
	"org.freedesktop.DBus.ObjectManager.GetManagedObjects": true,
	"org.freedesktop.DBus.Peer.Ping":                       true,
	"org.freedesktop.DBus.Peer.GetMachineId":               true,
	name + ".GetStatistics":                                true,
	name + ".Host.GetStatistics":                           true,
	name + ".Router.GetStatistics":                         true,
}

// onlyRoot has the interfaces for root only: those that change the service or have another name.
var onlyRoot = map[string]bool{name + ".Manager": true, hostIPMI: true}

// A call without arguments does nothing but get an answer.
func TestWhoMayCallWhat(t *testing.T) {
	onEachBus(t, func(t *testing.T, l *lab) {
		users := map[string]*dbus.Conn{}
		for _, user := range []string{"root", "sender", "machine", "nobody"} {
			users[user] = l.dial(user)
		}
		for _, document := range documents.Names() {
			d, err := documents.Load(document)
			if err != nil {
				t.Fatal(err)
			}
			for _, method := range d.Methods {
				member := document + "." + method.Name
				for user, conn := range users {
					may := looking[member] || user == "root" || user == "sender" && !onlyRoot[document]
					err := conn.Object(name, base).Call(member, 0).Err
					if denied(err) == may {
						t.Errorf("%s by %s: %v", member, user, err)
					}
				}
			}
		}
	})
}

// A call need not name its interface. For such a call the rules that name an interface differ
// between the two buses: only root may make one.
func TestWhoMayCallWithoutAnInterface(t *testing.T) {
	onEachBus(t, func(t *testing.T, l *lab) {
		root := l.dial("root")
		var unique string
		if err := root.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, name).Store(&unique); err != nil {
			t.Fatal(err)
		}
		users := map[string]*dbus.Conn{"root": root, "sender": l.dial("sender"), "machine": l.dial("machine"), "nobody": l.dial("nobody")}
		for _, document := range documents.Names() {
			d, err := documents.Load(document)
			if err != nil {
				t.Fatal(err)
			}
			for _, method := range d.Methods {
				for user, conn := range users {
					for _, destination := range []string{name, unique} {
						for _, path := range []dbus.ObjectPath{base, bus0} {
							err := conn.Object(destination, path).Call(method.Name, 0).Err
							if denied(err) == (user == "root") {
								t.Errorf("%s of %s at %s by %s: %v", method.Name, destination, path, user, err)
							}
						}
					}
				}
			}
		}
		// Methods that change the service do nothing for root either.
		var unknown dbus.Error
		if err := root.Object(name, base).Call("Reload", 0).Err; !errors.As(err, &unknown) || unknown.Name != "org.freedesktop.DBus.Error.UnknownMethod" {
			t.Errorf("Reload by root: %v", err)
		}
	})
}

// The board has no host's device: another service has the names of one here.
func TestWhoMayCallAHostInterface(t *testing.T) {
	const sms, kcs3 = "xyz.openbmc_project.Ipmi.Channel.SMS", "xyz.openbmc_project.Ipmi.Channel.ipmi_kcs3"
	onEachBus(t, func(t *testing.T, l *lab) {
		for _, wanted := range []string{kcs3, hostIPMI} { // each is on a connection of its own
			if reply, err := l.dial("root").RequestName(wanted, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
				t.Fatal(wanted, reply, err)
			}
		}
		for _, call := range []struct {
			name, member string
			who          []string
		}{
			{kcs3, sms + ".setAttention", []string{"root", "sender"}},
			{kcs3, "setAttention", nil},
			{kcs3, sms + "2.setAttention", nil},
			{hostIPMI, hostIPMI + ".sendMessage", []string{"root", "sender"}},
			{hostIPMI, "sendMessage", []string{"root", "sender"}},
			{hostIPMI, "org.freedesktop.DBus.Properties.Set", []string{"root", "sender"}},
			{hostIPMI, "org.freedesktop.DBus.Introspectable.Introspect", []string{"root", "sender", "machine", "nobody"}},
			{hostIPMI, "Introspect", []string{"root", "sender"}},
		} {
			for _, user := range []string{"root", "sender", "machine", "nobody"} {
				err := l.dial(user).Object(call.name, base).Call(call.member, 0).Err
				if denied(err) == slices.Contains(call.who, user) {
					t.Errorf("%s of %s by %s: %v", call.member, call.name, user, err)
				}
			}
		}
	})
}

func TestEverybodyMayLook(t *testing.T) {
	onEachBus(t, func(t *testing.T, l *lab) {
		nobody := l.dial("nobody")
		state, err := nobody.Object(name, bus0).GetProperty(name + ".State")
		if err != nil || state.Value() != "Up" {
			t.Errorf("State: %v, %v", state, err)
		}
		var text string
		if err := nobody.Object(name, bus0).Call("org.freedesktop.DBus.Introspectable.Introspect", 0).Store(&text); err != nil || !strings.Contains(text, "sendRequest") {
			t.Errorf("Introspect: %v\n%s", err, text)
		}
		if err := nobody.Object(name, bus0).SetProperty(name+".OwnAddress", dbus.MakeVariant(byte(0x30))); !denied(err) {
			t.Errorf("Set: %v", err)
		}
	})
}

func TestWhoMayOwnTheNames(t *testing.T) {
	onEachBus(t, func(t *testing.T, l *lab) {
		for _, user := range []string{"sender", "machine", "nobody"} {
			conn := l.dial(user)
			for _, wanted := range []string{name, "xyz.openbmc_project.Ipmi.Channel.ipmi_kcs3", "org.openbmc.HostIpmi"} {
				if _, err := conn.RequestName(wanted, dbus.NameFlagReplaceExisting); !denied(err) {
					t.Errorf("%s by %s: %v", wanted, user, err)
				}
			}
		}
	})
}

// The service obeys signals that are commands in the order in which they reach the bus.
func TestWhoseSignalsAreObeyed(t *testing.T) {
	onEachBus(t, func(t *testing.T, l *lab) {
		for cmd, user := range map[byte]string{0x11: "sender", 0x12: "machine", 0x13: "nobody"} {
			conn := l.dial(user)
			if err := conn.Emit(base, "org.openbmc.Ipmb.sendBroadcast", byte(1), byte(6), byte(0), cmd, []byte{}); err != nil {
				t.Fatal(err)
			}
			// The message bus has passed on the signal when it answers.
			if err := conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
				t.Fatal(err)
			}
		}
		if err := l.dial("root").Emit(base, "org.openbmc.Ipmb.sendBroadcast", byte(1), byte(6), byte(0), byte(0x01), []byte{}); err != nil {
			t.Fatal(err)
		}
		if f := receive(t, "the broadcast", l.node.others); f.Command != 0x01 {
			t.Errorf("%02Xh was broadcast", byte(f.Command))
		}
	})
}

func TestWhoHearsWhatPassesOnTheBus(t *testing.T) {
	onEachBus(t, func(t *testing.T, l *lab) {
		heard := map[string]chan *dbus.Signal{}
		for _, user := range []string{"root", "sender", "machine", "nobody"} {
			conn := l.dial(user)
			if err := conn.AddMatchSignal(dbus.WithMatchSender(name)); err != nil {
				t.Fatal(err)
			}
			heard[user] = make(chan *dbus.Signal, 16)
			conn.Signal(heard[user])
		}
		l.node.requests <- ipmb.Frame{Destination: 0x20, NetFn: ipmi.NetFnApp, Source: 0x2C, Sequence: 1, Command: 1}
		for _, user := range []string{"root", "sender"} {
			if got := receive(t, "what "+user+" hears", heard[user]); got.Name != name+".ReceivedMessage" {
				t.Errorf("%s hears %s", user, got.Name)
			}
		}
		if err := l.dial("root").Object(name, bus0).SetProperty(name+".OwnAddress", dbus.MakeVariant(byte(0x30))); err != nil {
			t.Fatal(err)
		}
		for user, signals := range heard {
			if diff := cmp.Diff("org.freedesktop.DBus.Properties.PropertiesChanged", receive(t, "what "+user+" hears", signals).Name); diff != "" {
				t.Errorf("%s hears (-want +got):\n%s", user, diff)
			}
		}
	})
}

// receive takes the next value of a channel.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	return await.Receive(t, timeLimit, what, from)
}
