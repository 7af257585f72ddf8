package inside

import (
	"testing"

	"ipmbd/dbusapi"
)

// A device that comes after the daemon has started is opened by itself.
func TestDeviceThatComesLate(t *testing.T) {
	l := newLoop(t)
	load(t, "ipmb_dev_int", "")
	l.add(t, 1, "ipmb-dev", otherAddress)
	other := start(t, channel{"name": "bus", "type": "ipmb", "slave-path": l.node(1),
		"bmc-addr": otherAddress, "remote-addr": bmcAddress})
	d := launch(t, channel{"name": "bus", "type": "ipmb", "slave-path": l.node(0), "remote-addr": otherAddress})
	if err := d.echoes(t, 1); endOf(err) != "not acknowledged" {
		t.Errorf("a call on a bus without a device: %v", err)
	}
	l.add(t, 0, "ipmb-dev", bmcAddress)
	d.tells(t, "1 buses up")
	for _, side := range []*daemon{d, other} {
		if err := side.echoes(t, 2); err != nil {
			t.Error(err)
		}
	}
	bus, err := d.Bus(t.Context(), "bus")
	if err != nil || bus.State != dbusapi.Up {
		t.Errorf("%+v, %v", bus.Properties, err)
	}
}
