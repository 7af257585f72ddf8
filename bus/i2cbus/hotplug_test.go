package i2cbus

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

var ipmbDev5 = i2c.Binding{Bus: 5, Driver: i2c.IPMBDev, Addr: 0x20}

func TestDeviceThatComesIsOpenedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		b, told := newBusOn(m, testConfig(), false)
		stop := runBus(t, b)
		time.Sleep(time.Minute) // The back-off is at its longest.
		for cycle := range 5 {
			begin := time.Now()
			m.appear(ipmbDev5)
			synctest.Wait()
			if p := b.Properties(); p.State != bus.Up || p.Transport != i2c.IPMBDev {
				t.Errorf("cycle %d: %+v", cycle, p)
			}
			if n := m.openWatches(); n != 0 {
				t.Errorf("%d watches of an open bus", n)
			}
			call := make(chan error, 1)
			go func() {
				_, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp})
				call <- err
			}()
			synctest.Wait()
			m.vanish()
			if err := <-call; !errors.Is(err, ipmb.ErrClosed) {
				t.Errorf("a call under way: %v", err)
			}
			synctest.Wait()
			if took := time.Since(begin); took != 0 {
				t.Errorf("cycle %d took %v", cycle, took)
			}
			if p := b.Properties(); p.State != bus.Down {
				t.Errorf("cycle %d: %+v", cycle, p)
			}
			time.Sleep(time.Minute)
		}
		stop()
		if all, open := m.opened(); all != 5 || open != 0 || m.openWatches() != 0 {
			t.Errorf("%d transports, %d open, %d watches", all, open, m.openWatches())
		}
		if seen := told.states(); len(seen) < 10 {
			t.Errorf("told %v", seen)
		}
	})
}

// A device is deleted and made again before the bus has noticed that the first one has gone.
func TestDeviceThatIsMadeAgainIsOpenedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.device = ipmbDev5
		b, _ := newBusOn(m, testConfig(), false)
		defer runBus(t, b)()
		begin := time.Now()
		for cycle := range 20 { // in which the back-off would reach its longest
			m.replace(ipmbDev5)
			synctest.Wait()
			if all, open := m.opened(); all != cycle+2 || open != 1 {
				t.Fatalf("cycle %d: %d transports, %d open", cycle, all, open)
			}
			if p := b.Properties(); p.State != bus.Up {
				t.Errorf("cycle %d: %+v", cycle, p)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the bus was Down for %v", took)
		}
	})
}

func TestDeviceThatComesIsFoundWithoutAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.noWatch = true
		b, _ := newBusOn(m, testConfig(), false)
		defer runBus(t, b)()
		m.appear(ipmbDev5)
		time.Sleep(bus.LastRetry)
		synctest.Wait()
		if p := b.Properties(); p.State != bus.Up {
			t.Errorf("%+v", p)
		}
	})
}

// warned is a line with a warning.
type warned struct{ *line }

func (warned) Warning() string { return "no i2c-protocol" }

func TestWarningOfATransportIsItsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine()
		b, told := newTestBus(func() (i2c.Transport, string, error) { return warned{l}, i2c.IPMBDev, nil })
		defer runBus(t, b)()
		expect := func(want ...health) {
			t.Helper()
			told.mu.Lock()
			defer told.mu.Unlock()
			if diff := cmp.Diff(want, told.seen, cmp.AllowUnexported(health{})); diff != "" {
				t.Error(diff)
			}
			told.seen = nil
		}
		warning := health{bus.Degraded, "no i2c-protocol"}
		expect(warning)

		send := func(n int, err error) {
			l.write = func([]byte) error { return err }
			for range n {
				_, _ = b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp, FailFast: true, RetryPolicy: ipmb.RetryPolicy{Tries: 1, Timeout: ipmb.MinTimeout}})
			}
		}
		send(4, i2c.ErrStuck)
		expect(health{bus.Degraded, i2c.ErrStuck.Error()})
		send(1, i2c.ErrNotAcknowledged)
		expect(warning)
		send(3, nil)
		expect()
	})
}
