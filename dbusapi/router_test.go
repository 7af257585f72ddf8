package dbusapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/internal/bustest"
	"ipmbd/internal/dbuswire"
	"ipmbd/ipmi"
	"ipmbd/xml"
)

// routerRig is a rig and the mux that its server registers handlers in.
type routerRig struct {
	*rig
	mux   *ipmi.Mux
	clock *clock // of the calls to handlers
}

func newRouterRig(t *testing.T) *routerRig {
	t.Helper()
	mux := new(ipmi.Mux)
	r := &routerRig{newRig(t, Config{Mux: mux}), mux, &clock{time: time.Now()}}
	r.server.router.calls.now = r.clock.now
	return r
}

// program starts a program that answers requests at every path.
func (r *rig) program(t *testing.T, reply func([]any) ([]any, error)) *fakeHost {
	t.Helper()
	p := &fakeHost{Silence: bustest.NewSilence(t), reply: reply, began: make(chan struct{}, 1000)}
	p.conn = dial(t, r.bus, dbuswire.Config{Objects: p})
	return p
}

// answerWith answers every request with one byte.
func answerWith(b byte) func([]any) ([]any, error) {
	return func(args []any) ([]any, error) {
		return []any{hostResult{args[0].(byte) | 1, args[1].(byte), args[2].(byte), 0, []byte{b}}}, nil
	}
}

// callRouter calls a method of the router as a program.
func (h *fakeHost) callRouter(t *testing.T, member string, args ...any) error {
	t.Helper()
	_, err := h.conn.Call(t.Context(), dbuswire.Method{Destination: xml.ServiceName, Path: BasePath, Interface: xml.RouterInterface, Member: member}, args...)
	return err
}

func (h *fakeHost) register(t *testing.T, path dbus.ObjectPath, commands ...commandRow) error {
	t.Helper()
	return h.callRouter(t, "RegisterHandler", path, append([]commandRow{}, commands...))
}

func (h *fakeHost) mustRegister(t *testing.T, path dbus.ObjectPath, commands ...commandRow) {
	t.Helper()
	if err := h.register(t, path, commands...); err != nil {
		t.Fatal(err)
	}
}

// leave ends a connection and returns when the message bus has noticed.
func (r *rig) leave(t *testing.T, conn *dbuswire.Conn) {
	t.Helper()
	name := conn.Name()
	_ = conn.Close()
	for {
		got, err := r.client.CallBus(t.Context(), "NameHasOwner", name)
		if err != nil {
			t.Fatal(err)
		}
		if got[0] == false {
			return
		}
	}
}

const everyChannel = uint32(ipmi.AllChannels)

// appCommand is a command of netFn 06h on all channels.
func appCommand(cmd byte) commandRow { return commandRow{6, cmd, ipmi.AnyGroup, everyChannel} }

// ask has a request for command 1 of netFn 06h answered, with one byte.
func (r *routerRig) ask(t *testing.T, change func(*ipmi.Request)) byte {
	t.Helper()
	req := fromME()
	change(req)
	res, err := answerOf(t.Context(), r.mux, req)
	if err != nil || len(res.Data) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	return res.Data[0]
}

func TestTwoProgramsWantOneCommand(t *testing.T) {
	r := newRouterRig(t)
	first, second := r.program(t, answerWith(1)), r.program(t, answerWith(2))
	first.mustRegister(t, "/first", appCommand(1), appCommand(2))
	if got := r.ask(t, func(*ipmi.Request) {}); got != 1 {
		t.Errorf("answered by %d", got)
	}

	err := second.register(t, "/second", appCommand(9), appCommand(1))
	if errorName(err) != xml.ErrorNotAllowed {
		t.Errorf("error = %v", err)
	}
	for _, word := range []string{"get-device-id", first.conn.Name(), fmt.Sprintf("(process %d)", ownProgram(first.conn.Name(), bus.Process{}).PID)} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not name %q", err, word)
		}
	}
	if _, err := answerOf(t.Context(), r.mux, &ipmi.Request{NetFn: 6, Command: 9}); !errors.Is(err, ipmi.ErrNoHandler) {
		t.Errorf("one of the refused commands is served: %v", err)
	}

	r.leave(t, first.conn)
	second.mustRegister(t, "/second", appCommand(9), appCommand(1))
	if got := r.ask(t, func(*ipmi.Request) {}); got != 2 {
		t.Errorf("answered by %d", got)
	}
}

func TestProgramsShareACommandByChannels(t *testing.T) {
	r := newRouterRig(t)
	for i := range 3 {
		p := r.program(t, answerWith(byte(i)))
		p.mustRegister(t, "/handler", commandRow{6, 0xFF, ipmi.AnyGroup, 1 << i})
	}
	for i := range 3 {
		if got := r.ask(t, func(req *ipmi.Request) { req.Channel = ipmi.Channel(i) }); got != byte(i) {
			t.Errorf("channel %d is answered by %d", i, got)
		}
	}
}

func TestOEMHandlersShareANetFnByIANA(t *testing.T) {
	r := newRouterRig(t)
	ianas := map[byte]uint32{1: 343, 2: 0x00A015}
	for number, iana := range ianas {
		r.program(t, answerWith(number)).mustRegister(t, "/oem", commandRow{0x2E, 0xFF, iana, everyChannel})
	}
	for number, iana := range ianas {
		got := r.ask(t, func(req *ipmi.Request) {
			req.NetFn, req.Data = ipmi.NetFnOEM, []byte{byte(iana), byte(iana >> 8), byte(iana >> 16)}
		})
		if got != number {
			t.Errorf("IANA %d is answered by %d", iana, got)
		}
	}
}

func TestPathIsRegisteredOnce(t *testing.T) {
	r := newRouterRig(t)
	p, other := r.program(t, answerOK), r.program(t, answerOK)
	p.mustRegister(t, "/handler", appCommand(1))
	other.mustRegister(t, "/handler", appCommand(2))

	if err := p.register(t, "/handler", appCommand(3)); errorName(err) != xml.ErrorNotAllowed || !strings.Contains(err.Error(), "unregister") {
		t.Errorf("again: %v", err)
	}
	if err := p.callRouter(t, "UnregisterHandler", dbus.ObjectPath("/other")); errorName(err) != xml.ErrorNotFound {
		t.Errorf("unknown path: %v", err)
	}
	if err := p.callRouter(t, "UnregisterHandler", dbus.ObjectPath("/handler")); err != nil {
		t.Fatal(err)
	}
	if err := p.callRouter(t, "UnregisterHandler", dbus.ObjectPath("/handler")); errorName(err) != xml.ErrorNotFound {
		t.Errorf("unregistered twice: %v", err)
	}
	p.mustRegister(t, "/handler", appCommand(3), appCommand(1))
	if got := len(r.mux.Registrations()); got != 3 {
		t.Errorf("%d commands are registered", got)
	}
}

func TestRefusedRegistrations(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, answerOK)
	for name, tt := range map[string]struct {
		commands []commandRow
		want     string
	}{
		"no command":                 {nil, xml.ErrorInvalidArgument},
		"odd netFn":                  {[]commandRow{{7, 1, ipmi.AnyGroup, 1}}, xml.ErrorInvalidArgument},
		"netFn of seven bits":        {[]commandRow{{0x40, 1, ipmi.AnyGroup, 1}}, xml.ErrorInvalidArgument},
		"no channel":                 {[]commandRow{{6, 1, ipmi.AnyGroup, 0}}, xml.ErrorInvalidArgument},
		"group of a netFn without":   {[]commandRow{{6, 1, 0xDC, 1}}, xml.ErrorInvalidArgument},
		"body code of nine bits":     {[]commandRow{{0x2C, 1, 0x100, 1}}, xml.ErrorInvalidArgument},
		"IANA number of 25 bits":     {[]commandRow{{0x2E, 1, 0x100_0000, 1}}, xml.ErrorInvalidArgument},
		"second command is invalid":  {[]commandRow{appCommand(1), {7, 1, ipmi.AnyGroup, 1}}, xml.ErrorInvalidArgument},
		"commands that are the same": {[]commandRow{appCommand(1), appCommand(1)}, xml.ErrorNotAllowed},
		"257 commands":               {make([]commandRow, 257), xml.ErrorTooMany},
		"10,000 commands":            {make([]commandRow, 10000), xml.ErrorTooMany},
	} {
		if err := p.register(t, "/handler", tt.commands...); errorName(err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := r.mux.Registrations(); len(got) != 0 {
		t.Errorf("registered: %v", got)
	}
}

// numbered is a command of its own for each number, or a channel of it.
func numbered(n int) commandRow {
	return commandRow{0x30 + 2*byte(n>>11), byte(n>>4) & 0x7F, ipmi.AnyGroup, 1 << (n & 0xF)}
}

func TestLimitsOfHandlers(t *testing.T) {
	r := newRouterRig(t)
	number := 0
	for range maxHandlers / maxHandlersOfOne {
		p := r.program(t, answerOK)
		for i := range maxHandlersOfOne {
			p.mustRegister(t, dbus.ObjectPath(fmt.Sprint("/", i)), numbered(number))
			number++
		}
		if err := p.register(t, "/more", numbered(number)); errorName(err) != xml.ErrorTooMany {
			t.Fatalf("over the limit of a program: %v", err)
		}
	}
	late := r.program(t, answerOK)
	if err := late.register(t, "/more", numbered(number)); errorName(err) != xml.ErrorTooMany {
		t.Errorf("over the limit of all: %v", err)
	}
}

func TestLimitsOfCommands(t *testing.T) {
	r := newRouterRig(t)
	programs := []*fakeHost{r.program(t, answerOK), r.program(t, answerOK)}
	const handlers = maxPatterns / 2 / maxPatternsOfOne
	for i, p := range programs {
		for j := range handlers {
			var commands []commandRow
			for k := range maxPatternsOfOne {
				commands = append(commands, numbered((i*handlers+j)*maxPatternsOfOne+k))
			}
			p.mustRegister(t, dbus.ObjectPath(fmt.Sprint("/", j)), commands...)
		}
		if err := p.register(t, "/more", numbered(maxPatterns)); errorName(err) != xml.ErrorTooMany {
			t.Errorf("over the limit: %v", err)
		}
	}
	p := programs[0]
	if err := p.callRouter(t, "UnregisterHandler", dbus.ObjectPath("/0")); err != nil {
		t.Fatal(err)
	}
	p.mustRegister(t, "/more", numbered(maxPatterns))
	if err := p.register(t, "/again", numbered(maxPatterns)); errorName(err) != xml.ErrorNotAllowed {
		t.Errorf("a command that is taken: %v", err)
	}
	for i := range maxHandlersOfOne - handlers { // Refusals have cost no place.
		p.mustRegister(t, dbus.ObjectPath(fmt.Sprint("/more", i)), numbered(maxPatterns+1+i))
	}
}

// The caller's connection may end at any moment of the call.
func TestProgramThatLeavesDuringItsRegistration(t *testing.T) {
	r := newRouterRig(t)
	heir := r.program(t, answerWith(7))
	for range 50 {
		p := r.program(t, answerOK)
		p.conn.Object(xml.ServiceName, BasePath).Go(xml.RouterInterface+".RegisterHandler", dbus.FlagNoReplyExpected, nil,
			dbus.ObjectPath("/handler"), []commandRow{appCommand(1)})
		r.leave(t, p.conn)
		heir.mustRegister(t, "/heir", appCommand(1))
		if err := heir.callRouter(t, "UnregisterHandler", dbus.ObjectPath("/heir")); err != nil {
			t.Fatal(err)
		}
	}
	r.server.Drain(t.Context())
	if left := r.mux.Registrations(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProgramThatHasLeftRegistersNothing(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, answerOK)
	name := p.conn.Name()
	r.leave(t, p.conn)
	c := &call{server: r.server, sender: name, client: r.server.clients.findClient([]byte(name)),
		args: []any{dbus.ObjectPath("/handler"), [][]any{{byte(6), byte(1), ipmi.AnyGroup, everyChannel}}}}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := registerHandler(ended, c); !errors.Is(err, errGone) {
		t.Errorf("registered: %v", err)
	}
	h := &remoteHandler{target: target{destination: name, path: "/handler"}, patterns: []ipmi.Pattern{{NetFn: 6, Channels: 1, Group: ipmi.AnyGroup}}}
	if err := r.server.addHandler(ended, name, h); !errors.Is(err, errGone) {
		t.Errorf("whose calls have ended: %v", err)
	}
	if _, err := subscribe(ended, c); !errors.Is(err, errGone) || len(r.server.events.names()) != 0 {
		t.Errorf("subscribed: %v", err)
	}
}

// handlerRowOf is an element of the property Handlers as a client reads it.
func handlerRowOf(owner *fakeHost, path string, cmd byte) []any {
	return []any{owner.conn.Name(), dbus.ObjectPath(path), byte(6), cmd, ipmi.AnyGroup, everyChannel}
}

// handlersProperty reads the property.
func (r *rig) handlersProperty(t *testing.T) [][]any {
	t.Helper()
	got, err := r.call(t, BasePath, xml.PropertiesInterface, "Get", xml.RouterInterface, "Handlers")
	if err != nil {
		t.Fatal(err)
	}
	return got[0].(dbus.Variant).Value().([][]any)
}

func TestHandlersAreShown(t *testing.T) {
	r := newRouterRig(t)
	if got := r.handlersProperty(t); len(got) != 0 {
		t.Errorf("handlers = %v", got)
	}
	first, second := r.program(t, answerOK), r.program(t, answerOK)
	first.mustRegister(t, "/b", appCommand(1), appCommand(2))
	second.mustRegister(t, "/c", appCommand(3))
	first.mustRegister(t, "/a", appCommand(4))
	want := [][]any{handlerRowOf(first, "/b", 1), handlerRowOf(first, "/b", 2), handlerRowOf(second, "/c", 3), handlerRowOf(first, "/a", 4)}
	if diff := cmp.Diff(want, r.handlersProperty(t)); diff != "" {
		t.Error(diff)
	}

	got, err := r.call(t, handlersPath+"/1", xml.PropertiesInterface, "GetAll", xml.HandlerInterface)
	if err != nil {
		t.Fatal(err)
	}
	properties := map[string]any{
		"Owner": first.conn.Name(), "Path": dbus.ObjectPath("/b"),
		"Commands": [][]any{{byte(6), byte(1), ipmi.AnyGroup, everyChannel}, {byte(6), byte(2), ipmi.AnyGroup, everyChannel}},
	}
	if diff := cmp.Diff(properties, values(got[0].(map[string]dbus.Variant))); diff != "" {
		t.Error(diff)
	}
	for path, want := range map[dbus.ObjectPath]int{"/": 5, BasePath: 4} {
		managed, err := r.call(t, path, xml.ObjectManagerInterface, "GetManagedObjects")
		if err != nil {
			t.Fatal(err)
		}
		objects := managed[0].(map[dbus.ObjectPath]map[string]map[string]dbus.Variant)
		if len(objects) != want || !sameVariant(objects[handlersPath+"/2"][xml.HandlerInterface]["Owner"], dbus.MakeVariant(second.conn.Name())) {
			t.Errorf("%s manages %v", path, objects)
		}
		if router, ok := objects[BasePath][xml.RouterInterface]; path == "/" && (!ok || len(router) != 1) {
			t.Errorf("router: %v", router)
		}
	}
}

// values is properties without their types.
func values(properties map[string]dbus.Variant) map[string]any {
	all := make(map[string]any)
	for name, value := range properties {
		all[name] = value.Value()
	}
	return all
}

func TestStatisticsOfTheService(t *testing.T) {
	r := newRouterRig(t)
	got, err := r.call(t, BasePath, xml.RouterInterface, "GetStatistics")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.server.Statistics(), got[0]); diff != "" {
		t.Error(diff)
	}
}

// told waits for the signals of handlers that have come or gone: a signal from each object manager
// and then the change of the property.
func (r *rig) told(t *testing.T, name string, path dbus.ObjectPath, handlers ...[]any) {
	t.Helper()
	for _, manager := range []dbus.ObjectPath{rootPath, BasePath} {
		got := <-r.heard
		if got.Name != name || got.Path != manager || got.Body[0] != path {
			t.Fatalf("signal %+v", got)
		}
		if name == interfacesRemoved && !cmp.Equal(got.Body[1], []string{xml.HandlerInterface}) {
			t.Errorf("signal %+v", got)
		}
	}
	got := <-r.heard
	if got.Name != propertiesChanged || got.Path != BasePath || got.Body[0] != xml.RouterInterface {
		t.Fatalf("signal %+v", got)
	}
	changed := got.Body[1].(map[string]dbus.Variant)
	if diff := cmp.Diff(append([][]any{}, handlers...), changed["Handlers"].Value()); diff != "" || len(changed) != 1 {
		t.Errorf("changed %v %s", changed, diff)
	}
}

func TestHandlersComeAndGo(t *testing.T) {
	r := newRouterRig(t)
	r.listen(t)
	first, second := r.program(t, answerOK), r.program(t, answerOK)
	first.mustRegister(t, "/a", appCommand(1))
	r.told(t, interfacesAdded, handlersPath+"/1", handlerRowOf(first, "/a", 1))
	second.mustRegister(t, "/b", appCommand(2))
	r.told(t, interfacesAdded, handlersPath+"/2", handlerRowOf(first, "/a", 1), handlerRowOf(second, "/b", 2))
	if err := second.callRouter(t, "UnregisterHandler", dbus.ObjectPath("/b")); err != nil {
		t.Fatal(err)
	}
	r.told(t, interfacesRemoved, handlersPath+"/2", handlerRowOf(first, "/a", 1))
	_ = first.conn.Close()
	r.told(t, interfacesRemoved, handlersPath+"/1")
	if _, err := r.call(t, handlersPath+"/1", xml.IntrospectableInterface, "Introspect"); err == nil {
		t.Error("a removed handler introspects")
	}
	// Numbers are not used again.
	second.mustRegister(t, "/b", appCommand(1))
	r.told(t, interfacesAdded, handlersPath+"/3", handlerRowOf(second, "/b", 1))
}

// The property Handlers has the path once for each command. If a signal or a reply is longer than
// the message bus takes (32 MiB), the service loses its connection, and ends.
func TestHandlerWithALongPath(t *testing.T) {
	r := newRouterRig(t)
	p := r.program(t, answerOK)
	var commands []commandRow
	for n := range byte(200) {
		commands = append(commands, appCommand(n))
	}
	path := dbus.ObjectPath("/" + strings.Repeat("x", 200<<10))
	if err := p.register(t, path, commands...); errorName(err) != xml.ErrorInvalidArgument {
		t.Errorf("RegisterHandler: %v", err)
	}
	r.roundTrip(t)
	select {
	case <-r.server.conn.Done():
		t.Error("the service has lost the message bus")
	default:
	}
}
