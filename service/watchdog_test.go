package service

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ipmbd/internal/bustest"
	"ipmbd/service/config"
)

func TestWatchdogIsFedWhileEveryPartGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 10 * time.Second
		going := make(chan struct{}, 1)
		going <- struct{}{}
		all := func() []loops {
			return []loops{
				{"bus bus0", func(context.Context) {}},
				{"bus bus1", func(context.Context) { going <- <-going }},
			}
		}
		core, logged := observer.New(zap.InfoLevel)
		var fed atomic.Int32
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go feed(ctx, every, all, zap.New(core), func() { fed.Add(1) })

		time.Sleep(3*every + every/2)
		if n := fed.Swap(0); n != 4 {
			t.Errorf("at once and at each of 3 intervals: fed %d times", n)
		}
		<-going
		time.Sleep(5 * every)
		if n := fed.Swap(0); n != 0 {
			t.Errorf("while a part hangs: fed %d times", n)
		}
		entries := logged.TakeAll()
		if len(entries) != 1 || entries[0].ContextMap()["loop"] != "bus bus1" {
			t.Errorf("said of the part that hangs: %v", entries)
		}
		going <- struct{}{}
		time.Sleep(every)
		if fed.Load() == 0 || logged.Len() != 0 {
			t.Errorf("when it goes on: fed %d times, said %v", fed.Load(), logged.All())
		}
	})
}

func TestRunFeedsTheWatchdogOfSystemd(t *testing.T) {
	bus := bustest.Start(t)
	said := notifications(t)
	t.Setenv("WATCHDOG_USEC", fmt.Sprint((30 * time.Millisecond).Microseconds()))
	ctx, cancel := context.WithCancel(t.Context())
	done := start(ctx, bus, oneBus(t))
	for range 3 {
		until(t, said, "WATCHDOG=1")
	}
	cancel()
	if err := receive(t, "the end", done); err != nil {
		t.Error(err)
	}
}

// TestLoopsOfTheService: each loop that could hang is pinged.
func TestLoopsOfTheService(t *testing.T) {
	s := new(service)
	for _, entry := range []config.Entry{config.Channel{Name: "bus3"}, config.Host{Name: "host0"}} {
		s.endpoints.add(&endpoint{plan: plan{entry: entry}, runner: new(hostInterface)})
	}
	var names []string
	for _, v := range s.loops() {
		names = append(names, v.name)
	}
	if diff := cmp.Diff([]string{"D-Bus", "channel bus3", "host host0"}, names); diff != "" {
		t.Error(diff)
	}
}
