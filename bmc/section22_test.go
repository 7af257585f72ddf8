package bmc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"ipmbd/ipmi"
)

// What sections 22 and 23 of IPMI v2.0 ask for and the other tests of channels, system info, users
// and LAN parameters do not hold. Each name begins with the section or table.
func TestSectionsOfMessagingAndLAN(t *testing.T) {
	story(t, "tables 22-1 and 23-1: commands that others make mandatory are served", func(t *testing.T, b *bench) {
		b.serves(ipmi.NetFnApp, 0x59)             // with Set System Info Parameters
		b.serves(ipmi.NetFnApp, 0x38, 0x40, 0x41) // with a LAN channel
		b.serves(ipmi.NetFnApp, 0x43, 0x44, 0x46, 0x47)
		b.serves(ipmi.NetFnTransport, 0x01, 0x02)
	})

	for parameter := 1; parameter <= lastInfoText; parameter++ {
		story(t, fmt.Sprintf("22.14a: parameter %d has room for 16 blocks", parameter), func(t *testing.T, b *bench) {
			for block := range maxInfoBlocks {
				text := strings.Repeat(fmt.Sprintf("%02X", 0x41+block), infoBlock)
				if block == 0 {
					text = "00 FE" + text[2*infoHeader:]
				}
				at := fmt.Sprintf("%02X %02X", parameter, block)
				b.is("set "+at, b.app(0x58, at+text), "00")
				b.is("get "+at, b.app(0x59, "00"+at+"00"), fmt.Sprintf("00 11 %02X", block)+text)
			}
		})
	}

	story(t, "22.14a: a text may begin with its length alone", func(t *testing.T, b *bench) {
		b.is("set", b.app(0x58, "04 00 00 00"), "00")
		b.is("get", b.app(0x59, "00 04 00 00"), "00 11 00 00000000000000000000000000000000")
	})

	for _, kind := range []string{"40", "80"} {
		story(t, "22.22: kind "+kind+"h, authentication of messages is ignored", func(t *testing.T, b *bench) {
			b.is("set", b.app(0x40, fmt.Sprintf("01 %02X 44", octets(kind)[0]|0x30)), "00")
			b.is("get", b.app(0x41, "01"+kind), "00 20 04")
		})
	}

	story(t, "22.26: the null user has access to channels", func(t *testing.T, b *bench) {
		b.is("set", b.app(0x43, "B1 01 03"), "00")
		b.is("get", b.app(0x44, "01 01"), "00 0A 80 01 33")
	})

	story(t, "22.26: a limit above that of the channel is no error", func(t *testing.T, b *bench) {
		b.is("the channel's", b.app(0x41, "01 80"), "00 20 04")
		b.is("set", b.app(0x43, "91 02 05"), "00")
		b.is("get", b.app(0x44, "01 02"), "00 0A 80 01 15")
	})

	story(t, "22.27: the state of a user does not change its access", func(t *testing.T, b *bench) {
		for _, bits := range []string{"C1", "A1", "91", "F1"} {
			access := fmt.Sprintf("%02X", octets(bits)[0]&accessBits|0x04)
			b.is("set", b.app(0x43, bits+"02 04"), "00")
			b.is("enable", b.app(0x47, "02 01"), "00")
			b.is("get", b.app(0x44, "01 02"), "00 0A 41 01"+access)
			b.is("disable", b.app(0x47, "02 00"), "00")
			b.is("get", b.app(0x44, "01 02"), "00 0A 80 01"+access)
		}
		b.is("no access", b.app(0x43, "91 02 0F"), "00")
		b.is("enable", b.app(0x47, "02 01"), "00")
		b.is("it counts still", b.app(0x44, "01 02"), "00 0A 41 01 1F")
	})

	story(t, "22.28: equal names are no error", func(t *testing.T, b *bench) {
		const name = "61646D696E0000000000000000000000"
		for _, id := range []string{"02", "03"} {
			b.is("set", b.app(0x45, id+name), "00")
			b.is("enable", b.app(0x47, id+"01"), "00")
		}
		for _, id := range []string{"02", "03"} {
			b.is("get", b.app(0x46, id), "00"+name)
		}
	})

	story(t, "22.30: each user may have a password of 20 bytes, or of 16", func(t *testing.T, b *bench) {
		for id := 1; id <= maxUsers; id++ {
			short, long := fmt.Sprintf("%02X", id), fmt.Sprintf("%02X", id|isLongPassword)
			b.is("set one of 20", b.app(0x47, long+"02"+password20), "00")
			b.is("test it", b.app(0x47, long+"03"+password20), "00")
			b.is("test one of 16", b.app(0x47, short+"03"+password16), "81")
			time.Sleep(testPause)
			b.is("set one of 16", b.app(0x47, short+"02"+password16), "00")
			b.is("test it", b.app(0x47, short+"03"+password16), "00")
			b.is("test one of 20", b.app(0x47, long+"03"+password20), "81")
			time.Sleep(testPause)
		}
	})

	story(t, "22.30: a password has any bytes, and all of them count", func(t *testing.T, b *bench) {
		password := make([]byte, longPassword)
		for i := range 256 {
			password[i%len(password)] = byte(255 - i)
			if i%len(password) == len(password)-1 {
				b.is("set", b.asks(ipmi.NetFnApp, setUserPasswordCommand, append([]byte{0x82, setPassword}, password...)...), "00")
				b.is("test", b.asks(ipmi.NetFnApp, setUserPasswordCommand, append([]byte{0x82, testPassword}, password...)...), "00")
				last := bytes.Clone(password)
				last[len(last)-1] ^= 1
				b.is("test another", b.asks(ipmi.NetFnApp, setUserPasswordCommand, append([]byte{0x82, testPassword}, last...)...), "80")
				time.Sleep(testPause)
			}
		}
	})

	story(t, "22.30: the password of a new user is the empty one", func(t *testing.T, b *bench) {
		const empty = "00000000 00000000 00000000 00000000"
		b.is("test it", b.app(0x47, "02 03"+empty), "00")
		b.is("test another", b.app(0x47, "02 03"+password16), "80")
		time.Sleep(testPause)
		b.is("test of another size", b.app(0x47, "82 03"+empty+"00000000"), "81")
	})

	story(t, "22.30: data of an operation that needs none are ignored", func(t *testing.T, b *bench) {
		b.is("set", b.app(0x47, "02 02"+password16), "00")
		for _, operation := range []string{"00", "01"} {
			b.is("short", b.app(0x47, "02"+operation+"FF FFFFFFFF FFFFFFFF FFFFFFFF FFFFFF"), "00")
			b.is("long", b.app(0x47, "82"+operation+"FFFFFFFF FFFFFFFF FFFFFFFF FFFFFFFF FFFFFFFF"), "00")
			b.is("the password stays", b.app(0x47, "02 03"+password16), "00")
		}
	})

	for _, number := range []string{"12", "13", "19"} {
		story(t, "table 23-4: parameter "+number+"h of alerts is not there without destinations", func(t *testing.T, b *bench) {
			b.is("number of destinations", b.transport(0x02, "01 11 00 00"), "00 11 00")
			b.is("get", b.transport(0x02, "01"+number+"00 00"), "80")
			b.is("set", b.transport(0x01, "01"+number+"00"), "80")
		})
	}

	story(t, "table 23-4: no parameter of IPv6 is there, as it is not supported", func(t *testing.T, b *bench) {
		for number := byte(50); number <= 80; number++ {
			b.is("get", b.asks(ipmi.NetFnTransport, 0x02, 1, number, 0, 0), "80")
		}
	})

	story(t, "table 23-4: the community is read as it was written", func(t *testing.T, b *bench) {
		const set = "636F6D 00 A1B2C3D4 E5F60718 293A4B5C 6D7E"
		b.is("set", b.transport(0x01, "01 10"+set), "00")
		b.is("get", b.transport(0x02, "01 10 00 00"), "00 11"+set)
		b.is("17 bytes", b.transport(0x01, "01 10"+set[:len(set)-2]), "C7")
		b.is("18 characters", b.transport(0x01, "01 10"+strings.Repeat("41", communityLength)), "00")
	})

	story(t, "table 23-4: a change takes effect at once, set in progress or not", func(t *testing.T, b *bench) {
		b.is("begin", b.transport(0x01, "01 00 01"), "00")
		b.is("set", b.transport(0x01, "01 03 C0A80102"), "00")
		b.is("get", b.transport(0x02, "01 03 00 00"), "00 11 C0A80102")
		b.is("end", b.transport(0x01, "01 00 00"), "00")
		b.is("it stays", b.transport(0x02, "01 03 00 00"), "00 11 C0A80102")
	})
}
