package dbusapi

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// slowManager reloads when the test says so.
type slowManager struct {
	fakeManager
	began, free chan struct{}
	added       atomic.Int32 // buses
}

func (m *slowManager) AddBus(context.Context, string) (dbus.ObjectPath, error) {
	m.added.Add(1)
	return bus4, nil
}

func newSlowManager() *slowManager {
	return &slowManager{began: make(chan struct{}, maxActs+1), free: make(chan struct{})}
}

func (m *slowManager) Faults() []string { return nil }

func (m *slowManager) Reload(ctx context.Context) error {
	m.began <- struct{}{}
	select {
	case <-m.free:
	case <-ctx.Done():
	}
	return nil
}

// A sender has its bound; calls beyond it are refused at once. Others are served meanwhile, and so
// are the sender's calls to buses, but not its reads.
func TestBacklogOfASenderIsBounded(t *testing.T) {
	m := newSlowManager()
	r := newRig(t, Config{Manager: m})
	c := newCrowd(t, r)
	c.add(0, BasePath, xml.ManagerInterface, "Reload")
	c.send()
	<-m.began
	const beyond = 20
	refused := make(map[uint32]bool)
	for n := range maxBacklog + beyond - 1 {
		serial := c.add(0, bus4, xml.IntrospectableInterface, "Introspect")
		if n >= maxBacklog-1 {
			refused[serial] = true
		}
	}
	c.send()
	for range beyond {
		serial, msg := c.reply()
		if !refused[serial] || msg.Headers[dbus.FieldErrorName].Value() != xml.ErrorLimits {
			t.Fatalf("%v", msg)
		}
	}
	c.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(6), byte(0), byte(1), []byte{})
	c.send()
	if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply {
		t.Errorf("a call to a bus: %v", msg)
	}
	if _, err := r.call(t, bus4, xml.IntrospectableInterface, "Introspect"); err != nil {
		t.Errorf("another sender: %v", err)
	}
	close(m.free)
	for range maxBacklog {
		if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply {
			t.Errorf("%v", msg)
		}
	}
}

// All senders together have a bound too, and each leaves room for the next.
func TestBacklogsAreBounded(t *testing.T) {
	m := newSlowManager()
	r := newRig(t, Config{Manager: m})
	long := strings.Repeat("x", (128 << 10))
	var crowds []*crowd
	for range 4 {
		c := newCrowd(t, r)
		c.add(0, BasePath, xml.ManagerInterface, "Reload")
		for range maxBacklogs / len(long) {
			c.add(dbuswire.FlagNoReply, BasePath, xml.ManagerInterface, "AddBus", long)
		}
		c.send()
		<-m.began
		crowds = append(crowds, c)
	}
	for _, c := range crowds { // the calls have arrived when a later call is refused
		c.add(0, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(6), byte(0), byte(1), []byte{})
		c.send()
		if _, msg := c.reply(); msg.Type != dbus.TypeMethodReply {
			t.Errorf("%v", msg)
		}
	}
	bytes, unsure := r.server.clients.waitingBytes()
	for unsure > 0 { // until their senders are identified
		r.roundTrip(t)
		bytes, unsure = r.server.clients.waitingBytes()
	}
	if bytes > maxBacklogs || bytes < maxBacklogs*3/4 {
		t.Errorf("%d bytes wait", bytes)
	}
	if _, err := r.call(t, BasePath, xml.ManagerInterface, "AddBus", "{}"); err != nil {
		t.Errorf("another sender: %v", err)
	}
	close(m.free)
}

// waitingBytes is how many bytes of calls wait that have places, and that have none yet.
func (c *clients) waitingBytes() (placed, unsure int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes.Used(), c.unknown
}

func TestCallsOfASenderThatLeftAreDropped(t *testing.T) {
	m := newSlowManager()
	r := newRig(t, Config{Manager: m})
	c := newCrowd(t, r)
	c.add(0, BasePath, xml.ManagerInterface, "Reload")
	for range 10 {
		c.add(0, BasePath, xml.ManagerInterface, "AddBus", "{}")
	}
	c.send()
	<-m.began
	c.leave()
	for {
		_, _ = r.call(t, "/", xml.PeerInterface, "Ping")
		if placed, unsure := r.server.clients.waitingBytes(); placed+unsure == 0 {
			break
		}
	}
	if n := m.added.Load(); n > 0 {
		t.Errorf("%d calls were served", n)
	}
	r.server.conn.AwaitReplies(t.Context())
}

// A call that wants no reply gets no reply and no error, even if it is wrong.
func TestNoReplyIsNone(t *testing.T) {
	r := newRig(t, Config{Manager: new(fakeManager)})
	r.fake.fail(map[ipmi.Command]error{2: ipmi.ErrTooSlow})
	c := newCrowd(t, r)
	for _, path := range []dbus.ObjectPath{BasePath, bus4, "/", "/no/such/path"} {
		for _, m := range methods() {
			for _, iface := range []string{m.iface, "", "no.such.interface"} {
				c.add(dbuswire.FlagNoReply, path, iface, m.member)
				c.add(dbuswire.FlagNoReply, path, iface, m.member, argsOf(t, m.in)...)
				c.add(dbuswire.FlagNoReply, path, iface, "NoSuchMember")
			}
		}
	}
	for range 2 * maxBacklog { // more than are kept
		c.add(dbuswire.FlagNoReply, BasePath, xml.ManagerInterface, "Reload")
	}
	c.add(dbuswire.FlagNoReply, BasePath, xml.LegacyInterface, "sendRequest", byte(99), byte(6), byte(0), byte(1), []byte{})
	c.add(dbuswire.FlagNoReply, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(6), byte(0), byte(2), []byte{})
	c.add(dbuswire.FlagNoReply, bus4, xml.BusInterface, "sendRequest", byte(0), byte(6), byte(0), byte(2), []byte{})
	c.add(dbuswire.FlagNoReply, BasePath, xml.LegacyInterface, "sendRequest", byte(0), byte(6), byte(0), byte(1), make([]byte, 256<<10))
	c.send()
	for range 2 { // the second is served after all calls that wait
		last := c.add(0, BasePath, xml.ManagerInterface, "Reload")
		c.send()
		for {
			serial, msg := c.reply()
			if serial != last {
				t.Fatalf("%v", msg)
			}
			if msg.Type == dbus.TypeMethodReply {
				break
			}
			last = c.add(0, BasePath, xml.ManagerInterface, "Reload") // refused: as many wait
			c.send()
		}
	}
}

// argsOf is arguments of a signature, as good as any.
func argsOf(t *testing.T, signature string) []any {
	known := map[string][]any{
		"":                 {},
		"s":                {""},
		"o":                {bus4},
		"ss":               {"", "Nothing"},
		"ssv":              {"", "Tries", dbus.MakeVariant("x")},
		"yay":              {byte(1), []byte{}},
		"tyay":             {uint64(1), byte(0), []byte{}},
		requestSignature:   {byte(0), byte(6), byte(0), byte(2), []byte{}},
		broadcastSignature: {byte(6), byte(0), byte(2), []byte{}},
		optionsSignature:   {byte(0), byte(6), byte(0), byte(2), []byte{}, map[string]dbus.Variant{"nothing": dbus.MakeVariant("x")}},
		"yyyyyay":          {byte(0), byte(6), byte(0), byte(2), byte(0), []byte{}},
		"oa(yyuu)":         {dbus.ObjectPath("/"), []commandRow{{6, 1, 0, 1}}},
	}
	args, ok := known[signature]
	if !ok {
		t.Fatalf("no arguments of the types %q", signature)
	}
	return args
}

// Each call that wants a reply has exactly one.
func TestEachCallHasOneReply(t *testing.T) {
	r := newRig(t, Config{Manager: new(fakeManager)})
	c := newCrowd(t, r)
	owed := make(map[uint32]string)
	ask := func(path dbus.ObjectPath, iface, member string, args ...any) {
		owed[c.add(0, path, iface, member, args...)] = fmt.Sprint(path, " ", iface, " ", member)
	}
	for _, path := range []dbus.ObjectPath{BasePath, bus4, "/no/such/path"} {
		for _, m := range methods() {
			for _, iface := range []string{m.iface, "", "no.such.interface"} {
				ask(path, iface, m.member)
				ask(path, iface, m.member, argsOf(t, m.in)...)
			}
		}
		ask(path, xml.PeerInterface, "NoSuchMember")
		c.send()
	}
	for len(owed) > 0 {
		serial, msg := c.reply()
		if owed[serial] == "" {
			t.Fatalf("a reply that nobody waits for: %v", msg)
		}
		delete(owed, serial)
	}
	r.server.conn.AwaitReplies(t.Context())
}

// A reply is shared by the calls that had arrived when it was begun, and by no other.
func TestRepliesAreSharedByTheCallsBeforeThem(t *testing.T) {
	count := 0
	m := boundMethod{object: &object{}, method: &method{iface: "a.b", member: "C", out: "s", reads: true,
		serve: func(context.Context, *call) ([]any, error) {
			count++
			return []any{strings.Repeat(string(rune('a'+count)), minShared)}, nil
		}}}
	s := &Server{clients: newClients(10, func(string) {})}
	one := s.clients.findClient([]byte(":1.5"))
	raw := encodeCall(t, binary.LittleEndian, ":1.5")
	shared := make(sharedReplies)
	for _, tt := range []struct {
		number, arrived uint64
		made            int
	}{{1, 3, 1}, {2, 4, 1}, {3, 5, 1}, {4, 5, 2}, {5, 9, 2}, {6, 9, 3}} {
		s.clients.arrived.Store(tt.arrived)
		body, err := shared.replyTo(t.Context(), s, one, &waitingCall{raw: raw, number: tt.number, method: m})
		if err != nil || count != tt.made || body[4] != byte('a'+count) {
			t.Errorf("call %d: made %d times, want %d; %v", tt.number, count, tt.made, err)
		}
	}
}

func TestSharedRepliesAreFew(t *testing.T) {
	m := boundMethod{object: &object{}, method: &method{reads: true,
		serve: func(context.Context, *call) ([]any, error) { return []any{strings.Repeat("x", minShared)}, nil }}}
	s := &Server{clients: newClients(10, func(string) {})}
	one := s.clients.findClient([]byte(":1.5"))
	shared := make(sharedReplies)
	for n := range 5 * maxShared {
		raw := encodeCall(t, binary.LittleEndian, ":1.5", fmt.Sprint(n))
		if _, err := shared.replyTo(t.Context(), s, one, &waitingCall{raw: raw, number: 1, method: m}); err != nil || len(shared) > maxShared {
			t.Errorf("%d are kept, %v", len(shared), err)
		}
	}
}

// Every read of every object has a reply of the types that it should have.
func TestReadsHaveTheirTypes(t *testing.T) {
	r := newRig(t, Config{})
	for _, path := range []dbus.ObjectPath{"/", BasePath, handlersPath, bus4} {
		for _, iface := range []string{"", xml.RouterInterface, xml.ManagerInterface, xml.BusInterface} {
			got, err := r.call(t, path, xml.PropertiesInterface, "GetAll", iface)
			if name := errorName(err); err != nil && name != "org.freedesktop.DBus.Error.UnknownInterface" {
				t.Errorf("GetAll %q of %s: %v", iface, path, err)
			} else if err == nil {
				for name, value := range got[0].(map[string]dbus.Variant) {
					if i := slices.IndexFunc(slices.Concat(properties(xml.BusInterface), properties(xml.RouterInterface), properties(xml.ManagerInterface)), func(p property) bool {
						return p.name == name && p.signature == value.Signature().String()
					}); i < 0 {
						t.Errorf("%s of %s is %s", name, path, value.Signature())
					}
				}
			}
		}
	}
	for _, path := range []dbus.ObjectPath{"/", "/nothing"} {
		if got, err := r.call(t, path, xml.PeerInterface, "GetMachineId"); err != nil || len(got[0].(string)) != 32 {
			t.Errorf("GetMachineId of %s: %v, %v", path, got, err)
		}
	}
}
