package i2cbus

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestMissingDeviceOfIpmbbridgesFileIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		ch := testConfig()
		ch.Engine.Address = 0x24
		b, told := newBusOn(m, ch, true)
		defer runBus(t, b)()
		if diff := cmp.Diff([]bus.State{bus.Up}, told.states()); diff != "" {
			t.Error(diff)
		}
		m.vanish()
		time.Sleep(bus.FirstRetry)
		synctest.Wait()
		if p := b.Properties(); p.State != bus.Up {
			t.Errorf("%+v", p)
		}
		want := []string{"bind ipmb-dev at 24h on i2c-5", "bind ipmb-dev at 24h on i2c-5"}
		if diff := cmp.Diff(want, m.did()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBindingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.bindErr[0x20] = i2c.ErrNoDriver
		b, _ := newBusOn(m, testConfig(), true)
		defer runBus(t, b)()
		if p := b.Properties(); p.State != bus.Down || !strings.Contains(p.Reason, "load the driver's module") {
			t.Errorf("%+v", p)
		}
		m.mu.Lock()
		clear(m.bindErr)
		m.mu.Unlock()
		time.Sleep(bus.FirstRetry)
		synctest.Wait()
		if p := b.Properties(); p.State != bus.Up {
			t.Errorf("%+v", p)
		}
	})
}

func TestNothingElseIsBoundByItself(t *testing.T) {
	elsewhere := testConfig()
	elsewhere.Path = "/run/ipmb-5"
	socket := testConfig()
	socket.Transport = i2c.Seqpacket
	for name, tt := range map[string]struct {
		channel  Config
		autoBind bool
	}{
		"our own file":  {testConfig(), false},
		"another path":  {elsewhere, true},
		"a socket":      {socket, true},
		"no bus number": {Config{Path: "/dev/ipmb", Transport: Auto}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				b, _ := newBusOn(m, tt.channel, tt.autoBind)
				stop := runBus(t, b)
				time.Sleep(time.Minute)
				stop()
				if did := m.did(); did != nil {
					t.Error(did)
				}
			})
		})
	}
}

func TestUnboundBusStaysSoUntilBind(t *testing.T) {
	for _, autoBind := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			m.device = i2c.Binding{Bus: 5, Driver: i2c.IPMBDevice, Addr: 0x22} // Not where we thought.
			b, told := newBusOn(m, testConfig(), autoBind)
			defer runBus(t, b)()
			call := make(chan error, 1)
			go func() {
				_, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp})
				call <- err
			}()
			synctest.Wait()
			told.states()

			if err := b.Unbind(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-call; !errors.Is(err, ipmb.ErrClosed) {
				t.Errorf("a call under way: %v", err)
			}
			time.Sleep(time.Minute)
			if p := b.Properties(); p.State != bus.Down || p.Reason != bus.Unbound {
				t.Errorf("%+v", p)
			}
			if diff := cmp.Diff([]bus.State{bus.Down, bus.Down}, told.states()); diff != "" {
				t.Error(diff)
			}
			if err := b.Unbind(t.Context()); err != nil {
				t.Errorf("again: %v", err)
			}
			for range 2 {
				if err := b.Bind(t.Context()); err != nil {
					t.Fatal(err)
				}
				if p := b.Properties(); p.State != bus.Up || p.Transport != i2c.IPMBDevice {
					t.Errorf("%+v", p)
				}
			}
			want := []string{
				"unbind ipmb-device at 22h on i2c-5", "unbind ipmb-device at 20h on i2c-5", "bind ipmb-device at 20h on i2c-5",
			}
			if diff := cmp.Diff(want, m.did()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnboundBusIsOpenedWhenSomebodyElseBindsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.device = ipmbDev5
		b, _ := newBusOn(m, testConfig(), true)
		defer runBus(t, b)()
		if err := b.Unbind(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m.appear(ipmbDev5)
		synctest.Wait()
		if p := b.Properties(); p.State != bus.Up {
			t.Errorf("%+v", p)
		}
	})
}

func TestUnbindThatIsRefusedOpensTheDeviceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.device, m.unbind = ipmbDev5, i2c.ErrFirmware
		b, told := newBusOn(m, testConfig(), false)
		defer runBus(t, b)()
		told.states()
		if err := b.Unbind(t.Context()); !errors.Is(err, bus.ErrFixed) || !strings.Contains(err.Error(), "device tree") {
			t.Errorf("%v", err)
		}
		if diff := cmp.Diff([]bus.State{bus.Down, bus.Up}, told.states()); diff != "" {
			t.Error(diff)
		}
		if all, open := m.opened(); all != 2 || open != 1 {
			t.Errorf("%d transports, %d open", all, open)
		}
	})
}

// A device that the firmware declares stays open: requests in progress go on.
func TestChangesOfAFirmwareDeviceAreRefusedBefore(t *testing.T) {
	for name, change := range map[string]func(*bus.Bus) error{
		"unbind":      func(b *bus.Bus) error { return b.Unbind(t.Context()) },
		"own address": func(b *bus.Bus) error { return b.SetOwnAddress(t.Context(), 0x24) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.device, m.fixed = ipmbDev5, i2c.ErrFirmware
				b, told := newBusOn(m, testConfig(), false)
				defer runBus(t, b)()
				told.states()
				call := make(chan error, 1)
				go func() {
					_, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp})
					call <- err
				}()
				synctest.Wait()
				if err := change(b); !errors.Is(err, bus.ErrFixed) || !strings.Contains(err.Error(), "device tree") {
					t.Errorf("%v", err)
				}
				if all, open := m.opened(); all != 1 || open != 1 || m.did() != nil || told.states() != nil {
					t.Errorf("%d transports, %d open", all, open)
				}
				if err := <-call; !errors.Is(err, ipmb.ErrTimeout) {
					t.Errorf("the request in progress: %v", err)
				}
			})
		})
	}
}

func TestBindFails(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want error
		text string
	}{
		"no adapter": {i2c.ErrNoAdapter, bus.ErrNoAdapter, "check the number"},
		"no driver":  {i2c.ErrNoDriver, bus.ErrDevice, "load the driver's module"},
		"in use":     {i2c.ErrInUse, bus.ErrInUse, "unbind what has it"},
		"other":      {errors.New("I/O error"), bus.ErrDevice, "bind ipmb-dev at 20h on i2c-5: I/O error"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.bindErr[0x20] = tt.err
				b, _ := newBusOn(m, testConfig(), false)
				defer runBus(t, b)()
				err := b.Bind(t.Context())
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%v", err)
				}
				if p := b.Properties(); p.State != bus.Down || p.Reason != err.Error() {
					t.Errorf("%+v", p)
				}
			})
		})
	}
}

func TestSocketIsNotBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine()
		b, told := onLine(l)
		defer runBus(t, b)()
		told.states()
		if err := b.Unbind(t.Context()); !errors.Is(err, bus.ErrFixed) {
			t.Errorf("%v", err)
		}
		close(l.over)
		synctest.Wait()
		if err := b.Bind(t.Context()); !errors.Is(err, bus.ErrFixed) {
			t.Errorf("%v", err)
		}
		if diff := cmp.Diff([]bus.State{bus.Down}, told.states()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestChangeOfABusThatIsNotRunEndsWithItsCaller(t *testing.T) {
	b, _ := newBusOn(newMachine(), testConfig(), false)
	if err := b.Bind(ended()); !errors.Is(err, ended().Err()) {
		t.Errorf("%v", err)
	}
}
