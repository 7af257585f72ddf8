package i2c

import (
	"errors"
	"testing"
)

func TestBindingNames(t *testing.T) {
	for _, c := range []struct {
		binding            Binding
		text, client, node string
	}{
		{Binding{4, IPMBDev, 0x20}, "ipmb-dev at 20h on i2c-4", "4-1010", "/dev/ipmb-4"},
		{Binding{11, IPMBDevice, 0x2C}, "ipmb-device at 2Ch on i2c-11", "11-1016", "/dev/ipmb-11"},
		{Binding{0, SlaveMqueue, 0xEE}, "slave-mqueue at EEh on i2c-0", "0-1077", "/sys/bus/i2c/devices/0-1077/slave-mqueue"},
	} {
		if got := c.binding.String(); got != c.text {
			t.Errorf("got %q, want %q", got, c.text)
		}
		if got := c.binding.Node(); got != c.node {
			t.Errorf("%s: node %q, want %q", c.text, got, c.node)
		}
		if got := c.binding.client(); got != c.client {
			t.Errorf("%s: client %q, want %q", c.text, got, c.client)
		}
		parsed, err := parseClient(c.client)
		parsed.Driver = c.binding.Driver
		if parsed != c.binding || err != nil {
			t.Errorf("%s: parsed as %v, %v", c.client, parsed, err)
		}
	}
}

func TestClientsThatAreNoBinding(t *testing.T) {
	for _, name := range []string{
		"", "4", "4-", "-1010", "4-0050", "4-a050", "4-1080", "4-11010", "4-zz", "x-1010", "-4-1010", "i2c-4", "99999999999-1010", "4-1010-1",
	} {
		if b, err := parseClient(name); b != (Binding{}) || err == nil {
			t.Errorf("%q: got %v, %v, want an error", name, b, err)
		}
	}
}

func TestBindingValidate(t *testing.T) {
	for _, c := range []struct {
		name    string
		binding Binding
		text    string
	}{
		{"lowest address", Binding{0, IPMBDev, 0x10}, ""},
		{"highest address", Binding{0, SlaveMqueue, 0xEE}, ""},
		{"address the I2C bus reserves", Binding{4, IPMBDev, 0x0E}, "own address 0Eh is not an even one from 10h to EEh"},
		{"10-bit addresses' prefix", Binding{4, IPMBDev, 0xF0}, "own address F0h is not an even one from 10h to EEh"},
		{"7-bit form", Binding{4, IPMBDev, 0x21}, "own address 21h is not an even one from 10h to EEh"},
		{"no driver", Binding{4, "", 0x20}, `driver "" is not one that can be bound`},
		{"socket", Binding{4, Seqpacket, 0x20}, `driver "seqpacket" is not one that can be bound`},
		{"name with a blank", Binding{4, "ipmb-dev 0x50", 0x20}, `driver "ipmb-dev 0x50" is not one that can be bound`},
		{"negative bus", Binding{-1, IPMBDev, 0x20}, "bus -1: no such I2C adapter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.binding.validate()
			if (err == nil) != (c.text == "") || err != nil && err.Error() != c.text {
				t.Fatalf("got %v, want %q", err, c.text)
			}
		})
	}
	if err := (Binding{-1, IPMBDev, 0x20}).validate(); !errors.Is(err, ErrNoAdapter) {
		t.Errorf("got %v, want ErrNoAdapter", err)
	}
}
