package i2c_test

import (
	"testing"

	"ipmbd/i2c"
	"ipmbd/i2c/sim"
	"ipmbd/internal/testmain"
)

// The simulated bus is in a package above this one, and is tested as every transport is.
func TestMain(m *testing.M) {
	i2c.AddTestBus("simulated bus", func(t *testing.T) (this, other i2c.Transport) { return openSim(t) })
	i2c.AddTestBus("injector without faults", func(t *testing.T) (this, other i2c.Transport) {
		this, other = openSim(t)
		return sim.Inject(this, sim.Faults{}), other
	})
	testmain.Run(m)
}

func openSim(t *testing.T) (this, other i2c.Transport) {
	bus := sim.NewBus()
	attach := func(addr uint8) i2c.Transport {
		node, err := bus.Attach(addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { node.Close() })
		return node
	}
	return attach(0x20), attach(0x2C)
}
