package dbusapi

import (
	"fmt"
	"testing"

	"ipmbd/bus"
	"ipmbd/xml"
)

func TestBindAndUnbind(t *testing.T) {
	r := newRig(t, Config{})
	for member, want := range map[string]bus.State{"unbind": bus.Down, "bind": bus.Up} {
		if _, err := r.call(t, bus4, xml.BusInterface, member); err != nil {
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
		xml.ErrorNotFound:    bus.ErrNoAdapter,
		xml.ErrorNotAllowed:  bus.ErrInUse,
		xml.ErrorUnsupported: bus.ErrFixed,
		xml.ErrorUnavailable: bus.ErrDevice,
	} {
		err = fmt.Errorf("%w: what to do", err)
		r.fake.failDevice(err)
		for _, member := range []string{"bind", "unbind"} {
			_, got := r.call(t, bus4, xml.BusInterface, member)
			if errorName(got) != want || got.Error() != err.Error() {
				t.Errorf("%s: %s: %v", member, errorName(got), got)
			}
		}
	}
	if _, err := r.call(t, BasePath, xml.BusInterface, "bind"); err == nil {
		t.Error("the service itself was bound")
	}
}
