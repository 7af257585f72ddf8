package i2c

import "testing"

// AddTestBus adds a transport of another package to those that the tests run on. this is at
// address 20h, other at 2Ch.
func AddTestBus(name string, open func(t *testing.T) (this, other Transport)) {
	buses = append(buses, struct {
		name string
		open func(t *testing.T) bus
	}{name, func(t *testing.T) bus { return overTransport(open(t)) }})
}
