package inside

import (
	"testing"

	"ipmbd/dbusapi/client"
)

// A device that comes after the daemon has started is opened by itself.
func TestDeviceThatComesLate(t *testing.T) {
	l := newLoop(t)
	other := start(t, channel{"name": "bus", "type": "ipmb", "slave-path": ipmbDev.bind(t, l, 1, otherAddress),
		"bmc-addr": otherAddress, "remote-addr": bmcAddress})
	late := ipmbDev.binding(l, 0, bmcAddress).Node()
	d := launch(t, channel{"name": "bus", "type": "ipmb", "slave-path": late, "remote-addr": otherAddress})
	if err := d.echoes(t, 1); endOf(err) != "not acknowledged" {
		t.Errorf("a call on a bus without a device: %v", err)
	}
	ipmbDev.bind(t, l, 0, bmcAddress)
	d.tells(t, "1 bus up")
	for _, side := range []*daemon{d, other} {
		if err := side.echoes(t, 2); err != nil {
			t.Error(err)
		}
	}
	bus, err := d.Bus(t.Context(), "bus")
	if err != nil || bus.State != client.Up {
		t.Errorf("%+v, %v", bus.Properties, err)
	}
}
