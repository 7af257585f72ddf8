package config

import (
	"fmt"
	"regexp"
	"strconv"

	"ipmbd/i2c"
	"ipmbd/ipmi"
)

// wholeBus are the devices of i2c-dev, one for each I2C bus.
var wholeBus = regexp.MustCompile(`^/dev/i2c-([0-9]{1,4})$`)

// warnings are what the channel can be served with, but seldom can be meant; key is its own.
func (c Channel) warnings(key string) []Fault {
	check := checker{prefix: key + "."}
	check.not7Bit("bmc-addr", c.BMCAddress)
	check.not7Bit("remote-addr", c.RemoteAddress)
	if found := wholeBus.FindStringSubmatch(c.SlavePath); found != nil {
		number, _ := strconv.Atoi(found[1])
		node := func(driver string) string {
			return i2c.Binding{Bus: number, Driver: driver, Addr: uint8(c.WithDefaults().BMCAddress)}.Node()
		}
		check.that(false, "slave-path", c.SlavePath, fmt.Sprintf(
			"is an I2C bus, on which nothing is received: name the device that a driver makes on it, %s of %s or %s of %s; ipmbctl bind makes either",
			node(i2c.IPMBDev), i2c.IPMBDev, node(i2c.SlaveMqueue), i2c.SlaveMqueue))
	}
	return check.faults
}

// warnings are those beside the lists "channels" and "hosts".
func (c Config) warnings() []Fault {
	check := checker{prefix: "bmc."}
	for i, controller := range c.BMC.Controllers {
		check.not7Bit(item("controllers", i)+".address", controller.Address)
	}
	return check.faults
}

// lowestResponder is the lowest address that a controller on an IPMB has in its 8-bit form,
// the BMC's own. Those below are reserved by I2C (00h to 0Eh) or have a fixed use on SMBus (10h
// to 18h: host, batteries, alert response; SMBus 2.0, appendix C), so that no file that works
// names them. As 7-bit addresses they are those of the BMC and of satellites: 10h is 20h, and
// 16h is the management engine's 2Ch. Higher ones are addresses in either form.
const lowestResponder ipmi.Address = 0x20

func (c *checker) not7Bit(key string, a ipmi.Address) {
	c.that(a == 0 || a >= lowestResponder, key, a, fmt.Sprintf(
		"looks like an address in 7 bits: the 8-bit form, which belongs here, would be 0x%02X", uint8(a<<1)))
}

// sharedNumbers are the channels that Send Message does not reach, because an earlier one of
// the same host has their IPMI channel number. That matters if a channel is bridged.
func sharedNumbers(channels []Channel, keys []string) []Fault {
	type number struct{ host, channel int }
	var check checker
	first := make(map[number]string)
	bridged := false
	for i, c := range channels {
		c = c.WithDefaults()
		bridged = bridged || c.Bridged()
		n := number{c.DevIndex, int(*c.IPMIChannel)}
		check.that(first[n] == "", keys[i]+".ipmi-channel", n.channel,
			"is that of "+first[n]+", too, which Send Message reaches in its place")
		if first[n] == "" {
			first[n] = keys[i]
		}
	}
	if !bridged {
		return nil
	}
	return check.faults
}
