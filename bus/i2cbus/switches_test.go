package i2cbus

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ipmbd/bus"
	"ipmbd/i2c"
	"ipmbd/ipmb"
)

func TestSwitchesAreThoseOfTheConfigurationAndThenThoseSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		ch := testConfig()
		ch.Transport, ch.Switches.IgnoreNACK = i2c.IPMBDevice, true
		b, told := newBusOn(m, ch, false)
		defer runBus(t, b)()
		expect := func(want i2c.Switches) {
			t.Helper()
			p := b.Properties()
			if got := (i2c.Switches{IgnoreNACK: p.IgnoreNACK, VerifyChecksum: p.VerifyChecksum}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		expect(i2c.Switches{IgnoreNACK: true})
		if err := b.SetIgnoreNACK(false); !errors.Is(err, ipmb.ErrClosed) {
			t.Errorf("while it is down: %v", err)
		}

		device := i2c.Binding{Bus: 5, Driver: i2c.IPMBDevice, Addr: 0x20}
		m.appear(device)
		synctest.Wait()
		expect(i2c.Switches{IgnoreNACK: true})
		told.states()
		if err := errors.Join(b.SetIgnoreNACK(false), b.SetVerifyChecksum(true)); err != nil {
			t.Error(err)
		}
		expect(i2c.Switches{VerifyChecksum: true})
		if n := len(told.states()); n != 2 {
			t.Errorf("told %d times", n)
		}

		m.vanish()
		synctest.Wait()
		expect(i2c.Switches{VerifyChecksum: true})
		m.appear(device)
		time.Sleep(bus.LastRetry)
		synctest.Wait()
		expect(i2c.Switches{VerifyChecksum: true})
	})
}

// With the transport auto the driver decides whether there are switches.
func TestSwitchesOfADriverThatIsFoundOut(t *testing.T) {
	for driver, want := range map[string]health{
		i2c.IPMBDevice: {bus.Up, ""},
		i2c.IPMBDev: {bus.Degraded,
			"ignore-nack and verify-header-checksum are switches of the transport ipmb-device; this one is ipmb-dev"},
	} {
		t.Run(driver, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.device = i2c.Binding{Bus: 5, Driver: driver, Addr: 0x20}
				c := testConfig()
				c.Switches.IgnoreNACK = true
				b, _ := newBusOn(m, c, false)
				defer runBus(t, b)()
				p := b.Properties()
				if got := (health{p.State, p.Reason}); got != want || p.IgnoreNACK != (driver == i2c.IPMBDevice) {
					t.Errorf("%+v", p)
				}
			})
		})
	}
}

func TestSwitchThatCannotBeSet(t *testing.T) {
	for name, tt := range map[string]struct{ err, want error }{
		"adapter cannot": {&i2c.OpError{Op: "set", Device: "/dev/ipmb-5", Err: errors.ErrUnsupported}, ipmb.ErrUnsupported},
		"device gone":    {i2c.ErrClosed, ipmb.ErrClosed},
		"driver fails":   {errors.New("I/O error"), bus.ErrDevice},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := newTestBus(func() (i2c.Transport, string, error) {
				return &switchedLine{line: newLine(), err: tt.err}, i2c.IPMBDevice, nil
			})
			b.Open(t.Context())
			if err := b.SetVerifyChecksum(true); !errors.Is(err, tt.want) {
				t.Errorf("%v", err)
			}
			if b.Properties().VerifyChecksum {
				t.Error("it was set")
			}
		})
	}
}

func TestTransportWithoutSwitches(t *testing.T) {
	b, _ := onLine(newLine())
	b.Open(t.Context())
	if err := b.SetIgnoreNACK(true); !errors.Is(err, ipmb.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}
