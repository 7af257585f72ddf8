package dbusapi

import (
	"errors"
	"fmt"
	"testing"

	"ipmbd/ipmb"
)

func TestBindAndUnbind(t *testing.T) {
	r := newRig(t, Config{})
	for member, want := range map[string]State{"unbind": Down, "bind": Up} {
		if _, err := r.call(t, bus4, busObjectInterface, member); err != nil {
			t.Errorf("%s: %v", member, err)
		}
		if got := r.fake.Properties().State; got != want {
			t.Errorf("%s: the bus is %s", member, got)
		}
	}
}

func TestBindAndUnbindFailByName(t *testing.T) {
	r := newRig(t, Config{})
	for want, err := range map[string]error{
		errorNotFound:    ErrNoAdapter,
		errorNotAllowed:  ErrInUse,
		errorUnsupported: ErrFixed,
		errorUnavailable: ErrDevice,
	} {
		err = fmt.Errorf("%w: what to do", err)
		r.fake.failDevice(err)
		for _, member := range []string{"bind", "unbind"} {
			_, got := r.call(t, bus4, busObjectInterface, member)
			if errorName(got) != want || got.Error() != err.Error() {
				t.Errorf("%s: %s: %v", member, errorName(got), got)
			}
		}
	}
	if _, err := r.call(t, BasePath, busObjectInterface, "bind"); err == nil {
		t.Error("the service itself was bound")
	}
}

func TestClientBindsAndUnbinds(t *testing.T) {
	r := newRig(t, Config{})
	client := openClient(t, r.bus.Address)
	if err := client.Unbind(t.Context(), "bus4"); err != nil || r.fake.Properties().State != Down {
		t.Errorf("unbind: %v, %+v", err, r.fake.Properties())
	}
	if err := client.Bind(t.Context(), "bus4"); err != nil || r.fake.Properties().State != Up {
		t.Errorf("bind: %v, %+v", err, r.fake.Properties())
	}
	for _, name := range []string{"bus5", "", "no/bus"} {
		if err := client.Bind(t.Context(), name); !errors.As(err, new(*UnknownBusError)) {
			t.Errorf("bus %q: %v", name, err)
		}
	}
	for _, tt := range []struct{ err, want error }{
		{ErrNoAdapter, ErrNoAdapter},
		{ErrInUse, ErrNotAllowed},
		{ErrFixed, ipmb.ErrUnsupported},
		{ErrDevice, ErrUnavailable},
	} {
		r.fake.failDevice(fmt.Errorf("%w: what to do", tt.err))
		err := client.Bind(t.Context(), "bus4")
		if !errors.Is(err, tt.want) || err.Error() != tt.err.Error()+": what to do" {
			t.Errorf("%v: %v", tt.err, err)
		}
	}
}

func TestClientSeesTheSwitches(t *testing.T) {
	r := newRig(t, Config{})
	r.fake.change(func(p *Properties) { p.IgnoreNACK, p.VerifyChecksum = true, true })
	bus, err := openClient(t, r.bus.Address).Bus(t.Context(), "bus4")
	if err != nil || !bus.IgnoreNACK || !bus.VerifyChecksum {
		t.Errorf("%+v, %v", bus.Properties, err)
	}
}
