package inside

import (
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/dbusapi/client"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// The device is unbound and bound again while both sides send.
func TestUnbindAndBindUnderLoad(t *testing.T) {
	l := newLoop(t)
	a, b := pair(t, l, ipmbDev, 1)
	stop := busy(t, a, b)

	for range 3 {
		a.ipmbctl(t, "unbind", "bus")
		a.tells(t, "not up: bus "+string(client.Down))
		if a.echoes(t, 0) == nil {
			t.Error("a call on a bus without a device was answered")
		}
		a.ipmbctl(t, "bind", "bus")
		a.tells(t, "1 bus up")
	}
	stop()
	for _, d := range []*daemon{a, b} {
		if err := d.echoes(t, 1); err != nil {
			t.Error(err)
		}
	}
	if b.statistics(t)["writes-not-acknowledged"] == 0 {
		t.Error("the other side did not notice that the device was away")
	}
}

// Our own address changes, by the property and by ipmbbridge's signal, again
// and again; the other side, which asks from its own, is answered at the new
// one only.
func TestOwnAddressChanges(t *testing.T) {
	l := newLoop(t)
	a, b := pair(t, l, ipmbDev, busyTries)
	conn, err := dbuswire.Dial(t.Context(), dbuswire.Config{Address: a.address})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	bySignal := func(to ipmi.Address) error {
		return conn.Emit("/xyz/openbmc_project/MultiNode/Status", "xyz.openbmc_project.MultiNode.Status.updateBmcSlaveAddr",
			byte(0), byte(l.adapters[0]), byte(to))
	}
	byProperty := func(to ipmi.Address) error {
		_, err := conn.Call(t.Context(), dbuswire.Method{
			Destination: xml.ServiceName,
			Path:        dbus.ObjectPath(xml.BasePath) + "/bus",
			Interface:   "org.freedesktop.DBus.Properties",
			Member:      "Set",
		}, "xyz.openbmc_project.Ipmi.Channel.Ipmb", "OwnAddress", dbus.MakeVariant(byte(to)))
		return err
	}
	for i, step := range []struct {
		change func(ipmi.Address) error
		to     ipmi.Address
	}{{byProperty, 0x30}, {bySignal, 0x32}, {bySignal, 0x34}, {byProperty, bmcAddress}} {
		to := step.to
		if err := step.change(to); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			bus, err := a.Bus(t.Context(), "bus")
			if err != nil {
				return err.Error()
			}
			if bus.OwnAddress != to || bus.State != client.Up {
				return "own address " + bus.OwnAddress.String() + ", not " + to.String() + "; " + string(bus.State) + ": " + bus.Reason
			}
			return ""
		})
		if err := a.echoes(t, uint32(i)); err != nil {
			t.Errorf("from %v: %v", to, err)
		}
		b.ipmbctl(t, "send", "bus", "--addr", to.String(), "0x30", "0x01", "0x55")
	}
}

// busy makes both daemons send until stop.
func busy(t *testing.T, daemons ...*daemon) (stop func()) {
	var callers sync.WaitGroup
	over := make(chan struct{})
	for _, d := range daemons {
		callers.Go(func() {
			for i := uint32(0); !closed(over); i++ {
				_ = d.echoes(t, i) // Each call ends, somehow.
			}
		})
	}
	once := sync.OnceFunc(func() { close(over); callers.Wait() })
	t.Cleanup(once)
	return once
}
