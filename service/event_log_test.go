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

// slowLog is a system's log that hangs at times.
type slowLog struct {
	hangs bool
	asked int
}

func (l *slowLog) Add(ctx context.Context, _ ipmi.Event) error {
	l.asked++
	if l.hangs {
		<-ctx.Done()
	}
	return ctx.Err()
}

// A system's log that hangs costs 2 s once in 30 s, and two lines of the log: when it hangs, and
// when it answers again. No event is lost.
func TestSystemLogThatHangsIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		system, own := &slowLog{hangs: true}, newBMC(t)
		l := &eventLog{system: system, own: own.Log(), log: zap.New(core)}
		add := func() time.Duration {
			begin := time.Now()
			if err := l.Add(t.Context(), ipmi.Event{}); err != nil {
				t.Error(err)
			}
			return time.Since(begin)
		}
		for i := range 100 {
			if took := add(); took > 0 && i > 0 || took > systemLogTime {
				t.Errorf("event %d took %v", i, took)
			}
		}
		time.Sleep(systemLogPause)
		add()
		if system.asked != 2 || logs.Len() != 1 {
			t.Errorf("asked %d times, %d lines", system.asked, logs.Len())
		}
		system.hangs = false
		time.Sleep(systemLogPause)
		add()
		add()
		if system.asked != 4 || logs.Len() != 2 {
			t.Errorf("asked %d times, %d lines", system.asked, logs.Len())
		}
		info, err := ipmi.Do(t.Context(), own, &ipmi.Request{NetFn: ipmi.NetFnStorage, Command: 0x40})
		if err != nil || info.Data[1] != 101 {
			t.Errorf("the built-in log: % X, %v", info.Data, err)
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
