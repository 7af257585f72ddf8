package e2e

import (
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
	"ipmbd/test/hostd"
)

// TestReadyMeansServed: the service is there when systemd learns that it runs.
func TestReadyMeansServed(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	n.respond(0x2C, echo)
	c := connect(t, bus.Address)
	d := launch(t, "--bus", bus.Address, "--config", configFile(t,
		channels(channel(n, nil), channel(listen(t, "ipmb-6"), object{"devIndex": 1, "bus-name": "Other"}))))
	if said := d.ready(t); !strings.Contains(said, "STATUS=2 buses up") {
		t.Errorf("told systemd %q", said)
	}
	if !c.served(t) || c.owner(t, "xyz.openbmc_project.Ipmi.Channel.Other") == "" {
		t.Error("ready without a name")
	}
	for _, name := range []string{"bus5", "bus6"} {
		if got := c.property(t, name, "State"); got != "Up" {
			t.Errorf("%s %v", name, got)
		}
	}
	if got := c.legacy(t, 1, 0x30, 0, 1, 3); got.Status != 0 {
		t.Errorf("a call: %+v", got)
	}
}

// TestObjectsAreThereBeforeTheName: a client that waits for the name finds the objects.
func TestObjectsAreThereBeforeTheName(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	c := connect(t, bus.Address)
	if err := c.AddMatchSignal(dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service)); err != nil {
		t.Fatal(err)
	}
	changes := make(chan *dbus.Signal, maxInbox)
	c.Signal(changes)
	var list []object
	for i := range 20 {
		list = append(list, channel(newNode(t, "ipmb-"+string('a'+rune(i))), object{"devIndex": i, "name": "b" + string('a'+rune(i))}))
	}
	launch(t, "--bus", bus.Address, "--config", configFile(t, channels(list...)))
	for receive(t, "NameOwnerChanged", changes).Name != "org.freedesktop.DBus.NameOwnerChanged" {
	}
	var objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	call := end(t, c.call(basePath, "org.freedesktop.DBus.ObjectManager.GetManagedObjects"))
	if err := call.Store(&objects); err != nil || len(objects) != len(list) {
		t.Errorf("%d objects of %d, %v", len(objects), len(list), err)
	}
}

// TestRequestsWaitForTheName: a request that is in the socket before the daemon starts is served
// by the connection that has the name.
func TestRequestsWaitForTheName(t *testing.T) {
	t.Parallel()
	bus := bustest.Start(t)
	path, accept := listenRaw(t)
	host := hostd.Start(t, bus.Address, hostd.Print)
	d := launch(t, "--bus", bus.Address, "--config", configFile(t, channels(channel(&node{path: path}, nil))))
	w := accept()
	w.put(t, toHost(1, hostd.CommandEcho).bytes())
	if got := mustUnpack(t, w.get(t)); got.data[0] != 0 {
		t.Errorf("answered %02Xh", got.data[0])
	}
	if got, want := host.Next(t).Sender, connect(t, bus.Address).owner(t, service); got != want {
		t.Errorf("%s asked the host daemon, %q has the name", got, want)
	}
	d.ready(t)
}

func TestLostMessageBusEndsTheDaemon(t *testing.T) {
	t.Parallel()
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	d := start(t, bus.Address, channels(channel(n, nil)))
	bus.Stop()
	if code := d.exit(t); code != 1 {
		t.Errorf("exit status %d", code)
	}
	d.logged(t, "connection to the message bus lost")
}
