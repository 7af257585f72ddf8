package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/dbusapi"
	"ipmbd/internal/bustest"
	"ipmbd/internal/fakelink"
	"ipmbd/internal/testmain"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// asProgram is the variable that makes the test's program ipmbctl itself, for
// shells that run it.
const asProgram = "IPMBD_TEST_AS_IPMBCTL"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testmain.Run(m)
}

// fakeBus is a bus with a few nodes.
type fakeBus struct {
	*bus.Bus
	mu         sync.Mutex
	properties bus.Properties
	requests   []ipmb.Request
	logs       map[ipmi.Address]ipmi.Handler // nodes that have one
	hold       func(ipmb.Request)            // called before a request is served; may be nil
}

// The nodes of a fakeBus. The other addresses have no node.
const (
	managementEngine ipmi.Address = 0x2C // answers Get Device ID, and all other commands with C1h
	sensor           ipmi.Address = 0x72 // answers all with C1h
	satellite        ipmi.Address = 0x84 // answers Get Device ID with an auxiliary revision
	garbled          ipmi.Address = 0x90 // answers Get Device ID with too few bytes
	silent           ipmi.Address = 0xA0 // takes requests
	unheard          ipmi.Address = 0xA2 // answers C3h
	stuck            ipmi.Address = 0xB0 // the bus does not carry requests to it
	busy             ipmi.Address = 0xB2 // others wait for it already
)

var deviceIDs = map[ipmi.Address][]byte{
	managementEngine: {0x50, 0x01, 0x04, 0x00, 0x02, 0x21, 0x57, 0x01, 0x00, 0x0B, 0x0B},
	satellite:        {0x20, 0x81, 0x83, 0x15, 0x51, 0x8C, 0xA2, 0x02, 0x00, 0x00, 0x01, 0xDE, 0xAD, 0xBE, 0xEF},
	garbled:          {0x20, 0x01},
}

// newFakeBus makes a bus with properties.
func newFakeBus(p bus.Properties) *fakeBus {
	b := &fakeBus{properties: p}
	b.Bus = bus.New(bus.Config{Name: p.Name, Index: p.Index, RemoteAddress: p.RemoteAddress}, fakeLink{&fakelink.Link{Answer: b.exchange}, b})
	b.Begin()
	return b
}

// fakeLink is the link of a fakeBus.
type fakeLink struct {
	*fakelink.Link
	fake *fakeBus
}

func (b *fakeBus) exchange(_ <-chan struct{}, r ipmb.Request) (ipmi.Response, error) {
	if b.hold != nil {
		b.hold(r)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = append(b.requests, r)
	if b.properties.State == bus.Down {
		return ipmi.Response{}, ipmb.ErrClosed
	}
	if log := b.logs[r.Responder]; log != nil {
		return ipmi.Do(context.Background(), log, &ipmi.Request{NetFn: r.NetFn, Command: r.Command, Data: r.Data})
	}
	switch id, answers := deviceIDs[r.Responder]; {
	case r.Responder == silent:
		return ipmi.Response{}, ipmb.ErrTimeout
	case r.Responder == unheard:
		return ipmi.Response{Code: ipmi.CodeTimeout}, nil
	case r.Responder == stuck:
		return ipmi.Response{}, ipmb.ErrStuck
	case r.Responder == busy:
		return ipmi.Response{}, ipmb.ErrBusy
	case answers && r.NetFn == ipmi.NetFnApp && r.Command == ipmi.CommandGetDeviceID:
		return ipmi.Response{Data: id}, nil
	case answers && r.NetFn == 0x30:
		return ipmi.Response{Data: r.Data}, nil
	case answers || r.Responder == sensor:
		return ipmi.Response{Code: ipmi.CodeInvalidCommand}, nil
	}
	return ipmi.Response{}, ipmb.ErrNotAcknowledged
}

func (l fakeLink) Describe(p *bus.Properties) {
	l.fake.mu.Lock()
	defer l.fake.mu.Unlock()
	*p = l.fake.properties
}

func (l fakeLink) Drain(context.Context)                             {}
func (l fakeLink) RetryPolicy() ipmb.RetryPolicy                     { return ipmb.RetryPolicy{} }
func (l fakeLink) SetRetryPolicy(ipmb.RetryPolicy)                   {}
func (l fakeLink) SetOwnAddress(context.Context, ipmi.Address) error { return nil }
func (l fakeLink) SetIgnoreNACK(bool) error                          { return nil }
func (l fakeLink) SetVerifyChecksum(bool) error                      { return nil }

func (l fakeLink) Bind(context.Context) error { return l.fake.bound(bus.Up, "") }
func (l fakeLink) Unbind(context.Context) error {
	return l.fake.bound(bus.Down, bus.Unbound)
}

// bound is the end of Bind and Unbind: of a socket it is an error.
func (b *fakeBus) bound(state bus.State, reason string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.properties.Transport == "seqpacket" {
		return fmt.Errorf("%w: it is a socket", bus.ErrFixed)
	}
	b.properties.State, b.properties.Reason = state, reason
	return nil
}

func (l fakeLink) Statistics() map[string]uint64 {
	return map[string]uint64{"calls-answered": 12, "calls-timeout": 3, "dropped-short": 0}
}

func (b *fakeBus) last() ipmb.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests[len(b.requests)-1]
}

// rig is ipmbd on a private message bus with two buses: bus0 works, me1 is
// Down. There are no host interfaces until addHosts.
type rig struct {
	bus    *bustest.Bus
	server *dbusapi.Server
	mux    *ipmi.Mux // of the server
	bus0   *fakeBus
	object *dbusapi.BusObject // of bus0
	added  map[dbus.ObjectPath]*dbusapi.BusObject
	hosts  map[dbus.ObjectPath]*dbusapi.HostObject
	reload error    // of Reload
	faults []string // of Faults
	env    environment
}

func newRig(t *testing.T, config bustest.Config) *rig {
	t.Helper()
	r := &rig{bus: bustest.StartConfig(t, config)}
	r.start(t)
	return r
}

// start starts ipmbd.
func (r *rig) start(t *testing.T) {
	t.Helper()
	r.open(t)
	r.bus0 = newFakeBus(bus.Properties{
		Name: "bus0", Device: "/dev/ipmb-0", Transport: "ipmb-dev", Channel: 0, Index: 0,
		OwnAddress: 0x20, RemoteAddress: managementEngine, State: bus.Up, Handler: "host",
		Policy: ipmb.RetryPolicy{Tries: 6, Timeout: 250 * time.Millisecond},
	})
	r.object = r.add(t, r.bus0)
	r.add(t, newFakeBus(bus.Properties{
		Name: "me1", Device: "/run/me1.sock", Transport: "seqpacket", Channel: 1, Index: 1,
		OwnAddress: 0x20, RemoteAddress: sensor, State: bus.Down, Reason: "/run/me1.sock: no such file or directory",
		Handler: "none",
	}))
	r.serve(t)
}

// open makes an ipmbd without its D-Bus name.
func (r *rig) open(t *testing.T) {
	t.Helper()
	r.mux = new(ipmi.Mux)
	r.added, r.hosts = map[dbus.ObjectPath]*dbusapi.BusObject{}, map[dbus.ObjectPath]*dbusapi.HostObject{}
	server, err := dbusapi.Open(t.Context(), dbusapi.Config{Address: r.bus.Address, Mux: r.mux, Manager: r})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	r.server = server
}

// serve makes it seen.
func (r *rig) serve(t *testing.T) {
	t.Helper()
	if err := r.server.TakeNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done, server := make(chan error, 1), r.server // which a restart replaces
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (r *rig) add(t *testing.T, bus *fakeBus) *dbusapi.BusObject {
	t.Helper()
	object, err := r.server.NewBus(bus.properties.Name, bus.properties.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := object.Export(bus.Bus); err != nil {
		t.Fatal(err)
	}
	return object
}

// addHosts adds two host interfaces: kcs3 works, and no machine is at host0.
func (r *rig) addHosts(t *testing.T) {
	t.Helper()
	for _, p := range []dbusapi.HostProperties{
		{Name: "kcs3", Type: "kcs", Path: "/dev/ipmi-kcs3", Channel: 15, Handler: "host", State: bus.Up},
		{Name: "host0", Type: "vm", Path: "unix:/run/ipmbd/host0.sock", Channel: 14, Handler: "bmc", State: bus.Waiting, Reason: "no machine is connected"},
	} {
		r.addHost(t, p)
	}
}

func (r *rig) addHost(t *testing.T, p dbusapi.HostProperties) {
	t.Helper()
	o, err := r.server.NewHost(t.Context(), p.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Export(fakeHost{p}, nil); err != nil {
		t.Fatal(err)
	}
	r.hosts[o.Path()] = o
}

// AddBus implements dbusapi.Manager: a bus of a name, at index 8.
func (r *rig) AddBus(_ context.Context, text string) (dbus.ObjectPath, error) {
	var c struct{ Name string }
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return "", fmt.Errorf("%w: channel = null: must be an object\nand more", dbusapi.ErrConfig)
	}
	o, err := r.server.NewBus(c.Name, 8)
	if err != nil {
		return "", fmt.Errorf("%w: %w", dbusapi.ErrConfig, err)
	}
	r.added[o.Path()] = o
	return o.Path(), o.Export(newFakeBus(bus.Properties{
		Name: c.Name, Device: "/dev/ipmb-7", Transport: "ipmb-dev", Index: 8, OwnAddress: 0x20, RemoteAddress: 0x2C, State: bus.Up,
	}).Bus)
}

// AddHost implements dbusapi.Manager.
func (r *rig) AddHost(ctx context.Context, text string) (dbus.ObjectPath, error) {
	var c struct{ Name, Path string }
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return "", err
	}
	o, err := r.server.NewHost(ctx, c.Name)
	if err != nil {
		return "", err
	}
	r.hosts[o.Path()] = o
	return o.Path(), o.Export(fakeHost{dbusapi.HostProperties{Name: c.Name, Path: c.Path}}, nil)
}

// RemoveBus implements dbusapi.Manager.
func (r *rig) RemoveBus(_ context.Context, path dbus.ObjectPath) error {
	o := r.added[path]
	if o == nil {
		return fmt.Errorf("%w: no bus at %s", dbusapi.ErrNoEndpoint, path)
	}
	o.Withdraw()
	return nil
}

// RemoveHost implements dbusapi.Manager.
func (r *rig) RemoveHost(ctx context.Context, path dbus.ObjectPath) error {
	r.hosts[path].Close(ctx)
	return nil
}

// Reload implements dbusapi.Manager.
func (r *rig) Reload(context.Context) error { return r.reload }
func (r *rig) Faults() []string             { return r.faults }

// fakeHost is a host interface.
type fakeHost struct{ properties dbusapi.HostProperties }

func (h fakeHost) Properties() dbusapi.HostProperties { return h.properties }

func (h fakeHost) Statistics() map[string]uint64 {
	return map[string]uint64{"requests-received": 9, "requests-rejected": 0, "responses-sent": 8}
}

// result is the outcome of a run of the program.
type result struct {
	stdout, stderr string
	code           int
}

// diff compares the results of a run with the wanted ones, which may begin with an empty line.
func (want result) diff(got result) string {
	want.stdout, want.stderr = strings.TrimPrefix(want.stdout, "\n"), strings.TrimPrefix(want.stderr, "\n")
	return cmp.Diff(want, got, cmp.AllowUnexported(result{}))
}

// check runs the program and compares its results. Completion is tried again; see presses.
func (r *rig) check(t *testing.T, name string, want result, args ...string) {
	t.Helper()
	diff := want.diff(r.ipmbctl(t, args...))
	for range presses {
		if diff == "" || len(args) == 0 || args[0] != "__complete" {
			break
		}
		diff = want.diff(r.ipmbctl(t, args...))
	}
	if diff != "" {
		t.Errorf("%s:\n%s", name, diff)
	}
}

// ipmbctl runs the program against the rig's message bus.
func (r *rig) ipmbctl(t *testing.T, args ...string) result {
	t.Helper()
	return ipmbctl(t, r.env, append([]string{"--dbus", r.bus.Address}, args...)...)
}

// ipmbctl runs the program.
func ipmbctl(t *testing.T, env environment, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env.stdout, env.stderr = &stdout, &stderr
	code := run(t.Context(), args, env.withDefaults())
	return result{stdout.String(), stderr.String(), code}
}

// withDefaults fills in that there is no input, no terminal, and no variable.
func (e environment) withDefaults() environment {
	if e.stdin == nil {
		e.stdin = strings.NewReader("")
	}
	if e.getenv == nil {
		e.getenv = func(string) string { return "" }
	}
	if e.isTerminal == nil {
		e.isTerminal = func(any) bool { return false }
	}
	return e
}
