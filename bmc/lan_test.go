package bmc

import "testing"

func TestLAN(t *testing.T) {
	story(t, "as ipmitool lan print asks for it", func(t *testing.T, b *bench) {
		for parameter, want := range map[string]string{
			"00": "00",           // set in progress
			"01": "00",           // authentication types
			"02": "0000000000",   // enabled
			"04": "00",           // source of the IP address
			"03": "00000000",     // IP address
			"06": "00000000",     // subnet mask
			"05": "000000000000", // MAC address
			"10": "7075626C6963 000000000000000000000000",
			"07": "404010",             // IP header
			"08": "6F02",               // primary port
			"09": "9802",               // secondary port
			"0A": "00",                 // ARP
			"0B": "00",                 // gratuitous ARP
			"11": "00",                 // number of destinations
			"0C": "00000000",           // default gateway
			"0D": "000000000000",       // its MAC address
			"0E": "00000000",           // backup gateway
			"0F": "000000000000",       // its MAC address
			"14": "0000",               // VLAN
			"15": "00",                 // VLAN priority
			"16": "00",                 // number of cipher suites
			"17": "00",                 // cipher suites
			"18": "000000000000000000", // their privileges
			"1A": "000000000000",       // bad password threshold
		} {
			b.is("parameter "+parameter, b.transport(0x02, "01"+parameter+"0000"), "00 11"+want)
		}
	})

	story(t, "what is set is read, and the next time, too", func(t *testing.T, b *bench) {
		b.is("begin", b.transport(0x01, "01 00 01"), "00")
		b.is("begin again", b.transport(0x01, "01 00 01"), "81")
		b.is("progress", b.transport(0x02, "01 00 00 00"), "00 11 01")
		for _, set := range []string{"03 C0A80102", "04 01", "06 FFFFFF00", "05 020000000001", "0C C0A80101", "14 0580", "15 07", "10 736563726574000000000000000000000000"} {
			b.is("set "+set, b.transport(0x01, "01"+set), "00")
			b.is("get "+set, b.transport(0x02, "01"+set[:2]+"0000"), "00 11"+set[2:])
		}
		b.is("end", b.transport(0x01, "01 00 00"), "00")
		b.is("another's defaults stay", opened(t, Config{}).setting(lanSetting(1, 3), lanParameters[3].initial...), "00000000")
	})

	story(t, "what cannot be set", func(t *testing.T, b *bench) {
		for _, number := range []string{"01", "11", "16", "17"} {
			b.is("read-only", b.transport(0x01, "01"+number+"00"), "82")
		}
		b.is("unknown", b.transport(0x01, "01 12 00"), "80")
		b.is("too short", b.transport(0x01, "01 03 C0A801"), "C7")
		b.is("too long", b.transport(0x01, "01 03 C0A8010203"), "C7")
		b.is("authentication types that there are not", b.transport(0x01, "01 02 0404040400"), "D5")
		b.is("MD5 for administrators, from ipmitool lan set 1 auth ADMIN MD5", b.transport(0x01, "01 02 0000000400"), "D5")
		b.is("a reserved authentication type", b.transport(0x01, "01 02 0800000000"), "CC")
		b.is("none of them", b.transport(0x01, "01 02 0000000000"), "00")
		b.is("address", b.transport(0x02, "01 03 00 00"), "00 11 00000000")
	})

	story(t, "only the LAN's channel has it", func(t *testing.T, b *bench) {
		b.is("get of this one", b.transport(0x02, "0E 03 00 00"), "CC")
		b.is("set of this one", b.transport(0x01, "0E 03 C0A80102"), "CC")
		b.is("unknown parameter", b.transport(0x02, "01 12 00 00"), "80")
		b.is("its revision", b.transport(0x02, "81 12 00 00"), "00 11")
		b.bmc.SetChannels(6, 0)
		b.is("another number", b.transport(0x02, "06 03 00 00"), "00 11 00000000")
		b.is("not the default", b.transport(0x02, "01 03 00 00"), "CC")
		b.bmc.SetChannels(7, 0)
		b.is("now another number", b.transport(0x02, "07 03 00 00"), "00 11 00000000")
		b.is("not the one before", b.transport(0x02, "06 03 00 00"), "CC")
	})
}
