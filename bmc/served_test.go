package bmc

import (
	"errors"
	"testing"

	"ipmbd/ipmi"
)

// simulated are the commands that QEMU's ipmi-bmc-sim and OpenIPMI's ipmi_sim
// answer.
var simulated = map[ipmi.NetFn][]ipmi.Command{
	ipmi.NetFnChassis: {0x00, 0x01, 0x02, 0x04, 0x08, 0x09},
	ipmi.NetFnSensor: {0x00, 0x01, 0x02, 0x10, 0x12, 0x13, 0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x2B,
		0x2D, 0x2E, 0x2F, 0x30},
	ipmi.NetFnApp: {0x01, 0x02, 0x03, 0x06, 0x07, 0x08, 0x22, 0x24, 0x25, 0x2E, 0x2F, 0x30, 0x31, 0x33, 0x34, 0x35,
		0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x4B, 0x4E},
	ipmi.NetFnStorage: {0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x2B,
		0x40, 0x41, 0x42, 0x43, 0x44, 0x46, 0x47, 0x48, 0x49},
	ipmi.NetFnTransport: {0x01, 0x02},
}

// elsewhere are those that are not served here, and why.
var elsewhere = map[string]map[ipmi.NetFn][]ipmi.Command{
	"package bridge serves them": {
		ipmi.NetFnSensor: {0x00, 0x01, 0x02},
		ipmi.NetFnApp:    {0x2E, 0x2F, 0x30, 0x31, 0x33, 0x34, 0x35, 0x42},
	},
	"they change an SDR repository, and ours is made from the configuration": {
		ipmi.NetFnStorage: {0x24, 0x25, 0x26, 0x27, 0x2A, 0x2B},
	},
}

func TestSimulatedCommands(t *testing.T) {
	left := make(map[commandKey]string)
	for why, groups := range elsewhere {
		for n, group := range groups {
			for _, c := range group {
				left[commandKey{n, c}] = why
			}
		}
	}
	story(t, "each is answered, or left out for a reason", func(t *testing.T, b *bench) {
		for n, group := range simulated {
			for _, c := range group {
				_, err := ipmi.Do(t.Context(), b.bmc, &ipmi.Request{NetFn: n, Command: c})
				why, isLeft := left[commandKey{n, c}]
				if errors.Is(err, ipmi.ErrNoHandler) != isLeft {
					t.Errorf("netFn %02Xh command %02Xh: %v, reason to leave it out: %q", uint8(n), uint8(c), err, why)
				}
				delete(left, commandKey{n, c})
			}
		}
		if len(left) > 0 {
			t.Errorf("left out, and not simulated: %v", left)
		}
	})
}

func TestPEF(t *testing.T) {
	story(t, "there is none", func(t *testing.T, b *bench) {
		b.is("capabilities", b.sensor(0x10, ""), "00 51 00 00")
		b.is("revision", b.sensor(0x13, "81 00 00"), "00 11")
		b.is("progress", b.sensor(0x13, "00 00 00"), "00 11 00")
		b.is("begin", b.sensor(0x12, "00 01"), "00")
		b.is("begin again", b.sensor(0x12, "00 01"), "81")
		b.is("progress", b.sensor(0x13, "00 00 00"), "00 11 01")
		b.is("end", b.sensor(0x12, "00 00"), "00")
	})
}

func TestChannelOfNoSessions(t *testing.T) {
	story(t, "has the access it has", func(t *testing.T, b *bench) {
		b.is("set it", b.app(0x40, "01 60 44"), "00")
		b.is("set it for now", b.app(0x40, "01 A0 84"), "00")
		b.is("set nothing", b.app(0x40, "01 02 03"), "00")
		b.is("get", b.app(0x41, "01 40"), "00 20 04")
		b.is("payloads", b.app(0x4E, "01"), "00 0000 0000 0000 0000")
	})
}
