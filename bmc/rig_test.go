package bmc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"ipmbd/ipmi"
)

// rig is a bench whose BMC runs and has a machine. It notes the outputs of the BMC.
type rig struct {
	bench
	machine *fakeMachine

	expired, pending, events notes
}

// notes returns the notes since its last call.
type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, what)
}

// expect waits until nothing happens any more, and compares and forgets the notes.
func (n *notes) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.list, want) {
		t.Errorf("%s: %q, want %q", what, n.list, want)
	}
	n.list = nil
}

// host0 is the interface that a rig's requests come in on.
const (
	host0   = "host0"
	channel = ipmi.ChannelSystemInterface
)

func runs(t *testing.T, name string, tell func(t *testing.T, r *rig)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			ctx, cancel := context.WithCancel(t.Context())
			var loop sync.WaitGroup
			loop.Go(func() { r.bmc.Run(ctx) })
			defer loop.Wait()
			defer cancel()
			tell(t, r)
			synctest.Wait()
		})
	})
}

func newRig(t *testing.T) *rig {
	r := &rig{machine: new(fakeMachine)}
	r.bench = bench{t: t, bmc: opened(t, Config{
		Machine: r.machine,
		Watchdog: func(iface string, host int, e Expiry) {
			what := "time-out"
			if e.PreTimeout {
				what = "pre-timeout"
			}
			r.expired.add(fmt.Sprintf("%s %d: %s, use %d, action %d, interrupt %d, %v", iface, host, what, e.Use, e.Action, e.Interrupt, e.Err))
		},
		PreTimeout: func(iface string, pending bool) { r.pending.add(fmt.Sprint(iface, " ", pending)) },
		LogEvent: func(_ context.Context, e ipmi.Event) {
			r.events.add(fmt.Sprintf("%s %04X % X", e.Interface, e.Generator, e.Message))
		},
	})}
	return r
}

// logged compares the events, done the actions of the machine.
func (r *rig) logged(what string, want ...string) { r.t.Helper(); r.events.expect(r.t, what, want...) }
func (r *rig) done(what string, want ...string) {
	r.t.Helper()
	r.machine.did.expect(r.t, what, want...)
}

// on is the answer to a request on an interface, whose host has the number.
func (b *bench) on(iface string, host int, n ipmi.NetFn, cmd ipmi.Command, data string) []byte {
	b.t.Helper()
	return b.asksOn(iface, host, n, cmd, octets(data))
}

func (b *bench) asksOn(iface string, host int, n ipmi.NetFn, cmd ipmi.Command, data []byte) []byte {
	b.t.Helper()
	response, err := ipmi.Do(b.t.Context(), b.bmc, &ipmi.Request{Interface: iface, Channel: channel, Host: host, NetFn: n, Command: cmd, Data: data})
	if err != nil {
		b.t.Fatal(err)
	}
	return append([]byte{byte(response.Code)}, response.Data...)
}

func (b *bench) app(cmd ipmi.Command, data string) []byte {
	b.t.Helper()
	return b.on(host0, 0, ipmi.NetFnApp, cmd, data)
}

func (b *bench) chassis(cmd ipmi.Command, data string) []byte {
	b.t.Helper()
	return b.on(host0, 0, ipmi.NetFnChassis, cmd, data)
}

func (b *bench) transport(cmd ipmi.Command, data string) []byte {
	b.t.Helper()
	return b.on(host0, 0, ipmi.NetFnTransport, cmd, data)
}

// fakeMachine carries out each action, or fails.
type fakeMachine struct {
	mu   sync.Mutex
	did  notes
	off  bool
	fail error
	slow chan struct{} // closed when a slow one may go on

	hangs Action // the only slow action of a slow machine; 0: all are slow
}

func (m *fakeMachine) Act(_ context.Context, iface string, host int, a Action) error {
	if m.slow != nil && (m.hangs == 0 || m.hangs == a) {
		<-m.slow
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.did.add(fmt.Sprintf("%s %d: %v", iface, host, a))
	switch a {
	case PowerDown, SoftShutdown:
		m.off = true
	case PowerUp, PowerCycle:
		m.off = false
	}
	return nil
}

func (m *fakeMachine) Power(string, int) PowerState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return PowerOff
	}
	return PowerOn
}
