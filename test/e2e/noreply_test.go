package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	ipmbclient "ipmbd/dbusapi/client"
	"ipmbd/internal/bustest"
	"ipmbd/ipmi"
	"ipmbd/units"
	"ipmbd/xml"
)

// pairOfCalls is a call that is made twice: first it wants no reply, then it wants one.
type pairOfCalls struct {
	what   string
	to     string // the service by default
	path   dbus.ObjectPath
	method string
	args   []any
}

// pairs makes pairs of calls, and counts the errors.
type pairs struct {
	t        *testing.T
	conn     *rawConn
	made     int
	unwanted map[uint32]string // the calls without a reply, by serial
	errors   map[string]int    // by name
}

func newPairs(t *testing.T, address string) *pairs {
	t.Helper()
	conn, err := dialRaw(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.conn.Close() })
	return &pairs{t: t, conn: conn, unwanted: make(map[uint32]string), errors: make(map[string]int)}
}

func (p *pairs) send(flags dbus.Flags, c pairOfCalls) uint32 {
	p.t.Helper()
	to := c.to
	if to == "" {
		to = service
	}
	awake(p.t, p.conn.conn)
	serial, err := p.conn.send(to, flags, c.path, c.method, c.args...)
	if err != nil {
		p.t.Fatalf("%s: %v", c.what, err)
	}
	return serial
}

// sendUnwanted makes a call that wants no reply.
func (p *pairs) sendUnwanted(c pairOfCalls) {
	p.t.Helper()
	p.unwanted[p.send(dbus.FlagNoReplyExpected, c)] = c.what
}

// awaitReply reads until the reply to a call. There must be no other.
func (p *pairs) awaitReply(what string, wanted uint32) {
	p.t.Helper()
	for to := uint32(0); to != wanted; {
		var m *dbus.Message
		var err error
		if to, m, err = p.conn.next(); err != nil {
			p.t.Fatalf("%s: %v", what, err)
		}
		if about, ok := p.unwanted[to]; ok {
			p.t.Errorf("%s: a reply to a call that wants none: %v", about, m)
		} else if to != wanted {
			p.t.Errorf("before the reply about %s: a second one to call %d: %v", what, to, m)
		} else if m.Type == dbus.TypeError {
			p.errors[m.Headers[dbus.FieldErrorName].Value().(string)]++
		}
	}
}

// call makes a pair. The second call gets a reply at a time when the first would have had one,
// too.
func (p *pairs) call(c pairOfCalls) {
	p.t.Helper()
	p.made++
	p.sendUnwanted(c)
	p.awaitReply(c.what, p.send(0, c))
}

// values are arguments, by their type.
var values = map[string]any{
	"y": byte(0), "u": uint32(0), "t": uint64(0), "s": "", "o": dbus.ObjectPath("/"), "ay": []byte{}, "v": dbus.MakeVariant(""),
	"a{sv}": map[string]dbus.Variant{}, "a(yyuu)": []commands{},
}

// callAll makes pairs of each method of the API, of the methods that are called on other
// services, and of one that does not exist, with arguments of the right types and of wrong ones.
func (p *pairs) callAll(to string, path dbus.ObjectPath) {
	p.t.Helper()
	for _, name := range xml.Names() {
		i, err := xml.Load(name)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, m := range i.Methods {
			var args []any
			for _, arg := range m.Args {
				if arg.Direction != "in" {
					continue
				}
				if values[arg.Type] == nil {
					p.t.Fatalf("no value of the type %s", arg.Type)
				}
				args = append(args, values[arg.Type])
			}
			wrong := []any{"wrong"}
			if len(args) > 0 {
				wrong = nil
			}
			method := name + "." + m.Name
			p.call(pairOfCalls{"right types of " + method, to, path, method, args})
			p.call(pairOfCalls{"wrong types of " + method, to, path, method, wrong})
			if name != xml.ManagerInterface { // It must be named.
				p.call(pairOfCalls{"no interface of " + method, to, path, m.Name, args})
			}
		}
	}
	for _, method := range []string{serverIface + ".execute", "a.b.x", router + ".x", xml.PropertiesInterface + ".x", xml.PeerInterface + ".x", "x"} {
		p.call(pairOfCalls{method, to, path, method, nil})
	}
}

// TestCallThatWantsNoReplyGetsNone: neither a result nor an error, of each method of each object
// and at each end of a call. The same call without the flag gets one reply. The message bus, with
// the rules for replies that the system's bus has, rejects no message.
func TestCallThatWantsNoReplyGetsNone(t *testing.T) {
	t.Parallel()
	bus := policedBus(t)
	n, gone := listen(t, "ipmb-5"), newNode(t, "ipmb-6")
	respond, asked := recorder(silent)
	n.respond(0x2C, echo)
	n.respond(0x42, respond)
	host, _ := bt(t, object{"legacy-api": true})
	device := newTerminal(t, func([]byte) {})
	a := &adapter{device: device.path}
	d := a.start(t, bus.Address, object{
		"channels": []object{
			channel(n, object{"timeout-ms": 50, "tries": 2, "handler": "signal"}),
			channel(gone, object{"devIndex": 1}),
			device.channel("bus7", object{"devIndex": 2, "timeout-ms": 50, "tries": 2, "handler": "none"}),
		},
		"hosts":                []object{host},
		"max-calls-per-sender": 8,
	})
	watcher := connect(t, bus.Address)
	program := newProgram(t, bus.Address, echoes)
	program.mustRegister(t, command(0x30, 0x42))
	responder := serveInBackground(t, bus.Address)
	p := newPairs(t, bus.Address)

	for _, path := range []dbus.ObjectPath{
		"/", "/xyz", basePath, busPath("bus5"), busPath("bus6"), busPath("bus7"), busPath("ipmi_bt_host"),
		basePath + "/handlers", basePath + "/handlers/1", "/xyz/openbmc_project/MultiNode/Status", "/nothing",
	} {
		p.callAll(service, path)
	}
	const sms = "/xyz/openbmc_project/Ipmi/Channel/ipmi_bt_host"
	p.callAll("xyz.openbmc_project.Ipmi.Channel.ipmi_bt_host", sms)
	p.callAll(hostIPMI, hostIPMIPath)
	p.callAll(responder, "/xyz/openbmc_project/Ipmi/Handler") // a client of ours that serves commands
	for _, name := range watcher.connectionsOf(t, d) {
		p.callAll(name, "/")
		p.callAll(name, sms)
	}
	for _, c := range endsOfCalls() {
		p.call(c)
	}
	for _, errno := range []unix.Errno{unix.ENXIO, unix.EREMOTEIO, unix.EAGAIN, unix.EIO} {
		a.fails.Store(uintptr(errno))
		p.call(pairOfCalls{errno.Error(), "", busPath("bus7"), objectIface + ".sendRequest", []any{byte(0x2C), byte(6), byte(0), byte(1), []byte{}}})
	}
	a.fails.Store(0)
	if os.Geteuid() == 0 {
		var other *pairs
		bustest.As(nobody, nobody, func() { other = newPairs(t, bus.Address) })
		other.call(pairOfCalls{"no permission", "", basePath, xml.ManagerInterface + ".Reload", nil})
		maps.Copy(p.errors, other.errors)
		p.made += other.made
	} else {
		t.Log("not run: no permission; it needs root, to be another user")
		p.errors[xml.ErrorAccessDenied]++
	}

	slow := pairOfCalls{"a slow call", "", busPath("bus5"), objectIface + ".sendRequestWithOptions", []any{
		byte(0x42), byte(6), byte(0), byte(1), []byte{},
		map[string]dbus.Variant{"timeout-ms": dbus.MakeVariant(uint32(2000)), "tries": dbus.MakeVariant(uint32(1))}}}
	for len(asked) > 0 {
		<-asked
	}
	for range 8 {
		p.sendUnwanted(slow)
	}
	slow.what = "too many calls"
	p.call(slow)
	eventually(t, "all calls to end", func() bool {
		s := watcher.statistics(t, "bus5")
		return s["calls-started"] == endsOf(s)
	})
	p.callAtOnce(d, 120, pairOfCalls{"too many that wait", "", basePath, xml.ManagerInterface + ".AddBus", []any{"{"}})

	for len(asked) > 0 {
		<-asked
	}
	slow.what = "a call at the service's end"
	p.sendUnwanted(slow)
	last := p.send(0, slow)
	for range 2 {
		receive(t, "the request on the bus", asked)
	}
	d.signal(unix.SIGTERM)
	p.awaitReply(slow.what, last)
	if code := d.exit(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	p.awaitReply("a call when there is no service", p.send(0, pairOfCalls{to: "org.freedesktop.DBus", path: "/", method: xml.PeerInterface + ".Ping"}))

	for _, name := range []string{
		xml.ErrorTimeout, xml.ErrorUnavailable, xml.ErrorNotFound, xml.ErrorTooMany, xml.ErrorInvalidArgument, xml.ErrorNotAllowed,
		xml.ErrorUnsupported, xml.ErrorInternal, xml.ErrorWriteFailure, xml.ErrorAccessDenied, xml.ErrorInvalidArgs, xml.ErrorLimits,
		dbusError + "UnknownMethod", dbusError + "UnknownInterface", dbusError + "NoSuchObject", dbusError + "UnknownProperty",
		dbusError + "PropertyReadOnly",
	} {
		if p.errors[name] == 0 {
			t.Errorf("no call ended with %s", name)
		}
	}
	t.Logf("%d pairs of calls; errors: %v", p.made, p.errors)
	nothingIsRejected(t, bus, p.conn, watcher)
}

const dbusError = "org.freedesktop.DBus.Error."

// policedBus is a bus with the rules of the system's bus and of the service, whose root is the
// user of the test. That user may call every method of every connection.
func policedBus(t *testing.T) *bustest.Bus {
	t.Helper()
	root := fmt.Appendf(nil, `user="%d"`, os.Geteuid())
	text := bytes.ReplaceAll(units.Policy, []byte(`user="root"`), root)
	text = bytes.ReplaceAll(text, []byte(`group="ipmbd"`), []byte(`group="daemon"`)) // one that exists
	calls := fmt.Sprintf(`<busconfig><policy %s><allow send_type="method_call"/></policy>`+
		`<policy user="nobody"><allow send_destination="%s"/></policy></busconfig>`, root, service)
	return bustest.StartConfig(t, bustest.Config{System: true, Policies: []string{
		writeFile(t, "ipmbd.conf", string(text)),
		writeFile(t, "calls.conf", calls),
	}})
}

// serveInBackground serves a command with the Go client, until the test ends, and returns the
// client's unique name.
func serveInBackground(t *testing.T, address string) string {
	t.Helper()
	c, err := ipmbclient.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	h := ipmi.Immediate(func(*ipmi.Request) (ipmi.Response, error) { return ipmi.Response{}, nil })
	served, ended := make(chan ipmbclient.Notice, 1), make(chan error, 1)
	go func() {
		pattern := ipmi.Pattern{NetFn: 0x30, Command: 0x43, Group: ipmi.AnyGroup, Channels: everywhere}
		ended <- c.Serve(t.Context(), []ipmi.Pattern{pattern}, h, func(n ipmbclient.Notice) { served <- n })
	}()
	t.Cleanup(func() {
		<-ended
		c.Close()
	})
	receive(t, "the registration", served)
	owners := connect(t, address).handlers(t)
	return owners[len(owners)-1]
}

// connectionsOf are the unique names of a daemon's connections.
func (c client) connectionsOf(t *testing.T, d *daemon) (names []string) {
	t.Helper()
	var all []string
	if err := c.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&all); err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		var pid uint32
		err := c.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, name).Store(&pid)
		if err == nil && strings.HasPrefix(name, ":") && int(pid) == d.pid() {
			names = append(names, name)
		}
	}
	return names
}

// callAtOnce makes a number of pairs while the daemon does not run, so that it finds all of them
// at once. The message bus lets a connection wait for 128 replies.
func (p *pairs) callAtOnce(d *daemon, n int, c pairOfCalls) {
	p.t.Helper()
	d.signal(unix.SIGSTOP)
	wanted := make([]uint32, n)
	for i := range wanted {
		p.sendUnwanted(c)
		wanted[i] = p.send(0, c)
	}
	d.signal(unix.SIGCONT)
	p.made += n
	for len(wanted) > 0 {
		to, m, err := p.conn.next()
		if err != nil {
			p.t.Fatalf("%s: %v", c.what, err)
		}
		i := slices.Index(wanted, to)
		if i < 0 {
			p.t.Fatalf("%s: a second reply, or one that is not wanted: %v", c.what, m)
		}
		wanted = slices.Delete(wanted, i, i+1)
	}
}

// nothingIsRejected checks that the message bus has rejected no message so far. A last one, which
// is to be rejected, ends its log.
func nothingIsRejected(t *testing.T, bus *bustest.Bus, from *rawConn, to client) {
	t.Helper()
	const serial = 4711 // of no call
	_, err := from.write(&dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldDestination: dbus.MakeVariant(to.Names()[0]),
		dbus.FieldReplySerial: dbus.MakeVariant(uint32(serial)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a rejected message in the log of the message bus", func() bool { return strings.Contains(bus.Log(), "Rejected") })
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(bus.Log()), "\n"), func(line string) bool {
		return strings.Contains(line, "Failed to set fd limit") // at its start, in a container
	})
	if len(lines) != 1 {
		t.Errorf("the message bus has logged:\n%s", strings.Join(lines, "\n"))
	}
}

// endsOfCalls are calls of which most end with an error.
func endsOfCalls() []pairOfCalls {
	const properties = xml.PropertiesInterface
	none, long := []byte{}, make([]byte, 300_000)
	request := func(first byte, data []byte) []any { return []any{first, byte(6), byte(0), byte(1), data} }
	options := func(name string, value any) []any {
		return append(request(0x2C, none), map[string]dbus.Variant{name: dbus.MakeVariant(value)})
	}
	send, with := objectIface+".sendRequest", objectIface+".sendRequestWithOptions"
	bus5, down := busPath("bus5"), busPath("bus6")
	many := make([]commands, 257)
	return []pairOfCalls{
		{"an answer, old method", "", basePath, legacy + ".sendRequest", request(1, none)},
		{"an answer", "", bus5, send, request(0x2C, none)},
		{"no answer", "", bus5, send, request(0x42, none)},
		{"no bus, old method", "", basePath, legacy + ".sendRequest", request(77, none)},
		{"a bus that is down", "", down, send, request(0x2C, none)},
		{"an odd address", "", bus5, send, request(0x43, none)},
		{"an odd netFn", "", bus5, send, []any{byte(0x2C), byte(7), byte(0), byte(1), none}},
		{"no LUN", "", bus5, send, []any{byte(0x2C), byte(6), byte(4), byte(1), none}},
		{"too long for a frame", "", bus5, send, request(0x2C, long[:2000])},
		{"too long", "", basePath, legacy + ".sendRequest", request(1, long)},
		{"too long, to nothing", "", "/nothing", "a.b.x", []any{long}},
		{"too long, with a long header", "", dbus.ObjectPath("/" + strings.Repeat("x", 40_000)), "a.b.x", []any{long}},
		{"a long header", "", dbus.ObjectPath("/" + strings.Repeat("x", 40_000)), "a.b.x", nil},
		{"an unknown option", "", bus5, with, options("no", uint32(1))},
		{"a traced answer", "", bus5, objectIface + ".sendTracedRequest", options("tries", uint32(1))},
		{"a traced request of an unknown option", "", bus5, objectIface + ".sendTracedRequest", options("no", uint32(1))},
		{"an option of a wrong type", "", bus5, with, options("tries", "x")},
		{"an option out of range", "", bus5, with, options("tries", uint32(0))},
		{"a broadcast", "", bus5, objectIface + ".sendBroadcast", []any{byte(6), byte(0), byte(1), none}},
		{"a broadcast to a bus that is down", "", down, objectIface + ".sendBroadcast", []any{byte(6), byte(0), byte(1), none}},
		{"no request under the id", "", bus5, objectIface + ".sendResponse", []any{uint64(7), byte(0), none}},
		{"a bus not by signal", "", busPath("bus7"), objectIface + ".sendResponse", []any{uint64(7), byte(0), none}},
		{"bind", "", bus5, objectIface + ".bind", nil},
		{"unbind", "", bus5, objectIface + ".unbind", nil},
		{"a property", "", bus5, properties + ".Get", []any{objectIface, "State"}},
		{"no property", "", bus5, properties + ".Get", []any{objectIface, "Nope"}},
		{"all properties", "", bus5, properties + ".GetAll", []any{objectIface}},
		{"properties of nothing", "", bus5, properties + ".GetAll", []any{"a.b"}},
		{"a property that is fixed", "", bus5, properties + ".Set", []any{objectIface, "State", dbus.MakeVariant("Up")}},
		{"a property that is set", "", bus5, properties + ".Set", []any{objectIface, "TimeoutMs", dbus.MakeVariant(uint32(50))}},
		{"a property of a wrong type", "", bus5, properties + ".Set", []any{objectIface, "TimeoutMs", dbus.MakeVariant("x")}},
		{"a property out of range", "", bus5, properties + ".Set", []any{objectIface, "TimeoutMs", dbus.MakeVariant(uint32(5))}},
		{"a switch that the driver lacks", "", bus5, properties + ".Set", []any{objectIface, "IgnoreNack", dbus.MakeVariant(true)}},
		{"objects", "", "/", xml.ObjectManagerInterface + ".GetManagedObjects", nil},
		{"a handler", "", basePath, router + ".RegisterHandler", []any{dbus.ObjectPath("/mine"), []commands{command(0x30, 0x50)}}},
		{"a handler of another program", "", basePath, router + ".RegisterHandler", []any{dbus.ObjectPath("/other"), []commands{command(0x30, 0x42)}}},
		{"a handler of an odd netFn", "", basePath, router + ".RegisterHandler", []any{dbus.ObjectPath("/odd"), []commands{command(0x31, 0x42)}}},
		{"a handler of too many commands", "", basePath, router + ".RegisterHandler", []any{dbus.ObjectPath("/many"), many}},
		{"a handler with a long path", "", basePath, router + ".RegisterHandler", []any{dbus.ObjectPath("/" + strings.Repeat("x", 300)), []commands{command(0x30, 0x51)}}},
		{"a handler that ends", "", basePath, router + ".UnregisterHandler", []any{dbus.ObjectPath("/mine")}},
		{"the event log", "", basePath, router + ".SendStorageRequest", []any{byte(0x41), none}},
		{"a bus", "", basePath, xml.ManagerInterface + ".AddBus", []any{`{"type": "me", "slave-path": "/dev/ipmb-8", "remote-addr": 44, "devIndex": 8}`}},
		{"no bus", "", basePath, xml.ManagerInterface + ".AddBus", []any{"{"}},
		{"a bus that ends", "", basePath, xml.ManagerInterface + ".RemoveBus", []any{busPath("bus8")}},
		{"a host", "", basePath, xml.ManagerInterface + ".AddHost", []any{`{"type": "kcs", "path": "/dev/ipmi-kcs8", "devIndex": 8}`}},
		{"no host", "", basePath, xml.ManagerInterface + ".AddHost", []any{"{"}},
		{"a host that ends", "", basePath, xml.ManagerInterface + ".RemoveHost", []any{busPath("ipmi_kcs8")}},
		{"the file", "", basePath, xml.ManagerInterface + ".Reload", nil},
		{"attention", "xyz.openbmc_project.Ipmi.Channel.ipmi_bt_host", "/xyz/openbmc_project/Ipmi/Channel/ipmi_bt_host", xml.SMSInterface + ".setAttention", nil},
		{"no request under the number", hostIPMI, hostIPMIPath, hostIPMI + ".sendMessage", []any{byte(1), byte(6), byte(0), byte(1), byte(0), none}},
	}
}
