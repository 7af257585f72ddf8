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

// rig is a bench whose BMC runs and has a machine, and which writes down what
// comes out of it.
type rig struct {
	bench
	machine *fakeMachine

	mu      sync.Mutex
	expired []string
	pending []string
	events  []ipmi.Event
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
			r.note(&r.expired, fmt.Sprintf("%s %d: %s, use %d, action %d, interrupt %d, %v", iface, host, what, e.Use, e.Action, e.Interrupt, e.Err))
		},
		PreTimeout: func(iface string, pending bool) { r.note(&r.pending, fmt.Sprint(iface, " ", pending)) },
		LogEvent: func(_ context.Context, e ipmi.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	})}
	return r
}

func (r *rig) note(list *[]string, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, what)
}

// saw is what has been noted since it was last asked.
func (r *rig) saw(what string, list *[]string, want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(*list, want) {
		r.t.Errorf("%s: %q, want %q", what, *list, want)
	}
	*list = nil
}

// logged are the messages of the events since it was last asked.
func (r *rig) logged(what string, want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []string
	for _, e := range r.events {
		got = append(got, fmt.Sprintf("%s %04X % X", e.Interface, e.Generator, e.Message))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("%s: %q, want %q", what, got, want)
	}
	r.events = nil
}

// on is the answer to a request on an interface, whose host has the number.
func (b *bench) on(iface string, host int, n ipmi.NetFn, cmd ipmi.Command, data string) []byte {
	b.t.Helper()
	response, err := ipmi.Do(b.t.Context(), b.bmc, &ipmi.Request{Interface: iface, Channel: channel, Host: host, NetFn: n, Command: cmd, Data: octets(data)})
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

// fakeMachine does what it is told, or fails.
type fakeMachine struct {
	mu   sync.Mutex
	did  []string
	off  bool
	fail error
	slow chan struct{} // closed when a slow one may go on

	hangs Action // 0: whatever a slow one does is slow, else that is
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
	m.did = append(m.did, fmt.Sprintf("%s %d: %v", iface, host, a))
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

// done is what the machine has done since it was last asked.
func (r *rig) done(what string, want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	if !slices.Equal(r.machine.did, want) {
		r.t.Errorf("%s: %q, want %q", what, r.machine.did, want)
	}
	r.machine.did = nil
}
