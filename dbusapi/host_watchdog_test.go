package dbusapi

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWatchdogExpired(t *testing.T) {
	r := newRig(t, Config{})
	o, _ := r.addKCS(t, nil)
	r.listen(t)
	for _, w := range []WatchdogExpired{{true, 4, 1, 3}, {false, 4, 1, 3}} {
		o.WatchdogExpired(w)
		got := <-r.heard
		if diff := cmp.Diff([]any{w.PreTimeout, w.Use, w.Action, w.Interrupt}, got.Body); diff != "" || got.Path != kcs3 ||
			got.Name != "xyz.openbmc_project.Ipmi.Channel.Ipmb.Host.WatchdogExpired" {
			t.Errorf("%s at %s: %s", got.Name, got.Path, diff)
		}
	}
}

func TestWatchdogExpiredWithoutRoomIsCounted(t *testing.T) {
	r := newStoppedRig(t, Config{})
	o, _ := r.addKCS(t, nil)
	r.stall(t)
	for range maxSignals + 3 {
		o.WatchdogExpired(WatchdogExpired{})
	}
	if got := o.statistics()["dbus-signals-dropped"]; got < 3 {
		t.Errorf("%d dropped", got)
	}
}
