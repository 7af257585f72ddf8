package inside

import "testing"

// The device tree has an IPMB device on i2c-3, of the board's own controllers.
func TestControllersOfTheBoard(t *testing.T) {
	inGuest(t)
	load(t, "ipmb_dev_int", "")
	load(t, "i2c-aspeed", "")
	d := start(t, channel{"type": "ipmb", "slave-path": "/dev/ipmb-3", "remote-addr": otherAddress})
	bus, err := d.Bus(t.Context(), "bus3")
	if err != nil {
		t.Fatal(err)
	}
	if bus.State != "Up" || bus.Transport != "ipmb-dev" {
		t.Errorf("%+v", bus.Properties)
	}
}
