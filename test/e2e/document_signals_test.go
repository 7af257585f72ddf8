package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	"ipmbd/xml"
)

// sentSignals are the signals that ipmbd sends, the objects that send them, and when.
var sentSignals = []struct {
	name    string
	objects []string
	when    string
}{
	{legacy + ".receiveBroadcast", []string{"…/Ipmb"}, "a channel of type `ipmb` has received a valid frame"},
	{objectIface + ".ReceivedMessage", []string{"…/Ipmb/<bus>"}, "a bus has received a new request"},
	{objectIface + ".Host.WatchdogExpired", []string{"…/Ipmb/<host>"}, "a watchdog has expired"},
	{router + ".PlatformEvent", []string{"…/Ipmb"}, "a controller or a host has sent an event"},
	{hostIPMI + ".ReceivedMessage", []string{string(hostIPMIPath)}, "the host of `legacy-api` has sent a request"},
	{xml.PropertiesInterface + ".PropertiesChanged", []string{"…/Ipmb", "…/Ipmb/<bus>", "…/Ipmb/<host>"}, "properties have changed"},
	{xml.ObjectManagerInterface + ".InterfacesAdded", []string{"/", "…/Ipmb"}, "there is a new object"},
	{xml.ObjectManagerInterface + ".InterfacesRemoved", []string{"/", "…/Ipmb"}, "an object has gone"},
}

// obeyedSignals are the signals of other programs that ipmbd obeys, with arguments as the test
// sends them, and from which object.
var obeyedSignals = []struct {
	member string
	path   string // empty for any
	args   []any
	names  string // of the arguments
	effect string
}{
	{"sendBroadcast", "", broadcastOf(0, 6, 0, 1), "channel index, netFn, requester LUN, command, data",
		"ipmbd sends the request to address 0 on that one channel"},
	{"updateBmcSlaveAddr", multiNode, []any{byte(0), byte(5), byte(0x22)}, "channel index, number of the I2C bus, address",
		"ipmbd changes our address on that channel, if it is of type `ipmb` and on that I2C bus"},
}

// seenSignal is a signal as a client has got it.
type seenSignal struct {
	name, signature, sender, object string
	direct                          bool // to the client alone
}

// TestDocumentOfSignals: the lists of signals in the document are what there is, on a board that
// sends each of them, and obeys each.
func TestDocumentOfSignals(t *testing.T) {
	needsRoot(t) // whose signals are obeyed
	bus, n := bustest.Start(t), listen(t, "ipmb-5")
	vmConfig, path := vm(t, "vm0", object{"devIndex": 1})
	btConfig, host := bt(t, object{"legacy-api": true})
	start(t, bus.Address, hosts([]object{vmConfig, btConfig}, channel(n, object{"type": "ipmb", "handler": "bmc"})))
	c := connect(t, bus.Address)
	sent, obeyed := sentList(t, bus.Address, n, path, host), obeyedList(t, c, n)

	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), "\n## Signals\n")
	section, after, _ := strings.Cut(rest, "\n## ")
	lists := regexp.MustCompile(`(?m)(^(- |  ).*\n)+`)
	if !ok || len(lists.FindAllString(section, -1)) != 2 {
		t.Fatalf("%s has no section of signals with two lists", document)
	}
	fresh := []string{sent, obeyed}
	section = lists.ReplaceAllStringFunc(section, func(string) string {
		list := fresh[0]
		fresh = fresh[1:]
		return list
	})
	got := before + "\n## Signals\n" + section + "\n## " + after
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(document, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got); diff != "" {
		t.Errorf("%s is not what there is; %s=1 go test ./test/e2e -run %s makes it anew\n%s", document, updateVariable, t.Name(), diff)
	}
}

// listItem is an item of a list, in lines of at most 98 columns.
func listItem(text string) string {
	line, lines := "-", ""
	for _, word := range strings.Fields(text) {
		if utf8.RuneCountInString(line+" "+word) > 98 {
			lines += line + "\n"
			line = " "
		}
		line += " " + word
	}
	return lines + line + "\n"
}

// sentList has the board send all signals.
func sentList(t *testing.T, address string, n *node, path string, host *btHost) string {
	t.Helper()
	raw, err := dialRaw(address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.conn.Close()
	awake(t, raw.conn)
	do := func(to string, path dbus.ObjectPath, method string, args ...any) {
		t.Helper()
		if _, err := raw.send(to, dbus.FlagNoReplyExpected, path, method, args...); err != nil {
			t.Fatal(err)
		}
	}
	names := make(map[string]string) // by the unique name of their owner
	for _, name := range []string{service, hostIPMI} {
		names[connect(t, address).owner(t, name)] = name
		do("org.freedesktop.DBus", "/", "org.freedesktop.DBus.AddMatch", "type='signal',sender='"+name+"'")
	}
	do(service, basePath, router+".Subscribe")
	do(service, basePath, xml.ManagerInterface+".AddBus", `{"type": "me", "slave-path": "/dev/ipmb-8", "remote-addr": 44, "devIndex": 8}`)
	do(service, basePath, xml.ManagerInterface+".RemoveBus", busPath("bus8"))
	do(service, basePath, router+".RegisterHandler", dbus.ObjectPath("/mine"), []commands{command(0x30, 1)})
	do(service, busPath("bus5"), xml.PropertiesInterface+".Set", objectIface, "TimeoutMs", dbus.MakeVariant(uint32(100)))
	n.send(t, packet{to: 0x20, netFn: 4, from: 0x2C, number: 1, cmd: 2, data: []byte{4, 1, 1, 1, 0x57, 90, 80}}.bytes())
	host.sends(0x30, 2)
	m := boot(t, "unix", path, noAttention)
	m.asks(6, 0x24, "04 00 00 00 01 00", "00") // a watchdog without an action, of 100 ms
	m.sends(6, 0x22)

	seen := make(map[string]seenSignal) // by name and object
	var missing func() []string
	for missing = func() (list []string) {
		for _, s := range sentSignals {
			for _, o := range s.objects {
				if _, ok := seen[s.name+" "+o]; !ok {
					list = append(list, s.name+" "+o)
				}
			}
		}
		return list
	}; len(missing()) > 0; {
		msg, err := dbus.DecodeMessage(raw.in)
		if err != nil {
			t.Fatalf("%v; not seen: %q", err, missing())
		}
		if msg.Type != dbus.TypeSignal {
			continue
		}
		s := readSignal(msg, names)
		if s.sender != "" {
			seen[s.name+" "+s.object] = s
		}
	}

	var b strings.Builder
	documented := make(map[string]bool)
	for _, s := range sentSignals {
		documented[s.name] = true
		first := seen[s.name+" "+s.objects[0]]
		from := ""
		if first.sender != service {
			from = " of `" + first.sender + "`"
		}
		if first.direct {
			from += ", to each subscriber"
		}
		b.WriteString(listItem(fmt.Sprintf("`%s` `%s`, from `%s`%s: %s.",
			strings.Replace(s.name, service, "…Ipmb", 1), first.signature, strings.Join(s.objects, "`, `"), from, s.when)))
	}
	for _, name := range xml.Names() {
		i, err := xml.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, signal := range i.Signals {
			if !documented[name+"."+signal.Name] {
				t.Errorf("%s.%s is in no item", name, signal.Name)
			}
		}
	}
	return b.String()
}

// readSignal reads a signal. The names of buses and hosts do not matter.
func readSignal(m *dbus.Message, names map[string]string) seenSignal {
	header := func(f dbus.HeaderField) string { return strings.Trim(m.Headers[f].String(), `"`) }
	path := string(m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath))
	if name, ok := strings.CutPrefix(path, basePath); ok {
		path = "…/Ipmb" + name
	}
	switch {
	case strings.HasPrefix(path, "…/Ipmb/bus"):
		path = "…/Ipmb/<bus>"
	case path == "…/Ipmb/vm0":
		path = "…/Ipmb/<host>"
	}
	signature, _ := m.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	_, direct := m.Headers[dbus.FieldDestination]
	return seenSignal{header(dbus.FieldInterface) + "." + header(dbus.FieldMember), signature.String(), names[header(dbus.FieldSender)], path, direct}
}

// obeyedList has the board obey signals, and ignore others.
func obeyedList(t *testing.T, c client, n *node) string {
	t.Helper()
	malformed := func() uint64 { return c.routerStatistics(t)["signals-malformed"] }
	var b strings.Builder
	for _, s := range obeyedSignals {
		seen := c.signals(t, s.member)
		path, object := dbus.ObjectPath("/any/path"), "any object"
		if s.path != "" {
			c.emit(t, seen, path, s.member, s.args...) // has no effect
			path, object = dbus.ObjectPath(s.path), "`"+s.path+"`"
		}
		wrong := malformed()
		c.emit(t, seen, path, s.member, s.args[1:]...) // the types of another signal or method
		eventually(t, "a malformed "+s.member, func() bool { return malformed() == wrong+1 })
		before := c.property(t, "bus5", "OwnAddress")
		c.emit(t, seen, path, s.member, s.args...)
		switch s.member {
		case "sendBroadcast":
			for mustUnpack(t, n.next(t)).to != 0 { // Responses come before it.
			}
		case "updateBmcSlaveAddr":
			if before != byte(0x20) {
				t.Errorf("our address has changed to %v", before)
			}
			eventually(t, "our new address", func() bool { return c.property(t, "bus5", "OwnAddress") == byte(0x22) })
		default:
			t.Fatalf("what does %s do?", s.member)
		}
		b.WriteString(listItem(fmt.Sprintf("`%s` `%s`, from %s: %s. %s.", s.member, dbus.SignatureOf(s.args...), object, s.names, s.effect)))
	}
	return b.String()
}
