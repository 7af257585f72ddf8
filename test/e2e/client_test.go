package e2e

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/bustest"
)

// Names of the daemon on D-Bus.
const (
	service     = "xyz.openbmc_project.Ipmi.Channel.Ipmb"
	basePath    = "/xyz/openbmc_project/Ipmi/Channel/Ipmb"
	legacy      = "org.openbmc.Ipmb"
	objectIface = "xyz.openbmc_project.Ipmi.Channel.Ipmb"
	commonError = "xyz.openbmc_project.Common.Error."
)

// client is a connection to the message bus.
type client struct{ *dbus.Conn }

// connect makes a client that leaves with its test.
func connect(t testing.TB, address string) client {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{conn}
}

// busPath is the path of a bus.
func busPath(bus string) dbus.ObjectPath { return dbus.ObjectPath(basePath + "/" + bus) }

// call calls a method of the service and returns at once.
func (c client) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return c.Object(service, path).Go(method, dbus.FlagNoAutoStart, make(chan *dbus.Call, 1), args...)
}

// end waits for the end of a call.
func end(t testing.TB, call *dbus.Call) *dbus.Call {
	t.Helper()
	return receive(t, "the end of "+call.Method, call.Done)
}

// errorName is the name of the error that a call ended with.
func errorName(err error) string {
	var failed dbus.Error
	switch {
	case err == nil:
		return "no error"
	case errors.As(err, &failed):
		return failed.Name
	}
	return err.Error()
}

// legacyAnswer is the result of org.openbmc.Ipmb.sendRequest.
type legacyAnswer struct {
	Status                    int32
	NetFn, LUN, Command, Code byte
	Data                      []byte
}

// sendLegacy calls org.openbmc.Ipmb.sendRequest.
func (c client) sendLegacy(channel, netFn, lun, cmd byte, data ...byte) *dbus.Call {
	return c.call(basePath, legacy+".sendRequest", channel, netFn, lun, cmd, data)
}

// legacyEnd waits for the answer to sendLegacy, which is never an error.
func legacyEnd(t testing.TB, call *dbus.Call) legacyAnswer {
	t.Helper()
	var a legacyAnswer
	if err := end(t, call).Store(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

// legacy is sendLegacy and legacyEnd.
func (c client) legacy(t testing.TB, channel, netFn, lun, cmd byte, data ...byte) legacyAnswer {
	t.Helper()
	return legacyEnd(t, c.sendLegacy(channel, netFn, lun, cmd, data...))
}

// send calls sendRequest of a bus.
func (c client) send(bus string, responder, netFn, lun, cmd byte, data ...byte) *dbus.Call {
	return c.call(busPath(bus), objectIface+".sendRequest", responder, netFn, lun, cmd, data)
}

// options are the options of sendRequestWithOptions.
type options map[string]any

// sendWith calls sendRequestWithOptions of a bus, with responder LUN 0.
func (c client) sendWith(bus string, o options, responder, netFn, cmd byte, data ...byte) *dbus.Call {
	variants := make(map[string]dbus.Variant)
	for name, value := range o {
		variants[name] = dbus.MakeVariant(value)
	}
	return c.call(busPath(bus), objectIface+".sendRequestWithOptions", responder, netFn, byte(0), cmd, data, variants)
}

// answered waits for the results of send and sendWith.
func answered(t testing.TB, call *dbus.Call) (code byte, data []byte) {
	t.Helper()
	if err := end(t, call).Store(&code, &data); err != nil {
		t.Fatal(err)
	}
	return code, data
}

// property reads a property of a bus.
func (c client) property(t testing.TB, bus, name string) any {
	t.Helper()
	value, err := c.Object(service, busPath(bus)).GetProperty(objectIface + "." + name)
	if err != nil {
		t.Fatal(err)
	}
	return value.Value()
}

// state waits until a bus is in a state.
func (c client) state(t testing.TB, bus, state string) {
	t.Helper()
	eventually(t, bus+" "+state, func() bool { return c.property(t, bus, "State") == state })
}

// statistics is the counters of a bus.
func (c client) statistics(t testing.TB, bus string) map[string]uint64 {
	t.Helper()
	return c.countersOf(t, busPath(bus), objectIface)
}

// countersOf is the counters of an object that has an interface.
func (c client) countersOf(t testing.TB, path dbus.ObjectPath, iface string) (counters map[string]uint64) {
	t.Helper()
	if err := c.Object(service, path).Call(iface+".GetStatistics", 0).Store(&counters); err != nil {
		t.Fatal(err)
	}
	return counters
}

// counted waits until a counter of a bus is at a value.
func (c client) counted(t testing.TB, bus, counter string, value uint64) {
	t.Helper()
	eventually(t, counter+" of "+bus, func() bool { return c.statistics(t, bus)[counter] == value })
}

// served reports whether the service's name has an owner.
func (c client) served(t testing.TB) bool { return c.owner(t, service) != "" }

// owner is the unique name of a name's owner, "" when it has none.
func (c client) owner(t testing.TB, name string) string {
	t.Helper()
	var owner string
	err := c.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, name).Store(&owner)
	if err != nil && errorName(err) != "org.freedesktop.DBus.Error.NameHasNoOwner" {
		t.Fatal(err)
	}
	return owner
}

// signals are the signals of a member, in order, from now on.
func (c client) signals(t testing.TB, member string) <-chan *dbus.Signal {
	t.Helper()
	if err := c.AddMatchSignal(dbus.WithMatchMember(member)); err != nil {
		t.Fatal(err)
	}
	all, wanted := make(chan *dbus.Signal, maxInbox), make(chan *dbus.Signal, maxInbox)
	c.Signal(all)
	go func() {
		for s := range all {
			if strings.HasSuffix(s.Name, "."+member) {
				wanted <- s
			}
		}
	}()
	return wanted
}

// busctl runs busctl and returns its output.
func busctl(t testing.TB, address string, args ...string) (string, error) {
	t.Helper()
	return runBusctl(t, nil, address, args...)
}

// busctlAsNobody is busctl as the user nobody.
func busctlAsNobody(t testing.TB, address string, args ...string) (string, error) {
	t.Helper()
	needsRoot(t)
	return runBusctl(t, &syscall.Credential{Uid: nobody, Gid: nobody}, address, args...)
}

func runBusctl(t testing.TB, user *syscall.Credential, address string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "busctl", append([]string{"--address=" + address}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%v; install it with: apt-get install systemd", err)
	}
	return strings.TrimSpace(string(out)), err
}

// connectAs is connect as another user.
func connectAs(t testing.TB, address string, uid int) client {
	t.Helper()
	return client{bustest.DialAs(t, address, uid, uid)}
}
