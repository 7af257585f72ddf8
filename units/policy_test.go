package units

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/internal/bustest"
	documents "ipmbd/xml"
)

const (
	object      = dbus.ObjectPath("/xyz/openbmc_project/Ipmi/Channel/Ipmb")
	hostName    = "xyz.openbmc_project.Ipmi.Host"
	logName     = "xyz.openbmc_project.Logging.IPMI"
	accessError = "org.freedesktop.DBus.Error.AccessDenied"
)

// ours are the interfaces that the default policy must not open at all.
var ours = []string{"org.openbmc.Ipmb", Name, router, manager, Name + ".Host", hostIPMI}

const (
	router   = Name + ".Router"
	manager  = Name + ".Manager"
	hostIPMI = "org.openbmc.HostIpmi"
)

// world is a bus with the policy on it, the daemon's connection, and a client of each kind.
type world struct {
	daemon, root, member, nobody *dbus.Conn
}

func newWorld(t *testing.T) world {
	t.Helper()
	needsRoot(t)
	root, member, nobody := find(t, "root"), find(t, "daemon"), find(t, "nobody")
	// The group ipmbd is not on this machine: a group that is takes its part.
	text := bytes.Replace(Policy, []byte(`group="ipmbd"`), []byte(`group="`+member.group+`"`), 1)
	if bytes.Equal(text, Policy) {
		t.Fatal("the policy has no rules for the group ipmbd")
	}
	// Files of other packages may be generous; ours must hold against them.
	// This one lets every client be the host IPMI daemon, with the rights of btbridge.
	generous := []byte(`<busconfig><policy context="default"><allow own_prefix="xyz.openbmc_project"/>` +
		`<allow own="` + hostIPMI + `"/><allow send_destination="` + hostIPMI + `"/></policy></busconfig>`)
	bus := bustest.StartConfig(t, bustest.Config{
		System:   true,
		Policies: []string{file(t, "generous.conf", generous), file(t, "ipmbd.conf", text)},
	})
	w := world{
		daemon: root.dial(t, bus.Address),
		root:   root.dial(t, bus.Address),
		member: member.dial(t, bus.Address),
		nobody: nobody.dial(t, bus.Address),
	}
	own(t, w.daemon, Name)
	return w
}

func file(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func own(t *testing.T, conn *dbus.Conn, name string) {
	t.Helper()
	reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal("cannot own", name, reply, err)
	}
}

// reaches reports whether a call gets to the owner of the name. The owner exports nothing, so the
// reply to such a call is an error that does not come from the message bus.
func reaches(t *testing.T, conn *dbus.Conn, name, iface, member string) bool {
	t.Helper()
	call := conn.Object(name, object).Call(iface+"."+member, 0)
	var refused dbus.Error
	switch {
	case call.Err == nil:
		return true
	case !errors.As(call.Err, &refused):
		t.Fatal(call.Err)
	}
	return refused.Name != accessError
}

func TestWhoMayCall(t *testing.T) {
	w := newWorld(t)
	type method struct{ iface, member string }
	looking := map[method]bool{
		{"org.freedesktop.DBus.Introspectable", "Introspect"}:       true,
		{"org.freedesktop.DBus.Properties", "Get"}:                  true,
		{"org.freedesktop.DBus.Properties", "GetAll"}:               true,
		{"org.freedesktop.DBus.ObjectManager", "GetManagedObjects"}: true,
		{"org.freedesktop.DBus.Peer", "Ping"}:                       true,
		{"org.freedesktop.DBus.Peer", "GetMachineId"}:               true,
		{Name, "GetStatistics"}:                                     true,
		{Name + ".Host", "GetStatistics"}:                           true,
		{router, "GetStatistics"}:                                   true,
	}
	for _, name := range documents.Names() {
		document, err := documents.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range document.Methods {
			t.Run(name+"."+m.Name, func(t *testing.T) {
				for _, client := range []struct {
					name string
					conn *dbus.Conn
					want bool
				}{
					{"root", w.root, true},
					{"a member of the group", w.member, name != manager && name != hostIPMI},
					{"anybody else", w.nobody, looking[method{name, m.Name}]},
				} {
					if got := reaches(t, client.conn, Name, name, m.Name); got != client.want {
						t.Errorf("%s: got %v, want %v", client.name, got, client.want)
					}
				}
			})
			delete(looking, method{name, m.Name})
		}
	}
	if len(looking) > 0 {
		t.Errorf("the documents have no %v", looking)
	}
}

// On dbus-broker a rule with an interface does not apply to a call without one. A client that may
// not call every interface may make no such call.
func TestCallWithoutInterface(t *testing.T) {
	w := newWorld(t)
	for _, name := range documents.Names() {
		document, err := documents.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range document.Methods {
			for who, conn := range map[string]*dbus.Conn{"root": w.root, "a member of the group": w.member, "anybody else": w.nobody} {
				if got := reachesBare(t, conn, m.Name); got != (conn == w.root) {
					t.Errorf("%s by %s: %v", m.Name, who, got)
				}
			}
		}
	}
}

// reachesBare is reaches for a call that leaves the interface to the service.
func reachesBare(t *testing.T, conn *dbus.Conn, member string) bool {
	t.Helper()
	call := <-conn.Send(&dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(Name),
			dbus.FieldPath:        dbus.MakeVariant(object),
			dbus.FieldMember:      dbus.MakeVariant(member),
		},
	}, make(chan *dbus.Call, 1)).Done
	var refused dbus.Error
	return call.Err == nil || errors.As(call.Err, &refused) && refused.Name != accessError
}

// A call to the unique name of the service's connection is treated as a call to its name.
func TestManagerByItsUniqueName(t *testing.T) {
	w := newWorld(t)
	unique := w.daemon.Names()[0]
	if reaches(t, w.member, unique, manager, "AddBus") || !reaches(t, w.root, unique, manager, "AddBus") {
		t.Error("who may call is not who may by the name")
	}
}

func TestWhoMayOwnNames(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{Name + "2", "xyz.openbmc_project.Ipmi.Channel.INTRABMC", "xyz.openbmc_project.Ipmi.Channel"} {
		t.Run(name, func(t *testing.T) {
			for who, conn := range map[string]*dbus.Conn{"a member of the group": w.member, "anybody else": w.nobody} {
				var refused dbus.Error
				if _, err := conn.RequestName(name, 0); !errors.As(err, &refused) || refused.Name != accessError {
					t.Errorf("%s: got %v, want %s", who, err, accessError)
				}
			}
			own(t, w.root, name)
		})
	}
}

func TestTheDaemonsOwnCalls(t *testing.T) {
	w := newWorld(t)
	own(t, w.nobody, hostName)
	const server = "xyz.openbmc_project.Ipmi.Server"
	t.Run("execute reaches the host daemon and its reply comes back", func(t *testing.T) {
		if !reaches(t, w.daemon, hostName, server, "execute") {
			t.Error("refused")
		}
	})
	t.Run("nothing else is allowed by the way", func(t *testing.T) {
		if reaches(t, w.daemon, hostName, server, "shutdown") || reaches(t, w.member, hostName, server, "execute") {
			t.Error("not refused")
		}
	})
	// Programs that register handlers own no name.
	handler := w.member.Names()[0]
	t.Run("execute reaches a registered handler", func(t *testing.T) {
		if !reaches(t, w.daemon, handler, server, "execute") {
			t.Error("refused")
		}
	})
	t.Run("others do not reach it", func(t *testing.T) {
		for who, conn := range map[string]*dbus.Conn{"a member of the group": w.member, "anybody else": w.nobody} {
			if reaches(t, conn, handler, server, "execute") {
				t.Errorf("%s: not refused", who)
			}
		}
		if reaches(t, w.daemon, handler, server, "shutdown") {
			t.Error("another method: not refused")
		}
	})
}

func TestWhoMayCallAHostInterface(t *testing.T) {
	w := newWorld(t)
	const sms, kcs3 = "xyz.openbmc_project.Ipmi.Channel.SMS", "xyz.openbmc_project.Ipmi.Channel.ipmi_kcs3"
	own(t, w.daemon, kcs3)
	for _, client := range []struct {
		name string
		conn *dbus.Conn
		want bool
	}{
		{"root", w.root, true},
		{"a member of the group", w.member, true},
		{"anybody else", w.nobody, false},
	} {
		for _, member := range []string{"setAttention", "clearAttention", "forceAbort"} {
			if got := reaches(t, client.conn, kcs3, sms, member); got != client.want {
				t.Errorf("%s by %s: got %v, want %v", member, client.name, got, client.want)
			}
		}
	}
	// What is not on this name is not opened by the way.
	own(t, w.nobody, hostName)
	if reaches(t, w.member, hostName, "xyz.openbmc_project.Ipmi.Server", "execute") {
		t.Error("another interface: not refused")
	}
}

func TestWhoMayAnswerInTheWayOfBtbridge(t *testing.T) {
	w := newWorld(t)
	for who, conn := range map[string]*dbus.Conn{"a member of the group": w.member, "anybody else": w.nobody} {
		var refused dbus.Error
		if _, err := conn.RequestName(hostIPMI, 0); !errors.As(err, &refused) || refused.Name != accessError {
			t.Errorf("%s owns the name: %v", who, err)
		}
	}
	own(t, w.root, hostIPMI)
	for _, client := range []struct {
		name string
		conn *dbus.Conn
		want bool
	}{
		{"root", w.daemon, true},
		{"a member of the group", w.member, true},
		{"anybody else", w.nobody, false},
	} {
		for _, member := range []string{"sendMessage", "setAttention"} {
			if got := reaches(t, client.conn, hostIPMI, hostIPMI, member); got != client.want {
				t.Errorf("%s by %s: got %v, want %v", member, client.name, got, client.want)
			}
		}
		if !reaches(t, client.conn, hostIPMI, "org.freedesktop.DBus.Introspectable", "Introspect") {
			t.Errorf("%s may not introspect", client.name)
		}
	}
}

// The name belongs to a connection of its own, to which no other rule applies.
func TestWhoReceivesAHostsRequests(t *testing.T) {
	w := newWorld(t)
	for who, client := range map[string]struct {
		conn *dbus.Conn
		want []string
	}{
		"root":         {w.daemon, []string{hostIPMI + ".ReceivedMessage", hostIPMI + ".ReceivedMessage"}},
		"member":       {w.member, []string{hostIPMI + ".ReceivedMessage", hostIPMI + ".ReceivedMessage"}},
		"anybody else": {w.nobody, nil},
	} {
		signals := listen(t, client.conn)
		own(t, w.root, hostIPMI)
		emit(t, w.root, hostIPMI+".ReceivedMessage")
		sendTo(t, w.root, client.conn.Names()[0], hostIPMI, "ReceivedMessage")
		if _, err := w.root.ReleaseName(hostIPMI); err != nil {
			t.Fatal(err)
		}
		emit(t, w.root, marker)
		if diff := cmp.Diff(client.want, untilMarker(t, signals)); diff != "" {
			t.Errorf("%s hears (-want +got):\n%s", who, diff)
		}
	}
}

func TestWhoMayAddToTheSystemEventLog(t *testing.T) {
	w := newWorld(t)
	own(t, w.nobody, logName)
	for _, m := range []struct {
		iface, member string
		want          bool
	}{
		{"org.freedesktop.DBus.Introspectable", "Introspect", true},
		{logName, "IpmiSelAdd", true},
		{logName, "AddExtended", true},
		{logName, "IpmiSelAddExtended", true},
		{logName, "Clear", false},
	} {
		if got := reaches(t, w.daemon, logName, m.iface, m.member); got != m.want {
			t.Errorf("%s by the daemon: got %v, want %v", m.member, got, m.want)
		}
		if reaches(t, w.member, logName, m.iface, m.member) {
			t.Errorf("%s by a member of the group: not refused", m.member)
		}
	}
}

func TestEveryoneMaySeeTheHandlers(t *testing.T) {
	w := newWorld(t)
	for who, conn := range map[string]*dbus.Conn{"root": w.root, "member": w.member, "nobody": w.nobody} {
		call := conn.Object(Name, object).Call("org.freedesktop.DBus.Properties.Get", 0, router, "Handlers")
		var refused dbus.Error
		if !errors.As(call.Err, &refused) || refused.Name == accessError {
			t.Errorf("%s: %v", who, call.Err)
		}
	}
}

// marker ends a sequence of signals. Every client may receive it.
const marker = "org.freedesktop.DBus.Properties.PropertiesChanged"

func TestWhoReceivesSignals(t *testing.T) {
	w := newWorld(t)
	clients := map[string]*dbus.Conn{"root": w.root, "member": w.member, "nobody": w.nobody}
	heard := map[string]chan *dbus.Signal{}
	for who, conn := range clients {
		heard[who] = listen(t, conn, dbus.WithMatchSender(Name))
	}

	var secret, open []string
	for _, name := range documents.Names() {
		document, err := documents.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, signal := range document.Signals {
			if full := name + "." + signal.Name; slices.Contains(ours, name) {
				secret = append(secret, full)
			} else if full != marker {
				open = append(open, full)
			}
		}
	}
	all := slices.Concat(secret, open)
	for _, signal := range append(slices.Clone(all), marker) {
		emit(t, w.daemon, signal)
	}

	want := map[string][]string{"root": all, "member": all, "nobody": open}
	for who, signals := range heard {
		if diff := cmp.Diff(want[who], untilMarker(t, signals)); diff != "" {
			t.Errorf("%s hears (-want +got):\n%s", who, diff)
		}
	}
}

// An event is sent to each subscriber by name.
func TestWhoReceivesEvents(t *testing.T) {
	w := newWorld(t)
	for who, client := range map[string]struct {
		conn *dbus.Conn
		want []string
	}{
		"root":   {w.root, []string{router + ".PlatformEvent"}},
		"member": {w.member, []string{router + ".PlatformEvent"}},
		"nobody": {w.nobody, nil},
	} {
		signals := listen(t, client.conn, dbus.WithMatchSender(Name), dbus.WithMatchMember("PropertiesChanged"))
		sendTo(t, w.daemon, client.conn.Names()[0], router, "PlatformEvent")
		emit(t, w.daemon, marker)
		if diff := cmp.Diff(client.want, untilMarker(t, signals)); diff != "" {
			t.Errorf("%s hears (-want +got):\n%s", who, diff)
		}
	}
}

// sendTo sends a signal to one connection.
func sendTo(t *testing.T, conn *dbus.Conn, destination, iface, member string) {
	t.Helper()
	call := conn.Send(&dbus.Message{
		Type:  dbus.TypeSignal,
		Flags: dbus.FlagNoReplyExpected,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(destination),
			dbus.FieldPath:        dbus.MakeVariant(object),
			dbus.FieldInterface:   dbus.MakeVariant(iface),
			dbus.FieldMember:      dbus.MakeVariant(member),
		},
	}, nil)
	if call.Err != nil {
		t.Fatal(call.Err)
	}
}

func TestWhoseSignalsTheDaemonReceives(t *testing.T) {
	w := newWorld(t)
	signals := listen(t, w.daemon)

	for who, conn := range map[string]*dbus.Conn{"nobody": w.nobody, "member": w.member, "root": w.root} {
		emit(t, conn, "org.openbmc.Ipmb."+who)
		// The bus has handled the signal when it answers a later call.
		if err := conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
			t.Fatal(err)
		}
	}
	emit(t, w.root, marker)

	got := map[string]bool{}
	for _, name := range untilMarker(t, signals) {
		got[name] = true
	}
	want := map[string]bool{"org.openbmc.Ipmb.member": true, "org.openbmc.Ipmb.root": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("the daemon hears (-want +got):\n" + diff)
	}
}

// listen gathers signals, all of them or those that match.
func listen(t *testing.T, conn *dbus.Conn, match ...dbus.MatchOption) chan *dbus.Signal {
	t.Helper()
	if err := conn.AddMatchSignal(match...); err != nil {
		t.Fatal(err)
	}
	signals := make(chan *dbus.Signal, 64)
	conn.Signal(signals)
	return signals
}

func emit(t *testing.T, conn *dbus.Conn, name string) {
	t.Helper()
	if err := conn.Emit(object, name); err != nil {
		t.Fatal(err)
	}
}

// untilMarker returns the names of the signals before the marker, without those of the message
// bus.
func untilMarker(t *testing.T, signals chan *dbus.Signal) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var names []string
	for {
		select {
		case signal := <-signals:
			switch {
			case signal.Name == marker:
				return names
			case signal.Sender != "org.freedesktop.DBus":
				names = append(names, signal.Name)
			}
		case <-ctx.Done():
			t.Fatal("the marker did not come")
		}
	}
}

// rule is an element of the policy.
type rule struct {
	SendInterface    string `xml:"send_interface,attr"`
	SendMember       string `xml:"send_member,attr"`
	ReceiveInterface string `xml:"receive_interface,attr"`
	ReceiveMember    string `xml:"receive_member,attr"`
}

// A misspelt interface in a rule is no error to dbus-daemon; it never matches.
func TestPolicyNamesWhatExists(t *testing.T) {
	var policy struct {
		Policies []struct {
			Allow []rule `xml:"allow"`
			Deny  []rule `xml:"deny"`
		} `xml:"policy"`
	}
	if err := xml.Unmarshal(Policy, &policy); err != nil {
		t.Fatal(err)
	}
	known := knownMembers(t)
	for _, p := range policy.Policies {
		for _, r := range append(p.Allow, p.Deny...) {
			for _, name := range []string{r.SendInterface + "." + r.SendMember, r.ReceiveInterface + "." + r.ReceiveMember} {
				if !known[name] {
					t.Errorf("the policy names %s, which is in no document", name)
				}
			}
		}
	}
}

// knownMembers are the full names of all methods and signals, and the value of a rule without a
// member.
func knownMembers(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{
		".": true, "xyz.openbmc_project.Ipmi.Server.execute": true,
		logName + ".IpmiSelAdd": true, logName + ".AddExtended": true, logName + ".IpmiSelAddExtended": true,
	}
	for _, name := range documents.Names() {
		document, err := documents.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		known[name+"."] = true
		for _, member := range append(document.Methods, document.Signals...) {
			known[name+"."+member.Name] = true
		}
	}
	return known
}
