package ipmi

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

func TestCarriesSecret(t *testing.T) {
	for _, tt := range []struct {
		name  string
		netFn NetFn
		cmd   Command
		data  []byte
		want  bool
	}{
		{"set user password", NetFnApp, 0x47, []byte{2, 2, 's', 'e', 'c'}, true},
		{"set user password without data", NetFnApp, 0x47, nil, true},
		{"response to set user password", NetFnApp.Response(), 0x47, nil, true},
		{"get session challenge", NetFnApp, 0x39, nil, true},
		{"activate session", NetFnApp, 0x3A, nil, true},
		{"set session privilege level", NetFnApp, 0x3B, nil, true},
		{"close session", NetFnApp, 0x3C, nil, true},
		{"get session info", NetFnApp, 0x3D, nil, true},
		{"get authcode", NetFnApp, 0x3F, nil, true},
		{"get payload instance info", NetFnApp, 0x4B, nil, true},
		{"set channel security keys", NetFnApp, 0x56, nil, true},
		{"set LAN configuration", NetFnTransport, 0x01, nil, true},
		{"response to get LAN configuration", NetFnTransport.Response(), 0x02, nil, true},
		{"serial configuration", NetFnTransport, 0x10, nil, true},
		{"manufacturing test on", NetFnApp, 0x05, []byte("key"), true},
		{"packet to a PPP proxy", NetFnTransport, 0x14, nil, true},
		{"packet of a PPP proxy", NetFnTransport, 0x15, nil, true},
		{"packet that a PPP proxy received", NetFnTransport, 0x17, nil, true},
		{"bridge request", NetFnBridge, 0x20, nil, true},
		{"bridge message", NetFnBridge, 0x21, nil, true},
		{"forwarded command", NetFnTransport, 0x30, nil, true},
		{"redfish bootstrap credentials", NetFnGroup, 0x02, []byte{0x52, 0xA5}, true},
		{"response to redfish bootstrap credentials", NetFnGroup.Response(), 0x02, []byte{0x52, 'u', 'p'}, true},

		{"get device ID", NetFnApp, 0x01, nil, false},
		{"get channel authentication capabilities", NetFnApp, 0x38, []byte{0x0E, 4}, false},
		{"same number, other netFn", NetFnStorage, 0x47, nil, false},
		{"DCMI power reading", NetFnGroup, 0x02, []byte{0xDC, 1, 0, 0}, false},
		{"group command without a body code", NetFnGroup, 0x02, nil, false},
		{"OEM command", 0x30, 0x47, []byte("secret"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := CarriesSecret(tt.netFn, tt.cmd, tt.data); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// What a pattern may carry follows from the table of what messages carry.
func TestMayCarrySecret(t *testing.T) {
	channel := Channel(3).Mask()
	for _, s := range SecretPatterns() {
		for _, p := range []Pattern{
			s,
			{channel, s.NetFn, s.Command, AnyGroup},
			{channel, s.NetFn, AnyCommand, AnyGroup},
		} {
			if !p.MayCarrySecret() {
				t.Errorf("%v: false", p)
			}
		}
	}
	for name, tt := range map[string]struct {
		pattern Pattern
		want    bool
	}{
		"credentials of Redfish":   {Pattern{channel, NetFnGroup, 0x02, 0x52}, true},
		"all of Redfish":           {Pattern{channel, NetFnGroup, AnyCommand, 0x52}, true},
		"DCMI's command of it":     {Pattern{channel, NetFnGroup, 0x02, 0xDC}, false},
		"all of DCMI":              {Pattern{channel, NetFnGroup, AnyCommand, 0xDC}, false},
		"another one of Redfish":   {Pattern{channel, NetFnGroup, 0x01, 0x52}, false},
		"get device ID":            {Pattern{AllChannels, NetFnApp, 0x01, AnyGroup}, false},
		"all of storage":           {Pattern{AllChannels, NetFnStorage, AnyCommand, AnyGroup}, false},
		"all of an OEM":            {Pattern{AllChannels, NetFnOEM, AnyCommand, 343}, false},
		"all of OEM commands":      {Pattern{AllChannels, 0x30, AnyCommand, AnyGroup}, false},
		"same number, other netFn": {Pattern{AllChannels, NetFnStorage, 0x47, AnyGroup}, false},
	} {
		if got := tt.pattern.MayCarrySecret(); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestCarriesSecretLooksIntoMessages(t *testing.T) {
	const send, get, write = Command(0x34), Command(0x33), Command(0x52)
	for _, tt := range []struct {
		name  string
		netFn NetFn
		cmd   Command
		data  string // hex
		want  bool
	}{
		{"get device ID sent", NetFnApp, send, "00 2C18BC 201601 C9", false},
		{"set user password sent", NetFnApp, send, "00 2C18BC 201647 0202 736563 00", true},
		{"set user password sent tracked", NetFnApp, send, "40 2C18BC 201647 0202 736563 00", true},
		{"set user password broadcast", NetFnApp, send, "00 00 2C18BC 201647 0202 00", true},
		{"get device ID broadcast", NetFnApp, send, "00 00 2C18BC 200801 D7", false},
		{"set user password to a LAN console", NetFnApp, send, "01 05 811867 201647 0202 00", true},
		{"get device ID to a LAN console", NetFnApp, send, "01 05 811867 201601 00", false},
		{"session handle that fits an IPMB header too", NetFnApp, send, "01 67 811867 201647 0202 00", true},
		{"get device ID sent through a second bridge", NetFnApp, send, "00 2C18BC 201634 06 7218 76 2C1601 00 00", false},
		{"set user password sent through a second bridge", NetFnApp, send, "00 2C18BC 201634 06 7218 76 2C1647 0202 00 00", true},
		{"wrong header checksum", NetFnApp, send, "00 2C18BD 201601 C9", true},
		{"message that ends before its command", NetFnApp, send, "00 2C18BC 2016", true},
		{"command that ends the message", NetFnApp, send, "00 2C18BC 201601", false},
		{"no message sent", NetFnApp, send, "00", false},
		{"no data", NetFnApp, send, "", false},

		{"get device ID written", NetFnApp, write, "01 2C 00 18BC 201601 C9", false},
		{"set user password written", NetFnApp, write, "01 2C 00 18BC 201647 0202 736563 00", true},
		{"bytes written to an EEPROM", NetFnApp, write, "01 A0 00 0047 201647 0202 736563 00", false},
		{"bytes read", NetFnApp, write, "01 A0 10", false},
		{"response to a read", NetFnApp.Response(), write, "2C18BC 201647 0202 736563 00", false},

		{"accepted", NetFnApp.Response(), send, "", false},
		{"answer in the acceptance", NetFnApp.Response(), send, "201CC4 2C0401 00 5001040002 00", false},
		{"secret answer in the acceptance", NetFnApp.Response(), send, "201CC4 2C0439 00 0102030405 00", true},
		{"answer without its header", NetFnApp.Response(), send, "00 5001040002215701000B0B", true},

		{"get message", NetFnApp, get, "", false},
		{"empty queue", NetFnApp.Response(), get, "", false},
		{"device ID received", NetFnApp.Response(), get, "00 1EC2 2C1401 00 5001040002215701000B0B D9", false},
		{"session challenge received", NetFnApp.Response(), get, "00 1EC2 2C1439 00 01020304 D9", true},
		{"password request received", NetFnApp.Response(), get, "00 18C8 2C1447 0202 736563 D9", true},
		{"password request received from LAN", NetFnApp.Response(), get, "01 05 2018C8 811447 0202 D9", true},
		{"device ID received from LAN", NetFnApp.Response(), get, "01 05 2018C8 811401 D9", false},
		{"received message too short to read", NetFnApp.Response(), get, "00 1EC2 2C", true},
		{"accepted send message received", NetFnApp.Response(), get, "00 1EC2 2C1434 00 D9", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := hex.DecodeString(strings.ReplaceAll(tt.data, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if got := CarriesSecret(tt.netFn, tt.cmd, data); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestCarriesSecretStopsAtDeepBridging(t *testing.T) {
	data := func(hops int) []byte {
		message := []byte{0x2C, 0x18, 0xBC, 0x20, 0x04, 0x01, 0xDB}
		for range hops - 1 {
			message = slices.Concat([]byte{0x2C, 0x18, 0xBC, 0x20, 0x04, 0x34, 0x00}, message, []byte{0x00})
		}
		return append([]byte{0x00}, message...)
	}
	for hops := 1; hops <= maxBridging+1; hops++ {
		if got, want := CarriesSecret(NetFnApp, 0x34, data(hops)), hops > maxBridging; got != want {
			t.Errorf("%d hops: got %t", hops, got)
		}
	}
}

func FuzzCarriesSecret(f *testing.F) {
	f.Add(uint8(NetFnApp), uint8(0x34), []byte{0x00, 0x2C, 0x18, 0xBC, 0x20, 0x16, 0x01, 0xC9})
	f.Add(uint8(NetFnApp), uint8(0x34), []byte{0x00, 0x2C, 0x18, 0xBC, 0x20, 0x16, 0x47, 0x02, 0x02, 0x00})
	f.Add(uint8(NetFnApp.Response()), uint8(0x33), []byte{0x00, 0x1E, 0xC2, 0x2C, 0x14, 0x01, 0x00, 0xD9})
	f.Add(uint8(NetFnGroup), uint8(0x02), []byte{0x52})
	f.Fuzz(func(t *testing.T, netFn, cmd uint8, data []byte) {
		inside := CarriesSecret(NetFn(netFn), Command(cmd), data)
		if netFn > uint8(MaxNetFn) {
			return
		}
		// A message that carries a secret carries it in an envelope too.
		envelope := []byte{0x00, 0x2C, netFn << 2, -(0x2C + netFn<<2), 0x20, 0x04, cmd}
		if NetFn(netFn).IsResponse() {
			envelope = append(envelope, 0x00)
		}
		envelope = append(append(envelope, data...), 0x00)
		if inside && !CarriesSecret(NetFnApp, 0x34, envelope) {
			t.Errorf("secret of netFn %02Xh command %02Xh data %X is lost in Send Message", netFn, cmd, data)
		}
	})
}
