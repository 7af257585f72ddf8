package bmc

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"ipmbd/internal/testmain"
	"ipmbd/ipmi"
)

// layout is the layout of a request's data, and a request that follows it.
//
// A layout has its bytes between bars. A byte has fields from bit 7 to bit 0, with commas between
// them:
//
//	3        3 bits of any value
//	r3       3 reserved bits, which are 0
//	o3       3 reserved bits, which are 1
//	4:1-5/F  4 bits, of which only these values, in hexadecimal, are not reserved or can be had here
//	7:0=80   the same; other values have this completion code, in place of CCh
//
// "any 4" is 4 bytes of any value.
type layout struct {
	netFn   ipmi.NetFn
	command ipmi.Command
	data    string // the request
	fields  string
	code    string // of the response; "" is 00h
}

// Fields that several layouts have.
const (
	sensorNumber = "8:0-FE"       // FFh is reserved
	fruID        = "8:0-FE"       // FFh is reserved
	channelField = "r4,4:1/E/F"   // those that this BMC has
	userField    = "r2,6:1-A"     // 10 users
	progress     = "r6,2:0-1"     // commit write is not supported
	lanNumber    = "r4,4:1 | 8"   // the LAN channel; any parameter
	unicast      = "8:1-7E/80-DF" // the first byte of an IP address
	station      = "7,r1 | any 5" // a MAC address that is not a group's
	recordType   = "8:2/C0-FF=80" // of a log record
	maskOfTwelve = "8 | r4,4"     // events of thresholds
	maskOf15     = "8 | r1,7"     // states
)

// layouts are the layouts of all commands with data, from the tables of IPMI v2.0 in the sections
// that the tables of commands name. A command whose parameters have a layout each has a row for
// each.
var layouts = []layout{
	{ipmi.NetFnApp, 0x06, "80 81", "1,7:0-A/20/21/2A/7F | 1,7:0-3/2A/7F", ""},

	{ipmi.NetFnApp, 0x58, "00 00", "8:0-7=80 | " + progress, ""},
	{ipmi.NetFnApp, 0x58, "01 00 01 02 6162", "8:0-7=80 | 8:0-F=C9 | r4,4:0-2 | 8:0-FE | any 2", ""},
	{ipmi.NetFnApp, 0x58, "04 00 01 02 6162", "8 | 8:0-F=C9 | r4,4:0-2 | 8:0-FE | any 2", ""},
	{ipmi.NetFnApp, 0x59, "00 01 00 00", "1,r7 | 8:0-7=80 | 8:0=C9 | 8:0", ""},
	{ipmi.NetFnApp, 0x59, "00 00 00 00", "1,r7 | 8:0-7=80 | 8:0 | 8:0", ""},

	{ipmi.NetFnApp, 0x24, "44 21 01 3E E803", "1,1,r3,3:1-5 | r1,3:0/2/3,r1,3:0-3 | 8 | r2,5,r1 | any 2", ""},

	{ipmi.NetFnApp, 0x38, "01 04", "1,r3,4:1/E/F | r4,4:1-5", ""},
	{ipmi.NetFnApp, 0x40, "01 60 44", channelField + " | 2:0-2,3,3:0=83 | 2:0-2,r2,4:4", ""},
	{ipmi.NetFnApp, 0x41, "01 40", channelField + " | 2:1-2,r6", ""},

	{ipmi.NetFnApp, 0x48, "01 01 00000000", "r2,6 | r4,4:1-F | 3,r1,2:0-2,1,r1 | r8 | r8 | r8", "81"}, // serial over LAN
	{ipmi.NetFnApp, 0x48, "02 01 00000000", "r2,6 | r4,4:1-F | any 4", "81"},
	{ipmi.NetFnApp, 0x49, "01 01 00000000", "r2,6 | r4,4:1-F | r8 | r8 | r8 | r8", "81"}, // serial over LAN
	{ipmi.NetFnApp, 0x49, "02 01 00000000", "r2,6 | r4,4:1-F | any 4", "81"},
	{ipmi.NetFnApp, 0x4A, "01", "8", "CC"}, // there are no payloads
	{ipmi.NetFnApp, 0x4B, "01 01", "8 | 8", "CC"},
	{ipmi.NetFnApp, 0x4E, "01", "r4,4:1", ""},

	{ipmi.NetFnSensor, 0x12, "00 00", "r1,7:0=80 | " + progress, ""},
	{ipmi.NetFnSensor, 0x13, "00 00 00", "1,7:0=80 | 8:0 | 8:0", ""},

	{ipmi.NetFnApp, 0x43, "91 02 04 00", "4,4:1/E/F | " + userField + " | r4,4:1-5/F | r4,4:0", ""},
	{ipmi.NetFnApp, 0x44, "01 02", channelField + " | " + userField, ""},
	{ipmi.NetFnApp, 0x45, "02 41420000 00000000 00000000 00000000", "r2,6:2-A | any 16", ""},
	{ipmi.NetFnApp, 0x46, "02", userField, ""},
	{ipmi.NetFnApp, 0x47, "02 01", "1,r1,6:1-A | r6,2", ""},
	{ipmi.NetFnApp, 0x47, "02 02 41000000 00000000 00000000 00000000", "1,r1,6:1-A | r6,2 | any 16", ""},

	{ipmi.NetFnTransport, 0x01, "01 00 00", "r4,4:1 | 8:0-11/14-18/1A=80 | " + progress, ""},
	{ipmi.NetFnTransport, 0x01, "01 01 00", lanNumber + " | 8", "82"},
	{ipmi.NetFnTransport, 0x01, "01 02 0000000000", lanNumber + strings.Repeat(" | r2,2,r1,3", 5), ""},
	{ipmi.NetFnTransport, 0x01, "01 03 C0A80102", lanNumber + " | " + unicast + " | any 3", ""},
	{ipmi.NetFnTransport, 0x01, "01 04 01", lanNumber + " | r4,4:0-4", ""},
	{ipmi.NetFnTransport, 0x01, "01 05 020000000001", lanNumber + " | " + station, ""},
	{ipmi.NetFnTransport, 0x01, "01 06 FFFFFF00", lanNumber + " | o8 | o8 | 8:0/80/C0/E0/F0/F8/FC/FE/FF | 8:0/80/C0/E0/F0/F8/FC/FE/FF", ""},
	{ipmi.NetFnTransport, 0x01, "01 07 404010", lanNumber + " | 8:1-FF | 3,r5 | 3,4,r1", ""},
	{ipmi.NetFnTransport, 0x01, "01 08 6F02", lanNumber + " | any 2", ""},
	{ipmi.NetFnTransport, 0x01, "01 09 9802", lanNumber + " | any 2", ""},
	{ipmi.NetFnTransport, 0x01, "01 0A 03", lanNumber + " | r6,2", ""},
	{ipmi.NetFnTransport, 0x01, "01 0B 05", lanNumber + " | 8", ""},
	{ipmi.NetFnTransport, 0x01, "01 0C C0A80101", lanNumber + " | " + unicast + " | any 3", ""},
	{ipmi.NetFnTransport, 0x01, "01 0D 020000000001", lanNumber + " | " + station, ""},
	{ipmi.NetFnTransport, 0x01, "01 0E C0A80101", lanNumber + " | " + unicast + " | any 3", ""},
	{ipmi.NetFnTransport, 0x01, "01 0F 020000000001", lanNumber + " | " + station, ""},
	{ipmi.NetFnTransport, 0x01, "01 10 7075626C6963 000000000000 000000000000", lanNumber + " | any 18", ""},
	{ipmi.NetFnTransport, 0x01, "01 11 00", lanNumber + " | 8", "82"},
	{ipmi.NetFnTransport, 0x01, "01 14 0580", lanNumber + " | 8 | 1,r3,4", ""},
	{ipmi.NetFnTransport, 0x01, "01 15 07", lanNumber + " | r5,3", ""},
	{ipmi.NetFnTransport, 0x01, "01 16 00", lanNumber + " | 8", "82"},
	{ipmi.NetFnTransport, 0x01, "01 17 00", lanNumber + " | 8", "82"},
	{ipmi.NetFnTransport, 0x01, "01 18 0000000000 00000000", lanNumber + " | r8" + strings.Repeat(" | 4:0-5,4:0-5", 8), ""},
	{ipmi.NetFnTransport, 0x01, "01 1A 010300000000", lanNumber + " | r7,1 | any 5", ""},
	{ipmi.NetFnTransport, 0x02, "01 03 00 00", "1,r3,4:1 | 8:0-11/14-18/1A=80 | 8:0 | 8:0", ""},

	{ipmi.NetFnChassis, 0x02, "01", "r4,4:0-5", ""},
	{ipmi.NetFnChassis, 0x04, "0F 00", "8 | r7,1", ""},
	{ipmi.NetFnChassis, 0x06, "01", "r5,3:0-3", ""},

	{ipmi.NetFnChassis, 0x08, "00 00", "1,7:0-7=80 | " + progress, ""},
	{ipmi.NetFnChassis, 0x08, "01 11", "1,7 | 8", ""},
	{ipmi.NetFnChassis, 0x08, "02 03", "1,7 | r6,2", ""},
	{ipmi.NetFnChassis, 0x08, "03 1F", "1,7 | r3,5", ""},
	{ipmi.NetFnChassis, 0x08, "04 FF FF", "1,7 | 8 | o3,5", ""},
	{ipmi.NetFnChassis, 0x08, "05 E0 04 00 00 00",
		"1,7 | 3,r5 | 2,4:0-9/B/F,2 | 1,2:0-2,3,2:0-2 | r4,1,3:0-2 | r3,5:0-F/11-1F", ""},
	{ipmi.NetFnChassis, 0x08, "06 0F 01020304 05060708", "1,7 | r4,4 | any 8", ""},
	{ipmi.NetFnChassis, 0x08, "07 00 A1B2", "1,7 | 8:0-4=C9 | any 2", ""},
	{ipmi.NetFnChassis, 0x09, "05 00 00", "r1,7:0-7=80 | 8:0 | 8:0", ""},
	{ipmi.NetFnChassis, 0x09, "07 00 00", "r1,7:0-7=80 | 8:0-4=C9 | 8:0", ""},

	{ipmi.NetFnStorage, 0x10, "00", fruID, ""},
	{ipmi.NetFnStorage, 0x11, "00 0000 04", fruID + " | any 3", ""},
	{ipmi.NetFnStorage, 0x12, "00 0000 41", fruID + " | any 3", ""},
	{ipmi.NetFnStorage, 0x23, "0000 0000 00 FF", "any 6", ""},
	{ipmi.NetFnStorage, 0x29, "00000050", "any 4", ""},

	{ipmi.NetFnStorage, 0x43, "0000 0000 00 FF", "any 6", ""},
	{ipmi.NetFnStorage, 0x44, "FFFF 02 11223344 4100 04 20 00 6F A1 00 00", "any 2 | " + recordType + " | any 13", ""},
	{ipmi.NetFnStorage, 0x45, "0100 0000 00 01 FFFF 02 11223344 4100 04 20 00 6F A1 00 00",
		"any 5 | r4,4:0-1 | any 2 | " + recordType + " | any 13", ""},
	{ipmi.NetFnStorage, 0x46, "0100 0100", "any 4", ""},
	{ipmi.NetFnStorage, 0x47, "0100 434C52 AA", "any 2 | 8:43 | 8:4C | 8:52 | 8:0/AA", ""},
	{ipmi.NetFnStorage, 0x49, "00000050", "any 4", ""},
	{ipmi.NetFnStorage, 0x5D, "3C00", "any 2", ""},

	{ipmi.NetFnSensor, 0x20, "00", "r7,1", ""},
	{ipmi.NetFnSensor, 0x21, "0000 0000 00 FF", "any 6", ""},
	{ipmi.NetFnSensor, 0x23, "30 00", sensorNumber + " | 8", ""},
	{ipmi.NetFnSensor, 0x24, "30 FF 01 01", sensorNumber + " | o8 | any 2", ""},
	{ipmi.NetFnSensor, 0x25, "30 FF", sensorNumber + " | o8", ""},
	{ipmi.NetFnSensor, 0x26, "30 08 00 00 00 28 00 00", sensorNumber + " | r2,6 | any 6", ""},
	{ipmi.NetFnSensor, 0x27, "30", sensorNumber, ""},
	{ipmi.NetFnSensor, 0x28, "30 D0 8000 8000", sensorNumber + " | 2,2:0-2,r4 | " + maskOfTwelve + " | " + maskOfTwelve, ""},
	{ipmi.NetFnSensor, 0x28, "31 D0 0300 0300", sensorNumber + " | 2,2:0-2,r4 | " + maskOf15 + " | " + maskOf15, ""},
	{ipmi.NetFnSensor, 0x29, "30", sensorNumber, ""},
	{ipmi.NetFnSensor, 0x2A, "30 80 8000 8000", sensorNumber + " | 1,r7 | " + maskOfTwelve + " | " + maskOfTwelve, ""},
	{ipmi.NetFnSensor, 0x2A, "31 80 0300 0300", sensorNumber + " | 1,r7 | " + maskOf15 + " | " + maskOf15, ""},
	{ipmi.NetFnSensor, 0x2B, "30", sensorNumber, ""},
	{ipmi.NetFnSensor, 0x2D, "30", sensorNumber, ""},
	{ipmi.NetFnSensor, 0x2E, "30 01 01", sensorNumber + " | 8 | r1,7", ""},
	{ipmi.NetFnSensor, 0x2F, "30", sensorNumber, ""},
	{ipmi.NetFnSensor, 0x30, "30 01 3C 0000 0000 000000",
		sensorNumber + " | 2:0-2,4,2:0-1 | 8 | " + maskOfTwelve + " | " + maskOfTwelve + " | any 3", ""},
	{ipmi.NetFnSensor, 0x30, "31 10 00 0100 0000 000000",
		sensorNumber + " | 2:0-2,4,2:0-1 | 8 | " + maskOf15 + " | " + maskOf15 + " | any 3", ""},
}

// TestReservedBitsAndValues sets each reserved bit and each reserved value of each command in
// turn. The BMC refuses it, and keeps nothing of it. Values that are not reserved are not refused
// with the same code. A quick run takes a quarter of the values.
func TestReservedBitsAndValues(t *testing.T) {
	walked := make(map[commandKey]bool)
	var cases int
	for _, l := range layouts {
		walked[commandKey{l.netFn, l.command}] = true
		cases += l.walk(t)
	}
	for key, c := range commands {
		if c.max > 0 && !walked[key] {
			t.Errorf("netFn %02Xh command %02Xh has no layout", uint8(key.netFn), uint8(key.command))
		}
	}
	t.Logf("%d requests with a reserved bit or value, of %d commands", cases, len(walked))
}

func (l layout) walk(t *testing.T) (cases int) {
	name := fmt.Sprintf("netFn %02Xh command %02Xh %s", uint8(l.netFn), uint8(l.command), l.data)
	runs(t, name, func(t *testing.T, r *rig) {
		sends := func(data []byte) (code byte, changed bool) {
			warm, present := inlet(nil), supply(nil)
			warm.Value, present.Value = 25, 1
			b := &bench{t: t, bmc: opened(t, Config{
				Machine: r.machine, Sensors: []SensorConfig{warm, present},
				FRUs: []FRUConfig{{Name: "Board", Size: 16}},
			})}
			b.storage(0x44, "FFFF F0 2001 4F6F7073 00000000000000")
			b.asksOn(host0, 0, ipmi.NetFnStorage, 0x42, nil) // reservation 1
			before := fmt.Sprint(b.bmc.journal.snapshot())
			answer := b.asksOn(host0, 0, l.netFn, l.command, data)
			return answer[0], fmt.Sprint(b.bmc.journal.snapshot()) != before
		}
		base := octets(l.data)
		if code, _ := sends(base); fmt.Sprintf("%02X", code) != "00"[:2-len(l.code)]+l.code {
			t.Fatalf("the request itself: %02Xh", code)
		}
		fields := parseFields(t, l.fields)
		if len(fields) != len(base) {
			t.Fatalf("%d bytes, and fields of %d", len(base), len(fields))
		}
		for i, all := range fields {
			for _, f := range all {
				for value := range 1 << f.bits {
					data := append([]byte(nil), base...)
					data[i] = data[i]&^byte((1<<f.bits-1)<<f.shift) | byte(value<<f.shift)
					if f.allowed == nil || f.oneBit && bits.OnesCount(uint(value^f.good)) > 1 {
						continue
					}
					if rand.IntN(testmain.Amount(4, 1)) > 0 {
						continue
					}
					isReserved := !f.allowed[value]
					code, changed := sends(data)
					switch {
					case isReserved && (code != f.code || changed):
						t.Errorf("% X: %02Xh, want %02Xh; changed %t", data, code, f.code, changed)
					case !isReserved && code == f.code && l.code == "":
						t.Errorf("% X: %02Xh, but the value is not reserved", data, code)
					}
					if isReserved {
						cases++
					}
				}
			}
		}
	})
	return cases
}

// field is a field of a byte.
type field struct {
	shift, bits int
	allowed     map[int]bool // nil: all values
	code        byte         // of other values
	oneBit      bool         // reserved bits, which are set one at a time
	good        int          // value of reserved bits
}

// parseFields returns the fields of each byte.
func parseFields(t *testing.T, text string) (all [][]field) {
	t.Helper()
	for _, one := range strings.Split(text, "|") {
		one = strings.TrimSpace(one)
		if count, isAny := strings.CutPrefix(one, "any "); isAny {
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, make([][]field, n)...)
			continue
		}
		var fields []field
		shift := 8
		for _, token := range strings.Split(one, ",") {
			f := parseField(t, token)
			shift -= f.bits
			f.shift = shift
			fields = append(fields, f)
		}
		if shift != 0 {
			t.Fatalf("%q has not 8 bits", one)
		}
		all = append(all, fields)
	}
	return all
}

func parseField(t *testing.T, token string) field {
	t.Helper()
	number := func(text string, base int) int {
		n, err := strconv.ParseUint(text, base, 8)
		if err != nil {
			t.Fatalf("%q: %v", token, err)
		}
		return int(n)
	}
	f := field{code: byte(ipmi.CodeInvalidField)}
	switch token[0] {
	case 'r':
		f.bits, f.oneBit = number(token[1:], 10), true
		f.allowed = map[int]bool{0: true}
		return f
	case 'o':
		f.bits, f.oneBit = number(token[1:], 10), true
		f.good = 1<<f.bits - 1
		f.allowed = map[int]bool{f.good: true}
		return f
	}
	width, values, limited := strings.Cut(token, ":")
	f.bits = number(width, 10)
	if !limited {
		return f
	}
	values, code, other := strings.Cut(values, "=")
	if other {
		f.code = byte(number(code, 16))
	}
	f.allowed = make(map[int]bool)
	for _, part := range strings.Split(values, "/") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		for v := number(low, 16); v <= number(high, 16); v++ {
			f.allowed[v] = true
		}
	}
	return f
}
