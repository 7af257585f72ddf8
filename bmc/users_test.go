package bmc

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ipmbd/ipmi"
)

const (
	password16 = "736563726574000000000000000000 00"
	password20 = "73656372657400000000000000000000 00000000"
)

// tests tests a password when the pause after an earlier test is over.
func (b *bench) tests(data string) []byte {
	b.t.Helper()
	time.Sleep(testPause)
	return b.app(setUserPasswordCommand, data)
}

func TestUsers(t *testing.T) {
	story(t, "as ipmitool user list asks for them", func(t *testing.T, b *bench) {
		for id := byte(1); id <= maxUsers; id++ {
			b.is("access", b.asks(ipmi.NetFnApp, 0x44, 0x00, id), "00 0A 80 01 0F")
			b.is("name", b.asks(ipmi.NetFnApp, 0x46, id), "00 00000000000000000000000000000000")
		}
	})

	story(t, "one is made", func(t *testing.T, b *bench) {
		b.is("name", b.app(0x45, "02 61646D696E0000000000000000000000"), "00")
		b.is("its name", b.app(0x46, "02"), "00 61646D696E0000000000000000000000")
		b.is("privilege", b.app(0x43, "01 02 04 00"), "00")
		b.is("access", b.app(0x43, "B1 02 04"), "00")
		b.is("enable", b.app(0x47, "02 01"), "00")
		b.is("it", b.app(0x44, "01 02"), "00 0A 41 01 34")
		b.is("on this channel", b.app(0x44, "0E 02"), "00 0A 41 01 0F")
		b.is("the first", b.app(0x44, "01 01"), "00 0A 81 01 0F")
		b.is("only the privilege", b.app(0x43, "01 02 02"), "00")
		b.is("disable", b.app(0x47, "02 00"+password16), "00")
		b.is("it", b.app(0x44, "01 02"), "00 0A 80 01 32")
	})

	story(t, "channels that exist", func(t *testing.T, b *bench) {
		b.bmc.SetChannels(3, ipmi.Channel(7).Mask())
		for channel, want := range map[string]string{"03": "00 0A 80 01 0F", "07": "00 0A 80 01 0F", "0E": "00 0A 80 01 0F", "0F": "00 0A 80 01 0F", "01": "CC", "08": "CC"} {
			b.is("channel "+channel, b.app(0x44, channel+"02"), want)
		}
		b.bmc.SetChannels(0, ipmi.Channel(8).Mask())
		for channel, want := range map[string]string{"01": "00 0A 80 01 0F", "08": "00 0A 80 01 0F", "03": "CC", "07": "CC"} {
			b.is("now channel "+channel, b.app(0x44, channel+"02"), want)
		}
	})

	story(t, "a password is tested", func(t *testing.T, b *bench) {
		b.is("none was set", b.tests("02 03"+password16), "80")
		b.is("set", b.app(0x47, "02 02"+password16), "00")
		b.is("test", b.tests("02 03"+password16), "00")
		b.is("test another", b.tests("02 03"+strings.Replace(password16, "73", "74", 1)), "80")
		b.is("test of another size", b.tests("82 03"+password20), "81")
		b.is("another user's", b.tests("03 03"+password16), "80")
		b.is("set one of 20 bytes", b.app(0x47, "82 02"+password20), "00")
		b.is("test", b.tests("82 03"+password20), "00")
		b.is("the user is not enabled by it", b.app(0x44, "0E 02"), "00 0A 80 01 0F")
	})

	story(t, "a password of a size that is not its own", func(t *testing.T, b *bench) {
		b.is("short for long", b.app(0x47, "82 02"+password16), "C7")
		b.is("long for short", b.app(0x47, "02 02"+password20), "C7")
		b.is("none to set", b.app(0x47, "02 02"), "C7")
		b.is("none to test", b.app(0x47, "02 03"), "C7")
		b.is("a part when enabling", b.app(0x47, "02 01 41"), "C7")
	})

	story(t, "a password cannot be read where it is kept, and equal ones differ", func(t *testing.T, b *bench) {
		kept := newJournal(nil)
		b.bmc = opened(t, Config{journal: kept})
		b.is("set", b.app(0x47, "02 02"+password16), "00")
		b.is("set", b.app(0x47, "03 02"+password16), "00")
		for name, value := range kept.values {
			if bytes.Contains(value, []byte("secret")) {
				t.Errorf("%s is %q", name, value)
			}
		}
		if second, third := kept.value("user/2/password"), kept.value("user/3/password"); bytes.Equal(second, third) || len(second) != passwordLength {
			t.Errorf("% X and % X", second, third)
		}
	})
}

// requestTexts are texts of requests and whether they are taken in ASCII, Latin-1 and UTF-8. The
// last one is for Unicode, which has two bytes for a character.
var requestTexts = []struct {
	name, text          string
	ascii, latin1, utf8 bool
}{
	{"ASCII", "4D7E", true, true, true},
	{"the longest", "4D616C6C 6F727931 32333435 3637", true, true, true},
	{"Latin-1", "4DFC6C6C6572", false, true, true},
	{"UTF-8", "4DC3BC6C", false, true, true},
	{"UTF-8 that ends with a control character of Latin-1", "C380", false, false, true},
	{"two texts", "4D0000 41", true, true, true},
	{"line end", "4D0A6C", false, false, false},
	{"escape", "1B5B324A", false, false, false},
	{"delete", "4D7F", false, false, false},
	{"control character of Latin-1", "4D9B", false, false, true},
}

func TestTextsOfRequests(t *testing.T) {
	padded := func(text []byte, n int) string {
		return hex.EncodeToString(append(slices.Clone(text), make([]byte, n-len(text))...))
	}
	for _, tt := range requestTexts {
		story(t, tt.name, func(t *testing.T, b *bench) {
			code := map[bool]string{true: "00", false: "CC"}
			text := octets(tt.text)
			b.is("user name", b.app(0x45, "02"+padded(text, userName)), code[tt.ascii])
			want, _, _ := bytes.Cut(text, []byte{0}) // What follows a zero is not kept.
			if !tt.ascii {
				want = nil
			}
			b.is("get it", b.app(0x46, "02"), "00"+padded(want, userName))
			b.is("community", b.transport(0x01, "01 10"+padded(text, communityLength)), code[tt.ascii])

			length := fmt.Sprintf("%02X", len(text))
			for parameter := 1; parameter <= lastInfoText; parameter++ {
				at := fmt.Sprintf("%02X", parameter)
				for encoding, isTaken := range []bool{tt.latin1, tt.utf8, true} {
					header := fmt.Sprintf("%02X", encoding)
					b.is("system info", b.app(0x58, at+"00"+header+length+tt.text), code[isTaken])
					b.is("a text that ends in block 1", b.app(0x58, at+"00"+header+"1E"+strings.Repeat("61", 14)), "00")
					b.is("block 1", b.app(0x58, at+"01"+tt.text), code[isTaken])
					b.is("a text that ends before", b.app(0x58, at+"00"+header+"0E"+strings.Repeat("61", 14)), "00")
					b.is("block 1 behind it", b.app(0x58, at+"01"+tt.text), "00")
				}
			}
		})
	}
}

func TestKindsOfUsers(t *testing.T) {
	const name, none = "61646D696E0000000000000000000000", "00000000000000000000000000000000"
	story(t, "are those that are enabled", func(t *testing.T, b *bench) {
		for _, step := range []struct {
			what    string
			command ipmi.Command
			data    string
			want    string
		}{
			{"a name alone", 0x45, "02" + name, "00"},
			{"enable it", 0x47, "02 01", "04"},
			{"enable the null user", 0x47, "01 01", "05"},
			{"a password for it", 0x47, "01 02" + password16, "06"},
			{"the empty password", 0x47, "01 02" + none, "05"},
			{"a long password", 0x47, "81 02" + password20, "06"},
			{"another without a name", 0x47, "03 01", "07"},
			{"disable it", 0x47, "03 00", "06"},
			{"disable the null user", 0x47, "01 00", "04"},
			{"take the name away", 0x45, "02" + none, "01"},
			{"disable it", 0x47, "02 00", "00"},
		} {
			b.is(step.what, b.app(step.command, step.data), "00")
			b.is(step.what, b.app(0x38, "01 04"), "00 01 00"+step.want+"00 000000 00")
			b.is(step.what, b.app(0x38, "8E 04"), "00 0F 00"+step.want+"00 000000 00")
		}
		b.is("the empty password", b.app(0x47, "01 02"+none), "00")
		b.is("is tested", b.tests("01 03"+none), "00")
		b.is("not another", b.tests("01 03"+password16), "80")
		b.is("nor a longer one", b.tests("81 03"+password20), "81")
	})
}

func TestChannels(t *testing.T) {
	story(t, "the LAN is for nobody, the others have no sessions", func(t *testing.T, b *bench) {
		b.is("stored access", b.app(0x41, "01 40"), "00 20 04")
		b.is("present access", b.app(0x41, "01 80"), "00 20 04")
		b.is("system interface", b.app(0x41, "0E 80"), "82")
		b.is("no such channel", b.app(0x41, "09 80"), "CC")
		b.is("authentication", b.app(0x38, "8E 04"), "00 0F 00 00 00 000000 00")
		b.is("of the LAN", b.app(0x38, "01 04"), "00 01 00 00 00 000000 00")
	})
}
