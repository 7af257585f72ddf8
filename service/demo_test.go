package service

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bus"
	"ipmbd/bus/i2cbus"
	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

// startDemo runs the buses of the demonstration by name, until stop.
func startDemo(t *testing.T) (buses map[string]*bus.Bus, stop func()) {
	t.Helper()
	d, err := newDemo()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	buses = make(map[string]*bus.Bus)
	for _, ch := range DemoConfig().WithDefaults().Channels {
		b, _ := i2cbus.New(i2cbus.Config{
			Config: bus.Config{Name: ch.Name, RemoteAddress: ch.RemoteAddress},
			Engine: ipmb.Config{Interface: ch.Name, Channel: *ch.IPMIChannel, Host: ch.DevIndex, Handler: newBMC(t)},
			Path:   ch.SlavePath, Transport: "simulated", Open: d.opener(ch),
		}, new(i2cbus.Engines))
		b.Open(ctx)
		buses[ch.Name] = b
		loops.Go(func() { b.Run(ctx) })
	}
	loops.Go(func() { d.run(ctx) })
	synctest.Wait()
	return buses, func() {
		cancel()
		loops.Wait()
	}
}

func TestDemoBuses(t *testing.T) {
	deviceID := ipmb.Request{NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID}
	to := func(r ipmi.Address, req ipmb.Request) ipmb.Request {
		req.Responder = r
		return req
	}
	tests := []struct {
		name, bus string
		request   ipmb.Request
		want      ipmi.Response
		err       error
	}{
		{"satellite", "bus0", deviceID, ipmi.Response{Data: satelliteID}, nil},
		{"satellite that asks us", "bus0", ipmb.Request{NetFn: demoNetFn, Command: demoAsk}, ipmi.Response{Data: []byte{0x20, 1, 0, 0, 2, 0xD7, 0, 0, 0, 0, 0}}, nil},
		{"satellite that asks us something", "bus0", ipmb.Request{NetFn: demoNetFn, Command: demoAsk, Data: []byte{0x0A, 0x42}}, ipmi.Response{Data: []byte{1, 0}}, nil},
		{"what the satellite does not know", "bus0", ipmb.Request{NetFn: demoNetFn, Command: 0x7F}, ipmi.Response{Code: ipmi.CodeInvalidCommand}, nil},
		{"silent responder", "bus0", to(demoSilent, deviceID), ipmi.Response{}, ipmb.ErrTimeout},
		{"nobody", "bus0", to(0x44, deviceID), ipmi.Response{}, ipmb.ErrNotAcknowledged},
		{"faulty bus", "bus1", deviceID, ipmi.Response{Data: satelliteID}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				buses, stop := startDemo(t)
				defer stop()
				got, err := buses[test.bus].Do(t.Context(), test.request)
				if diff := cmp.Diff(test.want, got); diff != "" || !errors.Is(err, test.err) {
					t.Errorf("%v %s", err, diff)
				}
				if properties := buses[test.bus].Properties(); properties.Transport != "simulated" {
					t.Errorf("transport %q", properties.Transport)
				}
			})
		})
	}
}

// TestDemoFaultyBusIsFaultyAndWorks: the demonstration shows the purpose of the daemon.
func TestDemoFaultyBusIsFaultyAndWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buses, stop := startDemo(t)
		defer stop()
		const calls = 200
		answered := 0
		for range calls {
			got, err := buses["bus1"].Do(t.Context(), ipmb.Request{NetFn: ipmi.NetFnApp, Command: ipmi.CommandGetDeviceID})
			if err == nil && cmp.Equal(got.Data, satelliteID) {
				answered++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if answered < calls*98/100 {
			t.Errorf("%d of %d calls were answered", answered, calls)
		}
		if counts := buses["bus1"].Statistics(); counts["retransmissions"] < calls/10 {
			t.Errorf("%d retransmissions", counts["retransmissions"])
		}
	})
}
