package inside

import (
	"testing"

	"ipmbd/dbusapi/client"
	"ipmbd/i2c"
)

// The device tree has IPMB devices on two of the board's own controllers, i2c-3
// and i2c-4. The second lacks the property i2c-protocol.
func TestControllersOfTheBoard(t *testing.T) {
	load(t, "i2c-aspeed", "")
	ipmbDev.load(t)
	d := start(t, channel{"type": "ipmb", "slave-path": "/dev/ipmb-3", "remote-addr": otherAddress})
	bus, err := d.Bus(t.Context(), "bus3")
	if err != nil {
		t.Fatal(err)
	}
	if bus.State != client.Up || bus.Transport != ipmbDev.name {
		t.Errorf("%+v", bus.Properties)
	}
	for path, right := range map[string]bool{"/dev/ipmb-3": true, "/dev/ipmb-4": false} {
		device, err := i2c.OpenIPMBDev(path)
		if err != nil {
			t.Fatal(err)
		}
		if warning := device.(i2c.Warner).Warning(); (warning == "") != right {
			t.Errorf("%s: warning %q", path, warning)
		}
		if err := device.Close(); err != nil {
			t.Error(err)
		}
	}
}
