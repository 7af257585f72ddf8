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

func TestOwnAddressOfASocketJustChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		give ipmi.Address
		want error
	}{
		"another":             {0x30, nil},
		"beyond the kernel's": {0xF0, nil},
		"the same":            {0x20, nil},
		"odd":                 {0x31, ipmb.ErrInvalid},
		"general call":        {0, ipmb.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b, told := onLine(newLine())
			b.Open(t.Context())
			told.states()
			if err := b.SetOwnAddress(t.Context(), tt.give); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			want := ipmi.Address(0x20)
			if tt.want == nil {
				want = tt.give
			}
			if got := b.Properties().OwnAddress; got != want || (len(told.states()) > 0) != (want != 0x20) {
				t.Errorf("own address %v, want %v", got, want)
			}
		})
	}
}

func TestOwnAddressOfAKernelDeviceMovesIt(t *testing.T) {
	mqueue := testConfig()
	mqueue.Transport = i2c.SlaveMqueue
	mqueue.Path = "/sys/bus/i2c/devices/5-1010/slave-mqueue"
	for driver, ch := range map[string]Config{
		i2c.IPMBDev: testConfig(), i2c.IPMBDevice: testConfig(), i2c.SlaveMqueue: mqueue,
	} {
		t.Run(driver, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.device = i2c.Binding{Bus: 5, Driver: driver, Addr: 0x20}
				b, _ := newBusOn(m, ch, false)
				defer runBus(t, b)()
				before := uint8(0x20)
				for _, own := range []uint8{0x22, 0x22, 0x10, 0xEE, 0x20} {
					call := make(chan error, 1)
					go func() {
						_, err := b.Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp, RetryPolicy: ipmb.RetryPolicy{Tries: 1}})
						call <- err
					}()
					synctest.Wait()
					if err := b.SetOwnAddress(t.Context(), ipmi.Address(own)); err != nil {
						t.Fatal(err)
					}
					end, want := ipmb.ErrClosed, []string{
						"unbind " + i2c.Binding{Bus: 5, Driver: driver, Addr: before}.String(),
						"bind " + i2c.Binding{Bus: 5, Driver: driver, Addr: own}.String(),
					}
					if own == before {
						end, want = ipmb.ErrTimeout, nil
					}
					if err := <-call; !errors.Is(err, end) {
						t.Errorf("%02Xh: a call under way: %v", own, err)
					}
					if diff := cmp.Diff(want, m.did()); diff != "" {
						t.Errorf("%02Xh: %s", own, diff)
					}
					p := b.Properties()
					if p.State != bus.Up || p.OwnAddress != ipmi.Address(own) || p.Device != m.device.Node() {
						t.Errorf("%02Xh: %+v", own, p)
					}
					before = own
				}
			})
		})
	}
}

func TestOwnAddressThatTheKernelDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.device = ipmbDev5
		b, _ := newBusOn(m, testConfig(), false)
		defer runBus(t, b)()
		for _, a := range []ipmi.Address{0x02, 0x0E, 0xF0, 0xFE} {
			if err := b.SetOwnAddress(t.Context(), a); !errors.Is(err, ipmb.ErrInvalid) {
				t.Errorf("%v: %v", a, err)
			}
		}
		if did := m.did(); did != nil || b.Properties().State != bus.Up {
			t.Error(did)
		}
	})
}

func TestOwnAddressThatCannotChange(t *testing.T) {
	const up, down = bus.Up, bus.Down
	for name, tt := range map[string]struct {
		unbind  error
		bind    map[uint8]error
		want    error
		text    string
		state   bus.State
		actions int
	}{
		"declared by the firmware": {i2c.ErrFirmware, nil, bus.ErrFixed, "declared by the firmware", up, 1},
		"another device has it":    {nil, map[uint8]error{0x22: i2c.ErrInUse}, bus.ErrInUse, "it is bound at 20h again", up, 3},
		"there is no way back": {
			nil, map[uint8]error{0x22: i2c.ErrInUse, 0x20: i2c.ErrNoDriver}, bus.ErrInUse,
			"the device is gone, since it could not be bound at 20h again", down, 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.device, m.unbind = ipmbDev5, tt.unbind
				if tt.bind != nil {
					m.bindErr = tt.bind
				}
				b, _ := newBusOn(m, testConfig(), false)
				defer runBus(t, b)()
				err := b.SetOwnAddress(t.Context(), 0x22)
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%v", err)
				}
				if p := b.Properties(); p.State != tt.state || p.OwnAddress != 0x20 {
					t.Errorf("%+v", p)
				}
				if did := m.did(); len(did) != tt.actions {
					t.Error(did)
				}
			})
		})
	}
}

func TestOwnAddressOfAMissingDeviceIsThatOfTheNext(t *testing.T) {
	for _, autoBind := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			m.bindErr[0x20] = i2c.ErrNoDriver
			b, _ := newBusOn(m, testConfig(), autoBind)
			defer runBus(t, b)()
			m.did()
			if err := b.SetOwnAddress(t.Context(), 0x22); err != nil {
				t.Fatal(err)
			}
			if !autoBind {
				if did := m.did(); did != nil {
					t.Errorf("%v", did)
				}
				if err := b.Bind(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff([]string{"bind ipmb-dev at 22h on i2c-5"}, m.did()); diff != "" {
				t.Error(diff)
			}
			if p := b.Properties(); p.State != bus.Up || p.OwnAddress != 0x22 {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestAddressChangesOfSeveralGoOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.device = ipmbDev5
		b, _ := newBusOn(m, testConfig(), false)
		defer runBus(t, b)()
		done := make(chan error)
		for own := ipmi.Address(0x30); own < 0x50; own += 2 {
			go func() { done <- b.SetOwnAddress(t.Context(), own) }()
		}
		for range 16 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if p := b.Properties(); p.State != bus.Up || uint8(p.OwnAddress) != m.device.Addr {
			t.Errorf("%+v, bound at %02Xh", p, m.device.Addr)
		}
		time.Sleep(time.Minute)
		if _, open := m.opened(); open != 1 {
			t.Errorf("%d open", open)
		}
	})
}

// Without a configuration the own address is the one at which the kernel has the device.
func TestOwnAddressFollowsTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.device = i2c.Binding{Bus: 5, Driver: i2c.IPMBDev, Addr: 0x2E}
		ch := testConfig()
		ch.FollowAddress = true
		b, _ := newBusOn(m, ch, false)
		defer runBus(t, b)()
		own := func(want ipmi.Address) {
			t.Helper()
			if p := b.Properties(); p.State != bus.Up || p.OwnAddress != want {
				t.Errorf("%+v, want own address %v", p, want)
			}
		}
		own(0x2E)
		m.vanish()
		synctest.Wait()
		m.appear(i2c.Binding{Bus: 5, Driver: i2c.IPMBDev, Addr: 0x30})
		synctest.Wait()
		own(0x30)
		if err := b.SetOwnAddress(t.Context(), 0x22); err != nil {
			t.Error(err)
		}
		own(0x22)
	})
}
