package e2e

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Names and limits for programs that serve commands.
const (
	router      = service + ".Router"
	serverIface = "xyz.openbmc_project.Ipmi.Server"
	all         = 0xFF       // every command of a netFn
	anyGroup    = 0xFFFFFFFF // any body code or IANA number
	everywhere  = 0xFFFFFFFF // all channels
)

// commands is one row of RegisterHandler.
type commands struct {
	NetFn, Command  byte
	Group, Channels uint32
}

// server is a client that serves commands at a path.
type server struct {
	client
	path dbus.ObjectPath
}

// execution is a request as a program gets it.
type execution struct {
	netFn, lun, cmd byte
	data            []byte
	options         map[string]any
	message         dbus.Message // the call itself
}

// executed is a program's answer.
type executed struct {
	NetFn, LUN, Command, Code byte
	Data                      []byte
}

// answer is the answer that fits.
func (x execution) answer(code byte, data ...byte) (executed, *dbus.Error) {
	return executed{x.netFn | 1, x.lun, x.cmd, code, append([]byte{}, data...)}, nil
}

// newProgram makes a program that answers by serve, in a goroutine for each
// request, and is registered for nothing yet.
func newProgram(t testing.TB, address string, serve func(execution) (executed, *dbus.Error)) server {
	t.Helper()
	p := server{connect(t, address), "/com/example/handler"}
	execute := func(message dbus.Message, netFn, lun, cmd byte, data []byte, options map[string]dbus.Variant) (executed, *dbus.Error) {
		x := execution{netFn, lun, cmd, data, make(map[string]any), message}
		for name, value := range options {
			x.options[name] = value.Value()
		}
		return serve(x)
	}
	if err := p.ExportMethodTable(map[string]any{"execute": execute}, p.path, serverIface); err != nil {
		t.Fatal(err)
	}
	return p
}

// register registers the program for commands.
func (p server) register(rows ...commands) error {
	return p.Object(service, basePath).Call(router+".RegisterHandler", 0, p.path, rows).Err
}

// mustRegister is register, which has to succeed.
func (p server) mustRegister(t testing.TB, rows ...commands) {
	t.Helper()
	if err := p.register(rows...); err != nil {
		t.Fatal(err)
	}
}

// command is one command on all channels.
func command(netFn, cmd byte) commands { return commands{netFn, cmd, anyGroup, everywhere} }

// echoes answers with the data of the request.
func echoes(x execution) (executed, *dbus.Error) { return x.answer(0, x.data...) }

// says answers with a byte.
func says(b byte) func(execution) (executed, *dbus.Error) {
	return func(x execution) (executed, *dbus.Error) { return x.answer(0, b) }
}

// leaves waits until the message bus has told everybody that a program is gone.
func (c client) leaves(t testing.TB, p server) {
	t.Helper()
	name := p.Names()[0]
	gone := c.signals(t, "NameOwnerChanged")
	p.Close()
	for receive(t, "the end of "+name, gone).Body[0] != name {
	}
}

// routerStatistics are the counters of the router.
func (c client) routerStatistics(t testing.TB) map[string]uint64 {
	t.Helper()
	return c.countersOf(t, basePath, router)
}

// handlers returns the owners of the registered handlers.
func (c client) handlers(t testing.TB) []string {
	t.Helper()
	value, err := c.Object(service, basePath).GetProperty(router + ".Handlers")
	if err != nil {
		t.Fatal(err)
	}
	var owners []string
	for _, row := range value.Value().([][]any) {
		owners = append(owners, row[0].(string))
	}
	return slices.Compact(owners)
}

// eventLog is a service as phosphor-sel-logger is one.
type eventLog struct {
	mu     sync.Mutex
	logged []loggedEvent
}

type loggedEvent struct {
	message, path string
	data          []byte
	assert        bool
	generator     uint16
}

// serveEventLog makes an event log on the message bus.
func serveEventLog(t testing.TB, address string) *eventLog {
	t.Helper()
	l := new(eventLog)
	c := connect(t, address)
	const name, path = "xyz.openbmc_project.Logging.IPMI", "/xyz/openbmc_project/Logging/IPMI"
	add := func(message, path string, data []byte, assert bool, generator uint16) (uint16, *dbus.Error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.logged = append(l.logged, loggedEvent{message, path, data, assert, generator})
		return uint16(len(l.logged)), nil
	}
	introspect := func() (string, *dbus.Error) {
		var args strings.Builder
		for _, kind := range []string{"s", "s", "ay", "b", "q"} {
			args.WriteString(`<arg type="` + kind + `" direction="in"/>`)
		}
		return `<node><interface name="` + name + `"><method name="IpmiSelAdd">` + args.String() +
			`<arg type="q" direction="out"/></method></interface></node>`, nil
	}
	if err := c.ExportMethodTable(map[string]any{"IpmiSelAdd": add}, path, name); err != nil {
		t.Fatal(err)
	}
	if err := c.ExportMethodTable(map[string]any{"Introspect": introspect}, path, "org.freedesktop.DBus.Introspectable"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *eventLog) events() []loggedEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.logged)
}
