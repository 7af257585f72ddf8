package service

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/bmc"
	"ipmbd/bridge"
	"ipmbd/ipmi"
)

// newBMC is a BMC in memory.
func newBMC(t *testing.T) *bmc.BMC {
	t.Helper()
	b, err := bmc.Open(bmc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hungLog is a system's log that says nothing.
type hungLog struct{}

func (hungLog) Add(ctx context.Context, _ ipmi.Event) error { <-ctx.Done(); return ctx.Err() }

// If an event reaches the log after its requester was answered C3h, the requester sends it again,
// and it is logged twice.
func TestEventIsLoggedInTheHandlersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &eventLog{system: hungLog{}, own: newBMC(t).Log(), log: zap.NewNop()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // "handler-timeout-ms": 1000
		defer cancel()
		begin := time.Now()
		if err := l.Add(ctx, ipmi.Event{}); err == nil && ctx.Err() != nil {
			t.Errorf("logged after %v, when the handler's time was over", time.Since(begin))
		}
	})
}

// full is a log without room.
type full struct{}

func (full) Add(context.Context, ipmi.Event) error { return ipmi.ErrNoSpace }

// absent is a log that is not there.
type absent struct{}

func (absent) Add(context.Context, ipmi.Event) error { return ipmi.ErrNotPresent }

func TestThatTheBuiltInLogIsFullIsSaidOnce(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	l := &eventLog{system: absent{}, own: full{}, log: zap.New(core)}
	for range 3 {
		if err := l.Add(t.Context(), ipmi.Event{}); !errors.Is(err, ipmi.ErrNoSpace) {
			t.Error(err)
		}
	}
	l.own = newBMC(t).Log()
	if err := l.Add(t.Context(), ipmi.Event{}); err != nil {
		t.Error(err)
	}
	l.own = full{}
	_ = l.Add(t.Context(), ipmi.Event{})
	if n := logs.Len(); n != 2 {
		t.Errorf("%d lines", n)
	}
}

func TestEventsGoToTheBuiltInLogWhereTheOtherFails(t *testing.T) {
	for name, system := range map[string]bridge.Log{"absent": absent{}, "full": full{}} {
		b := newBMC(t)
		l := &eventLog{system: system, own: b.Log(), log: zap.NewNop()}
		if err := l.Add(t.Context(), ipmi.Event{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		info, err := ipmi.Do(t.Context(), b, &ipmi.Request{NetFn: ipmi.NetFnStorage, Command: 0x40})
		if err != nil || info.Data[1] != 1 {
			t.Errorf("%s: % X, %v", name, info.Data, err)
		}
	}
}
