package dbusapi

import (
	"fmt"
	"testing"

	"ipmbd/xml"
)

func TestBindAndUnbind(t *testing.T) {
	r := newRig(t, Config{})
	for member, want := range map[string]State{"unbind": Down, "bind": Up} {
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
		xml.ErrorNotFound:    ErrNoAdapter,
		xml.ErrorNotAllowed:  ErrInUse,
		xml.ErrorUnsupported: ErrFixed,
		xml.ErrorUnavailable: ErrDevice,
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
